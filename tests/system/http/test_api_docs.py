"""Every command of docs/api.md, run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from queueing.embedded import EmbeddedServer
from tests.system.http.server import ApiServer

DOCUMENT = settings.BASE_DIR / "docs" / "api.md"
COUNTED_CURL = (
    'curl() { command curl --fail-with-body --max-time 20 --write-out "%{stderr}status %{http_code}\\n" "$@" || true; }'
)
REFUSED = {"422": 1, "409": 1}  # the document shows one of each


@pytest.fixture
def api(valkey_server: EmbeddedServer, valkey: object, tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "api.log")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_every_command_does_what_the_document_says(api: ApiServer, tmp_path: Path) -> None:
    script = "\n".join(["set -eu", COUNTED_CURL, *blocks()]).replace("http://127.0.0.1:8000", api.url)

    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "LC_ALL": "C"},
    )

    statuses = Counter(re.findall(r"^status (\d+)$", done.stderr, flags=re.MULTILINE))
    assert done.returncode == 0, done.stderr
    assert {status: count for status, count in statuses.items() if not status.startswith("2")} == REFUSED, done.stdout
    assert sum(statuses.values()) == "\n".join(blocks()).count("curl -sS")
    assert "Preference-Applied: wait=1".lower() in done.stdout.lower()
    assert (tmp_path / "metrics.txt").read_text().startswith("# HELP")


def test_every_call_of_the_contract_has_its_command() -> None:
    contract = yaml.safe_load((settings.BASE_DIR / "openapi.yaml").read_text())
    commands = "\n".join(blocks())

    for path, operations in contract["paths"].items():
        pattern = (
            re.escape(path.removeprefix("/api/v1")).replace(r"\{job_id\}", r"\$JOB").replace(r"\{queue\}", "default")
        )
        assert re.search(pattern + r'["? ]', commands), path
        for method in {"delete", "patch"} & set(operations):
            assert f"-X {method.upper()}" in commands
