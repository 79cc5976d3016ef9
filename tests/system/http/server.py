"""The API as `manage.py up` serves it: a real granian process on a free port."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.test import override_settings

from jobapi.launch import api_command
from tests.system.processes import wait_until
from tests.system.test_up import free_port

Headers = dict[str, str]


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class ApiServer:
    """Serves the queues of the session's Valkey server; the log of the processes is in a file."""

    def __init__(self, log: Path, **environment: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        changed = {"PORT": self.port, **environment}
        with override_settings(**changed), log.open("wb") as output:
            self._process = subprocess.Popen(
                api_command(),
                cwd=settings.BASE_DIR,
                env={**os.environ, **{name: str(value) for name, value in changed.items()}},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, 30)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        with suppress(OSError, HTTPException):
            return self.ask("GET", "/readyz").status == 200
        return False

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Headers | None = None) -> Answer:
        """Send one request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def pids(self) -> list[int]:
        """Return the processes that serve requests."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def resident_bytes(self) -> int:
        """Return the memory that the processes take."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Return how many files and sockets the processes have open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())

    def close(self) -> None:
        """End it, in order if it can."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
