"""The catalogue: everything that is read is in it, everything in it can be read, and its reference is up to date."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from redis import Redis

from jobapi import checks
from settings.catalogue import Settings
from settings.variables import HIDDEN
from tests.system.processes import PROJECT, WAIT_SECONDS

NAMES = {variable.name for variable in Settings.variables()}
OTHERS = {  # what the project reads of the environment that is no setting
    "DJANGO_SETTINGS_MODULE",  # Django's
    "NOTIFY_SOCKET",  # systemd's
    "PROMETHEUS_MULTIPROC_DIR",  # `manage.py api` tells granian
    "PYTEST_XDIST_WORKER",
    "TEST_VAR_DIR",
}
SECRETS = {
    "DATABASE_URL": "postgres://jobapi:canary@db/jobapi?sslpassword=canary",
    "EMAIL_URL": "smtp+tls://jobapi:canary@mail:587",
    "LOG_LINK": "/logs?token=canary&q={job_id}",
    "LOG_TCP_URL": "tls://jobapi:canary@logs:6514",
    "MONITORING_TOKEN": "canary",
    "OAUTH_INTROSPECTION_CLIENT_SECRET": "canary",
    "OAUTH_ISSUER": "https://jobapi:canary@id.example.org",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jobapi:canary@collector:4318",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://jobapi:canary@collector:4318/v1/traces",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=canary",
    "PUBLIC_URL": "https://jobapi:canary@jobs.example.org",
    "REDIS_REPLICA_URLS": "redis://api:canary@127.0.0.1:2/0,redis://api:canary@127.0.0.1:3/0",
    "REDIS_URL": "redis://api:canary@127.0.0.1:1/0",
    "SECRET_KEY": "canary",
    "SECRET_KEY_FALLBACKS": "canary,canary",
    "STAFF_PASSWORD": "canary",
}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with settings of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def reads(path: Path) -> Iterator[str]:
    """Yield the names that a module reads of os.environ."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield from names_in(node.slice)
        if isinstance(node, ast.Call) and re.match(r"os\.(environ\.\w+|getenv)$", ast.unparse(node.func)):
            yield from names_in(*node.args[:1])


def names_in(*nodes: ast.expr) -> Iterator[str]:
    yield from (node.value for node in nodes if isinstance(node, ast.Constant))


def test_whatever_the_project_reads_of_the_environment_is_in_the_catalogue() -> None:
    files = [
        path for folder in ("settings", "jobapi", "queueing", "worker") for path in (PROJECT / folder).rglob("*.py")
    ]

    read = {name for path in [*files, PROJECT / "manage.py"] for name in reads(path)}

    assert "OTEL_SERVICE_NAME" in read
    assert read <= NAMES | OTHERS


def test_settings_take_each_variable_of_ours_from_the_catalogue() -> None:
    base = (PROJECT / "settings" / "base.py").read_text()
    taken = set(re.findall(r"\benv\.([A-Z_]+)", base))

    assert taken | {"OTEL_SERVICE_NAME"} >= {variable.name for variable in Settings.variables() if variable.is_ours}


def test_every_default_is_a_value_and_every_variable_tells_what_it_means() -> None:
    defaults = Settings({})

    for variable in Settings.variables():
        variable.value_in(defaults)
        assert variable.meaning
    assert len(NAMES) == len(list(Settings.variables()))
    assert not NAMES & {f"{name}_FILE" for name in NAMES}


def test_the_reference_is_up_to_date() -> None:
    printed = StringIO()
    call_command("settings", "--markdown", stdout=printed)

    assert (PROJECT / "docs" / "settings.md").read_text() == printed.getvalue(), (
        "renew it: .venv/bin/python manage.py settings --markdown > docs/settings.md"
    )


def test_documents_name_no_variable_that_there_is_not() -> None:
    documents = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]

    rows = [
        row for path in documents for row in re.findall(r"^\| (`[A-Z][A-Z_]+`[^|]*) \|", path.read_text(), re.MULTILINE)
    ]
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Z_]+)`", row)}

    assert named
    assert named <= NAMES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("API_PROCESSES", "x"),
        ("LEASE_SECONDS", "abc"),
        ("REPLICAS", "-1"),
        ("PORT", "99999"),
        ("DEBUG", "ture"),
        ("QUEUES", "Not A Queue"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://jobapi:canary@db:x/jobapi"),
        ("DATABASE_URL", "oracle://db/x"),
        ("EMAIL_URL", "nonsense"),
        ("EMAIL_URL", "smtp://mail:x"),
        ("REDIS_URL", "nonsense"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://api:canary@host:x/0"),
        ("REDIS_URL", "redis://host:99999"),
        ("REDIS_URL", "redis+sentinel://a:1,b:x/main"),
        ("RATE_LIMIT_WRITES", "100"),
        ("RATE_LIMIT_WRITES", "0/60"),
        ("RATE_LIMIT_WRITES", "100/minute"),
        ("RATE_LIMIT_READS", "1/٣"),
        ("LOG_LINK", "javascript:alert(1)"),
        ("DASHBOARD_REFRESH_SECONDS", "5,0"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_TCP_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be .*, not ") as refusal:
        Settings({name: text})

    assert len(str(refusal.value).splitlines()) == 1
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "rediss://api:p@[::1]:6380/0?ssl_ca_certs=/x", "unix:///run/valkey.sock?db=1",
        "redis+sentinel://api:p@a:26379,b:26379/main/0", "rediss+cluster://a:7000,b:7001", "redis://u:p%40@h:1/0",
    ],
)  # fmt: skip
def test_every_way_to_reach_the_database_server_is_taken(url: str) -> None:
    assert url == Settings({"REDIS_URL": url}).REDIS_URL


@pytest.mark.parametrize(("text", "limit"), [("", None), ("100/60", (100, 60)), ("1/1", (1, 1)), (" 9/9\n", (9, 9))])
def test_a_limit_is_calls_per_seconds(text: str, limit: tuple[int, int] | None) -> None:
    assert limit == Settings({"RATE_LIMIT_WRITES": text}).RATE_LIMIT_WRITES


@pytest.mark.parametrize("command", ["api", "runworker", "up"])
def test_with_a_wrong_value_programs_end_with_78_and_one_line(command: str) -> None:
    done = manage(command, LEASE_SECONDS="abc", PORT="99999")

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "LEASE_SECONDS must be a number from 0.1 to 3600, not 'abc'; "
        "PORT must be a whole number from 0 to 65535, not '99999'\n"
    )


def test_the_command_shows_no_secret_in_any_form(tmp_path: Path) -> None:
    hidden = {variable.name for variable in Settings.variables() if variable.is_secret or variable.kind.mask is not str}
    assert hidden == set(SECRETS)
    for option in ("--verbosity=2", "--json", "--changed"):
        done = manage("settings", option, **SECRETS, VAR_DIR=str(tmp_path))

        assert done.returncode == 0, done.stderr
        assert "canary" not in done.stdout + done.stderr
        assert done.stdout.count(HIDDEN) >= len(SECRETS)


def test_the_command_tells_programs_the_value_its_source_and_its_default(tmp_path: Path) -> None:
    (tmp_path / "queues").write_text("default,mail\n")

    done = manage("settings", "--json", "--changed", QUEUES_FILE=str(tmp_path / "queues"), LEASE_SECOND="5")

    report = json.loads(done.stdout)
    found = {entry["name"]: entry for entry in report["settings"]}
    queues = found["QUEUES"]
    assert (queues["value"], queues["source"]) == ("default,mail", f"file {tmp_path}/queues")
    assert (queues["default"], queues["section"]) == ("`default`", "Queues and their database server")
    assert "LEASE_SECONDS" not in found
    assert report["misspelt"] == {"LEASE_SECOND": "LEASE_SECONDS"}


def test_the_command_tells_people_what_each_means() -> None:
    done = manage("settings", PORT="9000", PROT="1")

    assert "  PORT=9000  (environment instead of `8000`)\n      where it listens\n" in done.stdout
    assert "  REPLICAS=1  (default)\n" in done.stdout
    assert done.stdout.endswith("PROT is not read: is PORT meant?\n")


def test_check_and_the_api_warn_of_a_name_that_looks_misspelt(
    settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.VARIABLES = Settings({"QUEUE": "mail"})

    checks.require_sound_settings()

    assert [(warning.id, warning.msg) for warning in checks.check_spelling()] == [
        ("jobapi.W001", "QUEUE is not read: is QUEUES meant?")
    ]
    assert ("setting_misspelt", "QUEUE is not read: is QUEUES meant?") in [
        (line.__dict__.get("action"), line.message) for line in caplog.records
    ]


def test_what_lies_in_the_cache_is_never_run(valkey: Redis, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was here",))

    cache = caches["default"]
    valkey.set(str(cache.make_key("evil")), pickle.dumps(Evil()))

    with suppress(ValueError):
        cache.get("evil")

    assert not (tmp_path / "was here").exists()
    assert cache.set("good", {"a": [1]})
    assert cache.get("good") == {"a": [1]}
