"""Traces: what joins a request, the jobs it submits and their attempts (W3C Trace Context, OpenTelemetry).

Spans are made when OpenTelemetry is installed (the extra `tracing`) and its variables name where to send them; else
nothing of it is loaded, and a `traceparent` is only passed on.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol, cast

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

SpanKind = Literal["server", "producer", "consumer"]
Attributes = Mapping[str, str | int | float]


class Span(Protocol):
    """One piece of work in a trace."""

    @property
    def traceparent(self) -> str:
        """What to hand on to work that this leads to; empty when there is none."""

    def note(self, attributes: Attributes, *, name: str = "") -> None:
        """Add attributes, and change the name when there is one."""

    def fail(self, kind: str) -> None:
        """Mark it as failed, for a kind of error; the error's text may be a client's and does not belong here."""


class Tracer(Protocol):
    """Makes spans."""

    def span(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """Return a span that lasts as long as it is entered."""

    def close(self) -> None:
        """Send what is left, within two seconds."""


class _NoSpan:
    traceparent = ""

    def note(self, attributes: Attributes, *, name: str = "") -> None:
        pass

    def fail(self, kind: str) -> None:
        pass


NO_SPAN = _NoSpan()
_lock = threading.Lock()
_tracers: list[Tracer | None] = []


def trace_id_of(traceparent: str) -> str:
    """Return the id of the trace that a `traceparent` belongs to; empty when that is not valid."""
    found = TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else ""


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer() is not None


def span(
    name: str, kind: SpanKind, *, parent: str = "", attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """Return a span below `parent`, or else below the one that this thread is in; one that does nothing when off."""
    tracer = _tracer()
    return nullcontext(NO_SPAN) if tracer is None else tracer.span(name, kind, parent, attributes or {})


def close() -> None:
    """Send the spans that are left, within two seconds, before this process ends without Python's own way out."""
    if _tracers and _tracers[0] is not None:
        _tracers[0].close()


def _tracer() -> Tracer | None:
    """Return what makes spans, made at the first call; None when they are not wanted."""
    if not _tracers:
        with _lock:
            if not _tracers:
                _tracers.append(_new_tracer())
    return _tracers[0]


def _new_tracer() -> Tracer | None:
    is_wanted = any(os.environ.get(name) for name in ENDPOINTS)
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not is_wanted or is_disabled or find_spec("opentelemetry") is None:
        return None
    return cast("Tracer", import_module("queueing.opentelemetry").exporting_tracer())
