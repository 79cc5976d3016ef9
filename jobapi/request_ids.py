"""The id of a request, and of its trace: what a client, a log line and a problem call it by."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import uuid_utils
from django.http import HttpRequest

from queueing.traces import TRACEPARENT, trace_id_of

HEADER = "X-Request-ID"
PATTERN = re.compile(r"[A-Za-z0-9-]{8,64}")

META_KEY = "jobapi.request_id"
_SENT = "HTTP_X_REQUEST_ID"  # of the header; to make `request.headers` takes each request 30 us
TRACEPARENT_KEY = "jobapi.traceparent"  # of the span of the request, where there is one

_current: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


def request_id_of(request: HttpRequest) -> str:
    """Return the id of a request: the client's own where it sent a fit one, else one that is made at the first call."""
    found: str | None = request.META.get(META_KEY)
    if found is None:
        sent = request.META.get(_SENT, "")
        found = sent if PATTERN.fullmatch(sent) else uuid_utils.uuid7().hex
        request.META[META_KEY] = found
    return found


def traceparent_of(request: HttpRequest) -> str:
    """Return what work that a request leads to is to be traced under: its span or, without one, what the client sent.

    Empty when that is not valid (W3C Trace Context).
    """
    sent: str = request.META.get(TRACEPARENT_KEY) or request.META.get("HTTP_TRACEPARENT", "")
    return sent if TRACEPARENT.fullmatch(sent) else ""


@contextmanager
def serving(request: HttpRequest) -> Iterator[None]:
    """Let what is logged inside, in this thread, name the request; threads are reused, so not a line longer."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


class RequestFilter(logging.Filter):
    """Adds `request_id` and `trace_id` to each record that is made while a request is served, or that is about one.

    What Django says of an answer it says after all middleware, with the request in the record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the request, if there is one; no record is dropped."""
        request, about = _current.get(), getattr(record, "request", None)
        if request is None and isinstance(about, HttpRequest):
            request = about
        if request is not None:
            record.request_id = request_id_of(request)
            record.trace_id = trace_id_of(traceparent_of(request))
        return True
