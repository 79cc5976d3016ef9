"""The one line that each attempt leaves in the log."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from worker.attempts import log_fields
from worker.outcomes import Outcome

logger = logging.getLogger(__name__)

MESSAGE = "attempt %s of job %s: %s%s"


class AttemptLines:
    """Keeps what is to be written until there is time for it: while the database works, or nothing is to be done.

    Lines have the time at which the attempt was reported. Threads may share it.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        blank = logger.makeRecord(logger.name, logging.INFO, __file__, 0, MESSAGE, (), None, "_record")
        self._usual = vars(blank)  # made once: to ask for thread, process and file is a seventh of a line's work
        self._noted: deque[tuple[float, int, Outcome, str]] = deque()

    def note(self, outcome: Outcome, state: str, reported_at: float) -> None:
        """Note what became of an attempt that was reported then (s since 1970)."""
        level = logging.INFO if state == "succeeded" else logging.WARNING
        if logger.isEnabledFor(level):
            self._noted.append((reported_at, level, outcome, state))

    def write(self) -> None:
        """Write the lines of all that was noted."""
        while self._noted:
            try:
                noted = self._noted.popleft()
            except IndexError:  # another thread has it
                return
            logger.handle(self._record(*noted))

    def _record(self, moment: float, level: int, outcome: Outcome, state: str) -> logging.LogRecord:
        job, error = outcome.lease.job, outcome.error
        error_type = f" ({error.type})" if error else ""  # its text, kept with the job, may have parts of the payload
        return _Record(
            {
                **self._usual,
                **log_fields(job),
                "levelno": level,
                "levelname": logging.getLevelName(level),
                "created": moment,
                "msecs": moment % 1 * 1000,
                "args": (job.attempt, job.id, state, error_type),
                "action": "attempt",
                "worker": self._worker,
                "outcome": state,
                "duration_seconds": round(outcome.duration_seconds, 6),
                "error": {"type": error.type} if error else None,
            }
        )


class _Record(logging.LogRecord):
    """A record of which all is known."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__ = fields
