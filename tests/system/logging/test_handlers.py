"""What a handler logs names its attempt, wherever it runs, and is shipped."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from queueing import Broker, Inspector, NewJob
from tests.settings.sinks import Sink
from tests.system.processes import RunWorker, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("kills", [False, True], ids=["in the worker", "in a process of its own"])
def test_a_line_of_a_handler_names_its_attempt_and_is_shipped(
    broker: Broker, inspector: Inspector, run_worker: Callable[..., RunWorker], kills: bool
) -> None:
    job = NewJob.of("logging.say", {"kills": kills}, request_id="request-1", traceparent=f"00-{TRACE}-{'b' * 16}-01")
    job_id = broker.enqueue("default", job).id

    with Sink() as sink:
        processes = "2" if kills else "1"
        settings = {"DJANGO_SETTINGS_MODULE": "tests.system.logging.settings", "LEASE_SECONDS": 1}
        worker = run_worker("--processes", processes, LOG_TCP_URL=f"tcp://127.0.0.1:{sink.port}", **settings)
        wait_until(lambda: inspector.job(job_id).state == "succeeded")
        worker.terminate()
        assert worker.wait() == 0
        wait_until(lambda: b'"said"' in b"".join(sink.lines))

    (line,) = (json.loads(text) for text in sink.lines if b'"said"' in text)
    told = {name: line[name] for name in ("job_id", "queue", "kind", "attempt", "request_id", "trace_id", "action")}
    assert told == {
        "job_id": job_id,
        "queue": "default",
        "kind": "logging.say",
        "attempt": 2 if kills else 1,
        "request_id": "request-1",
        "trace_id": TRACE,
        "action": "said",
    }
    pids = {json.loads(text)["pid"] for text in sink.lines if b'"attempt"' in text and b'"outcome"' in text}
    assert (line["pid"] in pids) is not kills
