"""What the handlers of all contestants leave behind: how many jobs they ran, and how long each had waited.

Contestants have environments of their own, so this needs nothing but Python. A count is kept in memory that processes
share, for a system call would let go of the interpreter's lock and change what is measured.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from functools import cache
from pathlib import Path

SLOTS = 1024  # one for each thread that runs jobs; `peers/bullmq.mjs` has the same layout
WORD = struct.Struct("<Q")
SECONDS = struct.Struct("<d")


class Tally:
    """Counts the jobs that were run, over all threads and processes that open the same file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SLOTS * WORD.size)

    @staticmethod
    def make(path: Path) -> Tally:
        """Begin at 0."""
        path.write_bytes(bytes(SLOTS * WORD.size))
        return Tally(path)

    def add(self) -> None:
        """Count a job; each thread has a slot that nobody else writes."""
        at = threading.get_native_id() % SLOTS * WORD.size
        WORD.pack_into(self._memory, at, WORD.unpack_from(self._memory, at)[0] + 1)

    def total(self) -> int:
        """Return how many jobs were counted."""
        return sum(memoryview(self._memory).cast("Q"))


@cache
def _tally() -> Tally:
    return Tally(Path(os.environ["BENCH_TALLY"]))


@cache
def _stamps() -> int:
    return os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def count() -> None:
    """Count a job in the file of BENCH_TALLY: what every no-op handler does."""
    _tally().add()


def stamp(sent: float) -> None:
    """Append to the file of BENCH_STAMPS how many seconds a job has waited, by this machine's monotonic clock."""
    os.write(_stamps(), SECONDS.pack(time.monotonic() - sent))


def stamps(path: Path) -> list[float]:
    """Return the seconds that jobs have waited."""
    content = path.read_bytes() if path.exists() else b""
    return [seconds for (seconds,) in SECONDS.iter_unpack(content[: len(content) // SECONDS.size * SECONDS.size])]
