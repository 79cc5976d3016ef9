"""Spans from a request to the attempts it leads to: in this process, and over OTLP/HTTP from real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis import Redis

from queueing import Broker, traces
from queueing.opentelemetry import OpenTelemetryTracer
from tests.system.logging.conftest import StartApi
from tests.system.processes import RunWorker, wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
JOB = b'{"kind":"echo"}'

Spans = Callable[[], dict[str, ReadableSpan]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Give a function that returns the spans that ended, by kind."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(traces, "_tracers", [OpenTelemetryTracer(SimpleSpanProcessor(exporter))])
    return lambda: {span.kind.name: span for span in exporter.get_finished_spans()}


def submit(**headers: str) -> Any:
    client = Client(headers={"host": "localhost", "content-length": str(len(JOB)), **headers})
    return client.post("/api/v1/jobs", JOB, content_type="application/json")


def test_a_submission_has_a_span_below_the_clients_and_the_job_is_linked_to_its_enqueue(
    spans: Spans, broker: Broker
) -> None:
    response = submit(traceparent=TRACEPARENT)

    server, producer = spans()["SERVER"], spans()["PRODUCER"]
    assert response.status_code == 201
    assert server.name == "POST api/v1/jobs"
    assert server.parent is not None
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert server.attributes is not None
    assert server.attributes["http.response.status_code"] == 201
    assert producer.name == "send default"
    assert producer.parent == server.context
    (job,) = broker.claim("default", "w").jobs
    assert job.traceparent == f"00-{TRACE}-{producer.context.span_id:016x}-01"


def test_a_submission_without_a_trace_begins_one(spans: Spans, broker: Broker) -> None:
    submit()

    (job,) = broker.claim("default", "w").jobs
    assert spans()["SERVER"].parent is None
    assert traces.trace_id_of(job.traceparent) == f"{spans()['SERVER'].context.trace_id:032x}"


def test_probes_have_no_spans(spans: Spans, valkey: Redis) -> None:
    Client(headers={"host": "localhost"}).get("/livez")

    assert spans() == {}


def test_a_traceparent_goes_to_the_job_and_the_log_without_spans_too(broker: Broker) -> None:
    submit(traceparent=TRACEPARENT)

    (job,) = broker.claim("default", "w").jobs
    assert job.traceparent == TRACEPARENT


class Collector:
    """Takes spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_one_trace_goes_from_the_request_to_the_attempt_over_the_wire(
    start_api: StartApi, run_worker: Callable[..., RunWorker], collector: Collector
) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "shop"}
    api = start_api(**settings)
    headers = {"Content-Type": "application/json", "traceparent": TRACEPARENT}

    for body in (JOB, b'{"kind":"fail","queue":"default","payload":{"message":"canary","permanent":true}}'):
        assert api.ask("POST", "/api/v1/jobs", body, headers).status == 201
    worker = run_worker("--drain", **settings)
    assert worker.wait() == 0
    api.close()  # which sends what is left

    server, producer, consumer = (
        collector.spans[name] for name in ("POST api/v1/jobs", "send default", "process default")
    )
    assert {span.trace_id.hex() for span in collector.spans.values()} == {TRACE}
    assert server.parent_span_id.hex() == PARENT
    assert producer.parent_span_id == server.span_id
    assert consumer.parent_span_id
    assert collector.services == {"shop"}
    assert "canary" not in str(collector.spans)
    attempts = [event for event in worker.events if event.get("action") == "attempt"]
    assert {event["trace_id"] for event in attempts} == {TRACE}
    accesses = [json.loads(line) for line in api.log.read_text().splitlines() if '"/api/v1/jobs"' in line]
    assert {event["trace_id"] for event in accesses} == {TRACE}


def test_a_collector_that_is_away_holds_up_nobody(
    broker: Broker, run_worker: Callable[..., RunWorker], start_api: StartApi
) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    api = start_api(**away)
    assert api.ask("POST", "/api/v1/jobs", JOB, {"Content-Type": "application/json"}).status == 201

    worker = run_worker("--drain", **away)

    assert worker.wait() == 0
    wait_until(lambda: any(event.get("outcome") == "succeeded" for event in worker.events))
