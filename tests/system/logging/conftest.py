"""What tests of logs share: a real rsyslog with the configuration that is shipped, and processes that log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.system.faults.programs import missing, program
from tests.system.http.server import ApiServer
from tests.system.processes import PROJECT, wait_until
from tests.system.test_up import free_port

DEPLOY = PROJECT / "deploy"
StartApi = Callable[..., ApiServer]


class Rsyslog:
    """rsyslog with a file of deploy/rsyslog, but for its folders and ports; not as a daemon."""

    def __init__(self, folder: Path, name: str = "jobapi.conf") -> None:
        self.folder = folder
        self.ports = {port: free_port() for port in (5170, 5514, 6514)}
        text = (DEPLOY / "rsyslog" / name).read_text()
        for old, new in self.ports.items():
            text = text.replace(f'port="{old}"', f'port="{new}"')
        text = text.replace("/var/log/jobapi", str(folder)).replace("/etc/rsyslog.d/tls", str(folder))
        self._configuration = folder / name
        self._configuration.write_text(f'global(workDirectory="{folder}")\n{text}')
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["-n", "-f", str(self._configuration), "-i", str(self.folder / "pid")]
        self._process = subprocess.Popen([program("rsyslogd"), *options])
        wait_until((self.folder / "pid").exists)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def lines(self, name: str) -> list[str]:
        """Return the lines of one of its files."""
        path = self.folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    """Run rsyslog with jobapi.conf."""
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    server = Rsyslog(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_api(valkey: Redis, tmp_path: Path) -> Iterator[StartApi]:
    """Give a function that starts the API with some settings."""
    running: list[ApiServer] = []

    def start(**environment: Any) -> ApiServer:
        api = ApiServer(tmp_path / f"api-{len(running)}.log", **environment)
        running.append(api)
        api.wait_until_ready()
        return api

    yield start
    for api in running:
        api.close()


def lines_of(log: Path) -> list[str]:
    """Return what a process has logged to stdout; what a log line is not is left out."""
    return [line for line in log.read_text().splitlines() if line.startswith("{")]


def gnutls() -> None:
    """Skip without rsyslog's part for TLS; in CI fail."""
    folders = [*Path("/usr/lib").glob("*/rsyslog"), *Path("/usr").glob("lib*/rsyslog")]
    if not any((folder / "lmnsd_gtls.so").exists() for folder in folders):
        missing("rsyslog-gnutls")
