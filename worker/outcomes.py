"""How attempts end: running a handler, and what the queue is told of it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from django.db import close_old_connections
from django.db.backends.signals import connection_created

from queueing import JobError, PayloadCorrupt, encode_result
from worker.attempts import running
from worker.context import JobContext
from worker.errors import GiveUp, JobCancelled, LeaseLost, RetryLater
from worker.leases import Lease
from worker.registry import Handler

UNKNOWN_KIND_DELAY_MS = 30_000  # long enough for a rolling deploy to bring the worker that knows the kind


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    `verdict` is succeeded, failed, crashed (it killed its process), dead, cancelled, or lost (which is not reported).
    """

    lease: Lease
    verdict: str
    duration_seconds: float
    result: bytes | None = None
    error: JobError | None = None
    delay_ms: int | None = None


Verdict = tuple[str, bytes | None, JobError | None, int | None]


def run_attempt(lease: Lease, handlers: Mapping[str, Handler], extend: Callable[[Lease], None]) -> Outcome:
    """Run the handler for the job of `lease` and return how it ended; raises nothing."""
    started = time.monotonic()
    if not lease.is_held(started):  # this process was held up since it claimed the job
        return outcome_of(lease, started, verdict_on(LeaseLost()))
    return outcome_of(lease, started, judge(lease, handlers, extend))


def outcome_of(lease: Lease, started: float, verdict: Verdict) -> Outcome:
    """Return the outcome of an attempt that started at `started` and ends now."""
    name, result, error, delay_ms = verdict
    duration = time.monotonic() - started
    return Outcome(lease=lease, verdict=name, duration_seconds=duration, result=result, error=error, delay_ms=delay_ms)


def judge(lease: Lease, handlers: Mapping[str, Handler], extend: Callable[[Lease], None]) -> Verdict:
    """Run the handler and turn what it returns or raises into a verdict; raises nothing."""
    _close_old_connections()
    attempt = running.set(lease.job)
    try:
        return _judge(lease, handlers, extend)
    finally:
        running.reset(attempt)
        _close_old_connections()


class _OfThread(threading.local):
    has_connected = False  # to Django's database, ever


_of_thread = _OfThread()


def _note_connection(**_signal: Any) -> None:
    _of_thread.has_connected = True


connection_created.connect(_note_connection)


def _close_old_connections() -> None:
    """Do so in a thread that ever had a connection: most handlers need none, and the question is not cheap."""
    if _of_thread.has_connected:
        close_old_connections()


def _judge(lease: Lease, handlers: Mapping[str, Handler], extend: Callable[[Lease], None]) -> Verdict:
    kind = lease.job.kind
    if kind not in handlers:
        error = JobError(type="UnknownKind", message=f"this worker has no handler for kind {kind!r}")
        return "failed", None, error, UNKNOWN_KIND_DELAY_MS
    try:
        return "succeeded", _call(lease, handlers[kind], extend), None, None
    except BaseException as error:  # noqa: BLE001 - also SystemExit and MemoryError: a handler ends its attempt, never the worker
        lease.leave()
        return _safe_verdict_on(error)


def _call(lease: Lease, handler: Handler, extend: Callable[[Lease], None]) -> bytes | None:
    """Call the handler, open to interrupts only while it runs; returns the result as it is stored."""
    payload = lease.job.value()
    lease.enter()
    try:
        value = handler(payload, JobContext(lease, extend))
    finally:
        lease.leave()
    return None if value is None else encode_result(value)


def _safe_verdict_on(error: BaseException) -> Verdict:
    """Return the verdict, also on an error of a handler's own making that cannot be read."""
    try:
        return verdict_on(error)
    except Exception as unreadable:  # noqa: BLE001 - its attributes are a handler's own code
        message = f"the error could not be read: {type(unreadable).__qualname__}"
        return "failed", None, JobError(type=type(error).__qualname__, message=message), None


def verdict_on(error: BaseException) -> Verdict:
    """Return the verdict on an attempt that this error ended."""
    match error:
        case RetryLater():
            return "failed", None, _job_error(error), round(error.delay_seconds * 1000)
        case GiveUp():
            return "dead", None, _job_error(error), None
        case PayloadCorrupt():
            return "dead", None, JobError(type="corrupt", message=str(error)), None
        case JobCancelled():
            return "cancelled", None, _job_error(error), None
        case LeaseLost():
            return "lost", None, _job_error(error), None
        case _:
            return "failed", None, _job_error(error, with_traceback=True), None


def _job_error(error: BaseException, *, with_traceback: bool = False) -> JobError:
    text = "".join(traceback.format_exception(error)) if with_traceback else ""
    return JobError(type=type(error).__qualname__, message=_message(error), traceback=text)


def _message(error: BaseException) -> str:
    try:
        return str(error) or (type(error).__doc__ or "").strip()
    except Exception as unprintable:  # noqa: BLE001 - it is a handler's own __str__
        return f"the error's text could not be read: {type(unprintable).__qualname__}"
