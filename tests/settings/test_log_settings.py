from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml
from django.core.exceptions import ImproperlyConfigured

from settings.logs import LogOptions, logging_config
from tests.system.processes import PROJECT

TEXT = (PROJECT / "docs" / "logging.md").read_text()


def table(heading: str) -> set[str]:
    """Return the names in the first column of the table below a heading of the document."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([A-Za-z_]+)`", cell)}


@pytest.mark.parametrize("url", ["localhost:5170", "udp://a:1", "tcp://a", "tcp://:1", "tcp://a:x", "tcp://a:1/path"])
def test_an_address_that_cannot_be_is_refused_by_name(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="LOG_TCP_URL"):
        logging_config(LogOptions(tcp_url=url))


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "LOUD"), ("LOG_TCP_FORMAT", "xml"), ("LOG_TCP_URL", "x")])
def test_a_command_says_in_one_line_what_is_wrong_and_ends_with_78(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 78
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_go_to_stdout_alone_unless_told_otherwise() -> None:
    everywhere = LogOptions(file="/var/log/x.log", tcp_url="tls://[::1]:6514", tcp_format="rfc5424")

    assert list(logging_config(LogOptions())["handlers"]) == ["stdout"]
    assert list(logging_config(everywhere)["handlers"]) == ["stdout", "file", "tcp"]


def test_the_document_has_every_field_that_requests_and_attempts_log() -> None:
    named = table("The fields")

    for path in ("jobapi/access.py", "worker/attempts.py"):
        written = set(re.findall(r'^ {8,}"([a-z_]+)": ', (PROJECT / path).read_text(), re.MULTILINE))
        assert written
        assert written <= named
    assert {"time", "level", "logger", "message", "action", "request_id", "job_id", "queue", "kind", "attempt"} < named
    assert {"worker", "duration_seconds", "outcome", "trace_id", "error", "truncated", "service", "host"} < named


def test_datadogs_configuration_is_of_the_shape_that_the_agent_reads() -> None:
    logs = yaml.safe_load((PROJECT / "deploy/datadog/conf.d/jobapi.d/conf.yaml").read_text())["logs"]

    assert [(entry["type"], entry["source"], entry["service"]) for entry in logs] == [("file", "python", "jobapi")]
