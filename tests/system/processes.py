"""Real worker processes for tests, and waiting for what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
WAIT_SECONDS = 40.0  # for what takes a second or two, the start of Python included, on however busy a machine


def wait_until(reached: Callable[[], Any], seconds: float = WAIT_SECONDS) -> float:
    """Wait until something is reached, and return how many seconds that took; fail after `seconds`."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < seconds, f"not reached within {seconds:g} s"
        time.sleep(0.005)
    return time.monotonic() - began


def is_running(pid: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text() if sys.platform == "linux" else ") R"
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(") ")[2][0] != "Z"


def members_of(session: int) -> list[int]:
    """Return the processes that run in the session that a process began, be it gone or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, sid = path.read_text().rpartition(") ")[2].split()[:4]
            if int(sid) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def is_session_alive(leader: int) -> bool:
    """Whether any process runs in the session that a process began."""
    return bool(members_of(leader))


class RunWorker:
    """`manage.py runworker` with some arguments, in a process group of its own, its output in a file.

    `within` is a command that becomes it.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str], within: Sequence[str] = ()
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, "manage.py", "runworker", *arguments],
                cwd=PROJECT,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the lines of its log that it has written to their end."""
        whole = self.output.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(seconds)

    def terminate(self) -> None:
        """Send the first or second TERM."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would, if it has not ended yet."""
        self.process.kill()
        self.process.wait(WAIT_SECONDS)

    def kill_all(self) -> None:
        """End it and its children, which may outlive it for a second and claim what the next test submits."""
        self.kill()
        for pid in members_of(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_session_alive(self.pid))
