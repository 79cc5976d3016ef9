"""What tells of an attempt outside the queue: the fields of its log lines, and its span."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from contextvars import ContextVar

from queueing import Claimed
from queueing.traces import Span, span, trace_id_of

running: ContextVar[Claimed | None] = ContextVar("attempt", default=None)  # in this thread: what it logs names it


def log_fields(job: Claimed) -> dict[str, object]:
    """Return what a log line of an attempt says of it."""
    return {
        "job_id": job.id,
        "queue": job.queue,
        "kind": job.kind,
        "attempt": job.attempt,
        "request_id": job.request_id,
        "trace_id": trace_id_of(job.traceparent) if job.traceparent else "",
    }


class AttemptFilter(logging.Filter):
    """Adds the fields of the attempt to each record that a handler makes; what the record says itself stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the attempt, if there is one; no record is dropped."""
        job = running.get()
        if job is not None:
            for name, value in log_fields(job).items():
                if not hasattr(record, name):
                    setattr(record, name, value)
        return True


def span_of(job: Claimed) -> AbstractContextManager[Span]:
    """Return the span of an attempt, in the trace that the job came with."""
    attributes: dict[str, str | int] = {
        "messaging.system": "jobapi",
        "messaging.operation.type": "process",
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.id,
        "jobapi.kind": job.kind,
        "jobapi.attempt": job.attempt,
    }
    return span(f"process {job.queue}", "consumer", parent=job.traceparent, attributes=attributes)
