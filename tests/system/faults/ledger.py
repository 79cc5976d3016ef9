"""What each process saw, in a file of its own that is only appended to: the verdict comes from these files alone.

Instants are of the monotonic clock, which all processes of a machine share. A line is one write: it outlives its
process, and a piece of one, which a kill may leave, has no end and is passed over.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.forkserver import CELL_NAME, SERVER_NAME

FOLDER_VARIABLE = "FAULTS_LEDGER"

ATTEMPTED, ACKNOWLEDGED = "attempted", "acknowledged"  # of a producer: before it enqueues, once it has the answer
STARTED, ENDED, STOPPED = "started", "ended", "stopped"  # of a handler: its work is done, or an exception ended it
DIED = "died"  # of a process, by the one that killed it

Line = dict[str, Any]


class Ledger:
    """One process's (or thread's) file."""

    def __init__(self, folder: Path, name: str, **about: Any) -> None:
        path = folder / f"{name}.{time.monotonic_ns()}.jsonl"
        self._about = about
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, event: str, **fields: Any) -> None:
        """Append a line; it is the operating system's, and survives this process, when this returns."""
        line = json.dumps({"event": event, "at": time.monotonic(), **self._about, **fields}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)


@functools.cache
def of_this_process() -> Ledger:
    """Return the ledger of this process that runs jobs, in the folder that its environment names."""
    return Ledger(Path(os.environ[FOLDER_VARIABLE]), f"worker-{os.getpid()}", worker=worker_of(os.getpid()))


def worker_of(pid: int) -> int:
    """Return the worker that a process belongs to: itself, or whoever started the process it runs jobs in."""
    while Path(f"/proc/{pid}/comm").read_text().strip() in (SERVER_NAME, CELL_NAME):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return pid


class Reader:
    """Reads the files of a folder, each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}

    def new_lines(self) -> Iterator[tuple[str, Line]]:
        """Yield what is new, with the name of the file; a line that is still being written is not there yet."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path.name, 0))
                whole_lines, end, _ = file.read().rpartition(b"\n")
            self._read[path.name] = self._read.get(path.name, 0) + len(whole_lines + end)
            for text in whole_lines.splitlines():
                yield path.name, json.loads(text)
