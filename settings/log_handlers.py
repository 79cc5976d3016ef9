"""Where lines go that stay on this machine: stdout and a file. Nothing that happens to them stops who logs."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SUMMARY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of the lines of one handler in this process.

    The reasons for which lines are dropped: `write_error`, and of a TCP handler `queue_full`, `closing` (not sent when
    the process ended) and `format_error`.
    """

    sent: int
    dropped: Mapping[str, int]
    queued: int = 0
    queued_bytes: int = 0
    connected: bool | None = None  # None where there is nothing to connect to
    reconnects: int = 0


@dataclass(slots=True)
class Losses:
    """Counts lines that a handler drops, and says so on stderr, once in 30 s."""

    handler: logging.Handler
    counts: Counter[str] = field(default_factory=Counter)
    _told: int = 0
    _told_at: float = -math.inf
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, reason: str, number: int = 1) -> None:
        """Count lines that are lost."""
        with self._lock:
            self.counts[reason] += number

    def tell(self, cause: str, *, now: bool = False) -> None:
        """Say how many lines were lost since the last time, if any were and that was long enough ago."""
        number = self.counts.total() - self._told
        if not number or (time.monotonic() - self._told_at < SUMMARY_SECONDS and not now):
            return
        self._told, self._told_at = self._told + number, time.monotonic()
        record = logging.LogRecord(
            __name__, logging.WARNING, "", 0, "%s log lines dropped by %s: %s", (number, self.handler.name, cause), None
        )
        record.action = "log_lines_dropped"
        with contextlib.suppress(OSError, ValueError):
            print(self.handler.format(record), file=sys.stderr, flush=True)  # noqa: T201 - logs cannot tell of themselves


class LocalHandler(logging.Handler):
    """Counts what is handled and what is lost; a fault of the place where lines go stays in here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handled = 0
        self._losses = Losses(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, unless a filter is against it.

        The lock is entered by `with` and not by a call of `acquire`: a handler of jobs may be interrupted at the end of
        any call, and would leave the lock taken for ever.
        """
        if not self.filter(record):
            return False
        with contextlib.suppress(Exception):
            self.format(record)  # which keeps the line: while it is made nobody need wait
        assert self.lock is not None  # noqa: S101 - for the type checker
        with self.lock:
            self._handled += 1
            self.emit(record)
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's own name
        """Count the record as lost, because of the error that is being handled."""
        self._losses.add("write_error")
        self._losses.tell(str(sys.exc_info()[1]))

    def figures(self) -> Figures:
        """Return what became of the lines."""
        lost = self._losses.counts["write_error"]
        return Figures(sent=self._handled - lost, dropped={"write_error": lost})


class StdoutHandler(LocalHandler, logging.StreamHandler[Any]):
    """Writes lines to stdout."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)


class FileHandler(LocalHandler, logging.handlers.WatchedFileHandler):
    """Appends lines to a file that other processes append to as well, and that may be renamed at any time.

    A line is one write, so that lines do not mix. A file that cannot be opened or written costs the line, and is tried
    again with the next one.
    """

    def __init__(self, filename: str) -> None:
        super().__init__(filename, delay=True)
        self._is_torn = False

    def _open(self) -> Any:
        return os.fdopen(os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), "ab", buffering=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file that now has the name."""
        try:
            line = f"{self.format(record)}\n".encode()
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
                self._statstream()
            self._write(self.stream.fileno(), line)
        except Exception:  # noqa: BLE001 - logging's rule for handlers
            self.handleError(record)

    def _write(self, descriptor: int, line: bytes) -> None:
        """Write a line in one piece; after one that the disk took only a part of, on a line of its own."""
        rest = memoryview(b"\n" + line if self._is_torn else line)
        while rest:
            written = os.write(descriptor, rest)
            rest = rest[written:]
            self._is_torn = bool(rest)
