"""Database servers under a fault that another program puts around theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO
from unittest import mock

from queueing.embedded import EmbeddedServer
from queueing.lifeline import tied_to_us
from tests.system.faults import journal
from tests.system.faults.programs import faketime, program
from tests.system.processes import is_running, wait_until


class WrappedServer(EmbeddedServer):
    """A server whose program is started by another that becomes it (env, strace -D, nsenter).

    `settings` are words of a command line and come after those of the embedded server.
    """

    def __init__(
        self, var_dir: Path, wrapper: Sequence[str] = (), settings: Sequence[str] = (), program: Path | None = None
    ) -> None:
        super().__init__(var_dir, program=program)
        self._wrapper = wrapper
        self._settings = settings

    def _spawn(self, lock: BinaryIO) -> None:
        def wrapped(command: Sequence[str]) -> list[str]:
            return tied_to_us([*self._wrapper, *command, *self._settings])

        with mock.patch("queueing.embedded.tied_to_us", wrapped):
            super()._spawn(lock)


class TracedServer(WrappedServer):
    """A server whose power can be cut: what its journal has not brought to the disk by then is gone.

    Each fdatasync takes a millisecond longer, as on a disk, so that a cut finds something on its way.
    """

    def __init__(self, var_dir: Path, appendfsync: str) -> None:
        self._trace = var_dir / "strace"
        calls = ["-f", "-y", "-s0", "--trace=write,fdatasync", "--inject=fdatasync:delay_enter=1000"]
        wrapper = [program("strace"), "-D", *calls, f"--output={self._trace}"]
        super().__init__(var_dir, wrapper, ["--appendfsync", appendfsync, "--auto-aof-rewrite-percentage", "0"])
        self._var_dir = var_dir

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the server; what its journal holds now is on the disk."""
        files = (self.directory / "appendonlydir").glob("*.incr.aof")
        self._length = sum(file.stat().st_size for file in files)
        super().start(timeout_seconds)
        self._tracer = int(field_of(Path(f"/proc/{self.process.pid}/status").read_text(), "TracerPid"))

    def lose_what_is_not_synced(self) -> int:
        """Cut the journal of the killed server to what was surely on the disk; returns how many bytes are lost."""
        wait_until(lambda: not is_running(self._tracer))
        file = journal.file_of(self._var_dir)
        synced = synced_length(self._trace.read_text().splitlines(), self._length)
        lost = file.stat().st_size - synced
        os.truncate(file, synced)
        return lost


def field_of(status: str, name: str) -> str:
    """Return the value of a `name:` line."""
    return next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1]


_CALL = re.compile(
    r"(\d+) +(?:(\w+)\(\d+<(.*?)>|<\.\.\. \w+ resumed>).*?(?:= (\d+)(?: \(DELAYED\))?|(<unfinished \.\.\.>))?$"
)


def synced_length(trace: Iterable[str], length: int) -> int:
    """Return how much of a journal was surely on the disk when the trace ended: `length` was when it began.

    That is what was written before the last completed fdatasync began; another thread may make it meanwhile.
    """
    synced, begun = length, dict[str, tuple[str, int]]()  # thread -> call, and the length when it began
    for thread, name, path, result, unfinished in (call.groups() for call in map(_CALL.match, trace) if call):
        if name and not path.endswith(".incr.aof"):
            continue
        call, length_before = (name, length) if name else begun.pop(thread, ("", 0))
        if unfinished:
            begun[thread] = (call, length_before)
        elif result and call == "write":
            length += int(result)
        elif result == "0" and call == "fdatasync":
            synced = length_before
    return synced


class ClockServer(WrappedServer):
    """A server whose clock the test sets; what it measures time spans with goes on as it did."""

    def __init__(self, var_dir: Path) -> None:
        self._offset = var_dir / "offset"
        variables = {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": self._offset,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        }
        super().__init__(var_dir, [program("env"), *(f"{name}={value}" for name, value in variables.items())])
        self.set_clock(0)

    def kill(self) -> None:
        """End the server at once, and what libfaketime left of it in shared memory."""
        super().kill()
        for remains in Path("/dev/shm").glob(f"*faketime_???_{self.process.pid}"):
            remains.unlink()

    def set_clock(self, ahead_seconds: float) -> None:
        """Let the server's clock be ahead of this machine's, or behind, from now on."""
        draft = self._offset.with_suffix(".new")
        draft.write_text(f"{ahead_seconds:+f}\n")
        draft.rename(self._offset)
