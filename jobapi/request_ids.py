"""The id of a request: what a client, a log line and a problem call it by."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import uuid_utils
from django.http import HttpRequest

HEADER = "X-Request-ID"
PATTERN = re.compile(r"[A-Za-z0-9-]{8,64}")

_META_KEY = "jobapi.request_id"

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def request_id_of(request: HttpRequest) -> str:
    """Return the id of a request: the client's own where it sent a fit one, else one that is made at the first call."""
    found: str | None = request.META.get(_META_KEY)
    if found is None:
        sent = request.headers.get(HEADER, "")
        found = sent if PATTERN.fullmatch(sent) else uuid_utils.uuid7().hex
        request.META[_META_KEY] = found
    return found


@contextmanager
def serving(request: HttpRequest) -> Iterator[None]:
    """Let what is logged inside, in this thread, carry the request's id; threads are reused, so not a line longer."""
    token = _current.set(request_id_of(request))
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to each record that is made while a request is served, or that is about one.

    What Django says of an answer it says after all middleware, with the request in the record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the request, if there is one; no record is dropped."""
        request_id, about = _current.get(), getattr(record, "request", None)
        if request_id is None and isinstance(about, HttpRequest):
            request_id = request_id_of(about)
        if request_id is not None:
            record.request_id = request_id
        return True
