"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP; loaded by `queueing.traces` alone, when they are wanted."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from queueing.traces import Attributes, SpanKind

CLOSE_SECONDS = 2.0
PROPAGATOR = TraceContextTextMapPropagator()


def exporting_tracer() -> OpenTelemetryTracer:
    """Return a tracer that sends as the variables of OpenTelemetry (OTEL_...) say; handlers' own spans go with ours."""
    tracer = OpenTelemetryTracer(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracer.provider)
    atexit.register(tracer.close)
    return tracer


class OpenTelemetryTracer:
    """Makes spans and gives them to a processor when they end."""

    def __init__(self, processor: SpanProcessor) -> None:
        self.provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("jobapi")

    @contextmanager
    def span(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> Iterator[OpenTelemetrySpan]:
        """Enter a span; an error that leaves it is not recorded, for its text may be a client's."""
        context = PROPAGATOR.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=trace.SpanKind[kind.upper()],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield OpenTelemetrySpan(span)

    def close(self) -> None:
        """Send what is left; a collector that does not answer holds up nobody for longer than two seconds."""
        closing = threading.Thread(target=self.provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class OpenTelemetrySpan:
    """A span of OpenTelemetry as `queueing.traces` knows it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What to hand on to work that this leads to."""
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier["traceparent"]

    def note(self, attributes: Attributes, *, name: str = "") -> None:
        """Add attributes, and change the name when there is one."""
        self._span.set_attributes(dict(attributes))
        if name:
            self._span.update_name(name)

    def fail(self, kind: str) -> None:
        """Mark it as failed, for a kind of error."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR))


def _resource() -> Resource:
    """Return what all spans say of this process; the variables of OpenTelemetry go before our own name."""
    is_named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if is_named else {"service.name": os.environ.get("DD_SERVICE") or "jobapi"})
