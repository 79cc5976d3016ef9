"""The sink of log lines is stopped, reads nothing, or is gone without a word: who logs does not feel it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from itertools import count

import pytest

from queueing import Broker, NewJob
from settings import shipping
from tests.settings.sinks import Sink
from tests.system.http.server import ApiServer
from tests.system.logging.conftest import StartApi
from tests.system.processes import RunWorker, wait_until

BODY = b'{"kind":"echo","payload":{"n":1}}'
RESUMED_SECONDS = 10.0
MOST_MEMORY_BYTES = 64 * 1024 * 1024  # more than without lines to ship: twice the queue, and what allocators keep

FAULTS: dict[str, tuple[Callable[[Sink], None], Callable[[Sink], None]]] = {
    "stopped": (Sink.stop, Sink.start),
    "stalled": (lambda sink: sink.reading.clear(), lambda sink: sink.reading.set()),
    "half-open": (Sink.fall_silent, Sink.speak_again),
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


class Client:
    """Submits on a connection that it keeps, and notes how long each answer takes."""

    def __init__(self, api: ApiServer) -> None:
        self._connection = HTTPConnection("127.0.0.1", api.port, timeout=10)
        self.seconds: list[float] = []

    def submit(self) -> None:
        began = time.perf_counter()
        self._connection.request("POST", "/api/v1/jobs", BODY, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        self.seconds.append(time.perf_counter() - began)
        assert answer.status == 201

    def close(self) -> None:
        self._connection.close()


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def figures(with_sink: list[float], without: list[float]) -> str:
    """Say how long answers took with lines to ship and without."""
    named = {"p99": p99, "median": statistics.median}
    return ", ".join(
        f"{name} {of(with_sink) * 1000:.2f} ms with and {of(without) * 1000:.2f} ms without"
        for name, of in named.items()
    )


def test_submissions_are_as_fast_with_a_faulty_sink_as_without_one(
    start_api: StartApi, sink: Sink, soak: bool, seed: int
) -> None:
    """Two servers are asked in turn, so that what else the machine does meets both."""
    apis = [start_api(LOG_TCP_URL=f"tcp://127.0.0.1:{sink.port}"), start_api()]
    warm = [Client(api) for api in apis]
    submit_in_turn(warm, 1)
    for client in warm:
        client.close()
    memory = apis[0].resident_bytes()
    answers: list[list[float]] = [[], []]

    for name, (break_it, mend_it) in FAULTS.items():
        clients = [Client(api) for api in apis]
        break_it(sink)
        submit_in_turn(clients, 60 if soak else 10 / len(FAULTS))
        mend_it(sink)
        resumed = resumes(sink, Client(apis[0]))  # the server closes a connection that nobody used for half a minute
        with_sink, without = (client.seconds for client in clients)
        said = figures(with_sink, without)
        print(f"seed {seed}, {name}: {len(without)} each, {said}, shipping again after {resumed:.1f} s")  # noqa: T201
        assert resumed < RESUMED_SECONDS
        answers = [answers[0] + with_sink, answers[1] + without]
        for client in clients:
            client.close()

    print(f"all: {figures(*answers)}")  # noqa: T201 - figures for the reader
    assert statistics.median(answers[0]) < 1.1 * statistics.median(answers[1])
    assert not soak or p99(answers[0]) < 1.1 * p99(answers[1])  # ten seconds say too little of the slowest hundredth
    assert apis[0].resident_bytes() - memory < MOST_MEMORY_BYTES


def submit_in_turn(clients: list[Client], seconds: float) -> None:
    """Submit to both, each first every other time."""
    until = time.monotonic() + seconds
    for turn in count():
        for client in clients[:: 1 if turn % 2 else -1]:
            client.submit()
        if time.monotonic() > until:
            return


def resumes(sink: Sink, client: Client) -> float:
    """Submit until a line of these arrives; returns how many seconds that took."""
    before, began = len(sink.received), time.monotonic()
    have = len(sink.lines)
    while len(sink.lines) == have and time.monotonic() - began < 2 * RESUMED_SECONDS:
        client.submit()
        time.sleep(0.05)
    client.close()
    assert before <= len(sink.received)
    return time.monotonic() - began


def dropped(worker: RunWorker) -> int:
    """Return how many lines a worker said it dropped."""
    told = [event for event in worker.events if event.get("action") == "log_lines_dropped"]
    return sum(int(event["message"].split()[0]) for event in told)


def logged(worker: RunWorker) -> list[str]:
    return [json.dumps(event) for event in worker.events if event.get("action") != "log_lines_dropped"]


def test_every_line_is_shipped_or_counted_as_dropped_when_the_sink_stays_away(
    broker: Broker, run_worker: Callable[..., RunWorker], sink: Sink
) -> None:
    sink.stop()
    broker.enqueue_many("default", [NewJob.of("echo")] * 11_000)

    worker = run_worker("--drain", "--concurrency", "8", LOG_TCP_URL=f"tcp://127.0.0.1:{sink.port}")

    assert worker.wait() == 0
    assert len(logged(worker)) > shipping.MAX_RECORDS
    assert dropped(worker) == len(logged(worker))


def test_what_a_stalled_sink_leaves_queued_arrives_when_it_reads_again(
    broker: Broker, run_worker: Callable[..., RunWorker], sink: Sink
) -> None:
    sink.reading.clear()
    broker.enqueue_many("default", [NewJob.of("echo")] * 3000)

    worker = run_worker("--max-jobs", "3001", "--concurrency", "8", LOG_TCP_URL=f"tcp://127.0.0.1:{sink.port}")
    wait_until(lambda: len(logged(worker)) >= 3000)
    sink.reading.set()
    wait_until(lambda: len(sink.lines) >= 3000, RESUMED_SECONDS)
    broker.enqueue("default", NewJob.of("echo"))

    assert worker.wait() == 0
    wait_until(lambda: len(sink.lines) == len(logged(worker)))
    assert sorted(json.dumps(json.loads(line)) for line in sink.lines) == sorted(logged(worker))
    assert dropped(worker) == 0
