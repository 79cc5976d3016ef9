"""The life of a worker process: how it lives, and the order in which it stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, Policy, State
from tests.faults import Fault, Faults, FaultyBroker
from tests.worker.rig import SUSPECTS, WAIT_SECONDS, Gate, echo, kill, suspected
from worker import runner
from worker.context import JobContext
from worker.runner import EXIT_UNAVAILABLE, Mode, Worker, WorkerOptions, new_worker_name
from worker.signals import StopRequest
from worker.watchdog import EXIT_STUCK

ECHO = NewJob.of("echo")


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    stop = StopRequest()
    yield stop
    stop.request(at_once=True)  # what a failed test leaves running would claim the next one's jobs
    while Running.started:
        Running.started.pop().join()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def run(make_worker: Callable[..., Worker]) -> Callable[..., int]:
    """Run a worker in this thread until it ends by itself."""
    return lambda handlers=None, **options: make_worker(handlers, **options).run()


@pytest.fixture
def make_worker(broker: Broker, stop: StopRequest, gate: Gate) -> Callable[..., Worker]:
    def make(handlers: dict[str, Any] | None = None, **options: Any) -> Worker:
        wanted = options.pop("still_wanted", lambda: True)
        options = {"queues": ["default"], **options}
        return Worker(
            options.pop("broker", broker),
            {"echo": echo, "gate": gate, **SUSPECTS, **(handlers or {})},
            WorkerOptions(**options),
            stop,
            still_wanted=wanted,
        )

    return make


class Running:
    """A worker in a thread of its own."""

    started: ClassVar[list[Running]] = []

    def __init__(self, run: Callable[..., int], *args: Any, **options: Any) -> None:
        self.code: int | None = None

        def target() -> None:
            self.code = run(*args, **options)

        self._thread = threading.Thread(target=target)
        self._thread.start()
        self.started.append(self)

    def join(self) -> int | None:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        return self.code


def counts(inspector: Inspector) -> dict[str, int]:
    """Return how many jobs are in each state that has any."""
    return {str(state): count for state, count in inspector.stats("default").counts.items() if count}


# Ways to live


def test_a_drain_empties_the_queues_and_leaves_what_is_scheduled(
    run: Callable[..., int], broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [ECHO] * 20)
    broker.enqueue("default", NewJob.of("echo", delay_seconds=3600))

    assert run(mode=Mode.DRAIN, concurrency=3) == 0

    assert counts(inspector) == {"succeeded": 20, "scheduled": 1}


def test_a_drain_runs_what_its_jobs_submit(run: Callable[..., int], broker: Broker, inspector: Inspector) -> None:
    def parent(payload: Any, job: JobContext) -> None:
        broker.enqueue("default", ECHO)

    broker.enqueue("default", NewJob.of("parent"))

    assert run({"parent": parent}, mode=Mode.DRAIN) == 0

    assert counts(inspector) == {"succeeded": 2}


def test_a_drain_of_empty_queues_ends_at_once(run: Callable[..., int]) -> None:
    began = time.monotonic()

    assert run(mode=Mode.DRAIN) == 0
    assert time.monotonic() - began < 0.9


def test_a_drain_waits_for_a_lease_that_seems_to_have_run_out_and_runs_its_job(
    run: Callable[..., int], valkey: Redis, inspector: Inspector
) -> None:
    """Else what a killed drain held would lie there for good when no other worker lives long enough."""
    broker = Broker(valkey, Policy(lease_ms=300))
    broker.enqueue("default", ECHO)
    broker.claim("default", "gone")
    while not broker.lease_ends("default", broker.server_time_ms("default")):
        pass

    assert run(mode=Mode.DRAIN, broker=broker) == 0
    assert counts(inspector) == {"succeeded": 1}


def test_a_drain_that_cannot_reach_the_database_ends_with_69(
    run: Callable[..., int], valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DRAIN_PATIENCE_SECONDS", 0.1)
    faults = Faults()
    faults.down = Fault.REFUSE

    assert run(mode=Mode.DRAIN, broker=FaultyBroker(valkey, faults=faults)) == EXIT_UNAVAILABLE == 69


def test_a_drain_survives_a_short_outage(
    run: Callable[..., int], broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    broker.enqueue_many("default", [ECHO] * 5)
    faults = Faults()
    faults.plan(*[Fault.REFUSE] * 3)

    assert run(mode=Mode.DRAIN, broker=FaultyBroker(valkey, faults=faults)) == 0
    assert counts(inspector) == {"succeeded": 5}


def test_an_interval_worker_drains_then_sleeps_until_the_next_interval(run: Callable[..., int], broker: Broker) -> None:
    ran_at: list[float] = []

    def note(payload: Any, job: JobContext) -> None:
        ran_at.append(time.monotonic())
        broker.enqueue("default", NewJob.of("note", delay_seconds=0.2))  # due long before the next interval

    broker.enqueue("default", NewJob.of("note"))

    assert run({"note": note}, mode=Mode.INTERVAL, interval_seconds=1.0, max_jobs=2) == 0

    assert 0.7 <= ran_at[1] - ran_at[0] < WAIT_SECONDS / 2


def test_a_stop_ends_the_sleep_between_two_intervals(run: Callable[..., int], stop: StopRequest) -> None:
    worker = Running(run, mode=Mode.INTERVAL, interval_seconds=3600)
    began = time.monotonic()

    stop.request()

    assert worker.join() == 0
    assert time.monotonic() - began < WAIT_SECONDS / 2


def test_max_jobs_ends_the_worker_when_they_are_done(
    run: Callable[..., int], broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [ECHO] * 5)

    assert run(max_jobs=3, concurrency=2) == 0

    assert counts(inspector) == {"succeeded": 3, "ready": 2}


def test_the_last_job_of_max_jobs_may_take_longer_than_the_grace(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    """The grace is for a stop; else a job longer than it would be given back by every worker it meets."""
    broker.enqueue("default", NewJob.of("gate"))
    worker = Running(run, max_jobs=1, grace_seconds=0.0)
    gate.next_started()

    threading.Timer(0.3, gate.opened.set).start()

    assert worker.join() == 0
    assert counts(inspector) == {"succeeded": 1}


def test_max_seconds_ends_an_idle_worker(run: Callable[..., int]) -> None:
    began = time.monotonic()

    assert run(max_seconds=0.2) == 0
    assert 0.2 <= time.monotonic() - began < 1.0


def test_after_max_seconds_nothing_is_claimed_and_what_runs_is_finished(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    broker.enqueue_many("default", [NewJob.of("gate")] * 2)
    worker = Running(run, max_seconds=0.5, grace_seconds=0.0)
    gate.next_started()

    threading.Timer(0.7, gate.opened.set).start()

    assert worker.join() == 0
    assert counts(inspector) == {"succeeded": 1, "ready": 1}


# Stopping


def test_a_stop_lets_what_runs_finish_and_claims_no_more(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate, stop: StopRequest
) -> None:
    broker.enqueue_many("default", [NewJob.of("gate")] * 3)
    worker = Running(run)
    gate.next_started()

    stop.request()
    gate.opened.set()

    assert worker.join() == 0
    assert counts(inspector) == {"succeeded": 1, "ready": 2}


def test_what_does_not_finish_within_the_grace_is_given_back_uncounted_and_interrupted(
    run: Callable[..., int], broker: Broker, inspector: Inspector, stop: StopRequest
) -> None:
    interrupted, started = threading.Event(), threading.Event()

    def endless(payload: Any, job: JobContext) -> None:
        started.set()
        try:
            threading.Event().wait(0.05)
            for _ in range(int(WAIT_SECONDS * 100)):
                threading.Event().wait(0.01)
        finally:
            interrupted.set()

    job_id = broker.enqueue("default", NewJob.of("endless")).id
    worker = Running(run, {"endless": endless}, grace_seconds=0.1)
    assert started.wait(WAIT_SECONDS)

    stop.request()

    assert worker.join() == 0
    job = inspector.job(job_id)
    assert (job.state, job.attempt, job.attempts) == (State.READY, 0, ())
    assert interrupted.wait(WAIT_SECONDS)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_request_gives_back_at_once(
    run: Callable[..., int],
    broker: Broker,
    inspector: Inspector,
    gate: Gate,
    stop: StopRequest,
    number: signal.Signals,
    code: int,
) -> None:
    job_id = broker.enqueue("default", NewJob.of("gate")).id
    worker = Running(run, grace_seconds=60)
    gate.next_started()
    stop.signal_number = number
    stop.request()

    stop.request()

    assert worker.join() == code
    assert (inspector.job(job_id).state, inspector.job(job_id).attempt) == (State.READY, 0)


def test_a_stop_without_the_database_ends_all_the_same(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate, stop: StopRequest, valkey: Redis
) -> None:
    job_id = broker.enqueue("default", NewJob.of("gate")).id
    faults = Faults()
    worker = Running(run, broker=FaultyBroker(valkey, faults=faults), grace_seconds=0.1)
    gate.next_started()

    faults.down = Fault.REFUSE
    stop.request()

    assert worker.join() == 0
    assert inspector.job(job_id).state is State.RUNNING


def test_a_worker_left_alone_by_its_supervisor_stops_in_order(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    broker.enqueue_many("default", [NewJob.of("gate")] * 2)
    alone = threading.Event()
    worker = Running(run, still_wanted=lambda: not alone.is_set())
    gate.next_started()

    alone.set()
    gate.opened.set()

    assert worker.join() == 0
    assert counts(inspector)["succeeded"] >= 1
    assert "running" not in counts(inspector)


@pytest.mark.parametrize("mode", [Mode.CONTINUOUS, Mode.INTERVAL])
def test_a_worker_left_alone_gives_what_runs_its_grace(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate, stop: StopRequest, mode: Mode
) -> None:
    """The supervisor's end is one request to stop, however often the worker looks for it."""
    broker.enqueue("default", NewJob.of("gate"))
    alone = threading.Event()
    worker = Running(run, mode=mode, still_wanted=lambda: not alone.is_set())
    gate.next_started()

    alone.set()
    assert stop.requested.wait(WAIT_SECONDS)
    threading.Timer(0.2, gate.opened.set).start()

    assert worker.join() == 0
    assert counts(inspector) == {"succeeded": 1}


def test_a_handler_that_does_not_end_after_its_time_fails_and_the_worker_ends_with_70(
    run: Callable[..., int], broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.leases.YIELD_SECONDS", 0.3)
    stuck = threading.Event()
    job_id = broker.enqueue("default", NewJob.of("stuck", timeout_seconds=0.3)).id

    assert run({"stuck": lambda payload, job: stuck.wait(WAIT_SECONDS)}) == 70

    stuck.set()
    job = inspector.job(job_id)
    assert job.state is State.RETRYING
    assert job.error is not None
    assert job.error.type == "AttemptTimeout"


def test_a_stopped_worker_leaves_no_sign_of_life_and_no_connection(
    run: Callable[..., int], broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    assert inspector.stats("default").workers == ()  # over a connection that it keeps
    connected = len(valkey.client_list())

    assert run(mode=Mode.DRAIN) == 0

    assert inspector.stats("default").workers == ()
    ends_at = time.monotonic() + WAIT_SECONDS
    while len(valkey.client_list()) > connected and time.monotonic() < ends_at:
        pass
    assert len(valkey.client_list()) <= connected


def test_a_running_worker_keeps_the_leases_of_long_jobs(
    run: Callable[..., int], valkey: Redis, inspector: Inspector, stop: StopRequest, gate: Gate
) -> None:
    """The job takes three times as long as its lease."""
    broker = Broker(valkey, Policy(lease_ms=800))
    job_id = broker.enqueue("default", NewJob.of("gate")).id
    worker = Running(run, broker=broker)
    gate.next_started()

    threading.Timer(2.4, gate.opened.set).start()
    threading.Timer(2.45, stop.request).start()

    assert worker.join() == 0
    job = inspector.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)


# Suspects


def test_a_stop_lets_a_suspect_finish(
    fifo: Path,
    run: Callable[..., int],
    broker: Broker,
    valkey: Redis,
    inspector: Inspector,
    stop: StopRequest,
) -> None:
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.gate", str(fifo))).id)
    worker = Running(run)
    fifo.read_text()

    stop.request()
    fifo.write_text("go on")

    assert worker.join() == 0
    assert inspector.job(job_id).state is State.SUCCEEDED


@pytest.mark.parametrize("kind", ["suspect.work", "suspect.stuck"])
def test_a_suspect_that_outlasts_the_grace_is_given_back_uncounted_and_its_process_ended(
    fifo: Path,
    run: Callable[..., int],
    broker: Broker,
    valkey: Redis,
    inspector: Inspector,
    stop: StopRequest,
    kind: str,
) -> None:
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of(kind, str(fifo))).id)
    worker = Running(run, grace_seconds=0.1)
    with fifo.open() as held_open_by_the_process:
        held_open_by_the_process.readline()
        stop.request()

        assert worker.join() == 0
        assert held_open_by_the_process.read() == ""
    assert (inspector.job(job_id).state, inspector.job(job_id).attempt) == (State.READY, 0)


def test_a_second_request_ends_a_suspect_at_once(
    fifo: Path,
    run: Callable[..., int],
    broker: Broker,
    valkey: Redis,
    inspector: Inspector,
    stop: StopRequest,
) -> None:
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.stuck", str(fifo))).id)
    worker = Running(run, grace_seconds=60)
    with fifo.open() as held_open_by_the_process:
        held_open_by_the_process.readline()
        stop.signal_number = signal.SIGTERM
        stop.request()
        stop.request()

        assert worker.join() == 143
        assert held_open_by_the_process.read() == ""
    assert (inspector.job(job_id).state, inspector.job(job_id).attempt) == (State.READY, 0)


def test_a_suspect_that_does_not_end_after_its_time_is_killed_and_the_worker_goes_on(
    fifo: Path,
    run: Callable[..., int],
    broker: Broker,
    valkey: Redis,
    inspector: Inspector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.isolation.YIELD_SECONDS", 0.05)
    other = broker.enqueue("default", ECHO).id
    new = NewJob.of("suspect.stuck", str(fifo), timeout_seconds=0.05, max_attempts=2)
    job_id = suspected(valkey, broker.enqueue("default", new).id)
    worker = Running(run, max_jobs=2)

    fifo.read_text()

    assert worker.join() == 0
    assert inspector.job(job_id).error.type == "AttemptTimeout"
    assert inspector.job(other).state is State.SUCCEEDED


def test_a_suspect_may_take_longer_than_its_lease_and_is_told_of_a_cancel(
    fifo: Path, run: Callable[..., int], valkey: Redis, inspector: Inspector
) -> None:
    broker = Broker(valkey, Policy(lease_ms=1_500))
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.wait", str(fifo))).id)
    worker = Running(run, broker=broker, max_jobs=1)
    fifo.read_text()

    threading.Timer(2.0, broker.cancel, [job_id]).start()

    assert worker.join() == 0
    job = inspector.job(job_id)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == (State.CANCELLED, ["cancelled"])


def test_a_careful_worker_runs_its_first_jobs_apart(
    run: Callable[..., int], broker: Broker, inspector: Inspector
) -> None:
    """It takes the place of one that died, and what that one held is not back yet."""
    job_id = broker.enqueue("default", NewJob.of("suspect.pid")).id

    assert run(mode=Mode.DRAIN, is_careful=True) == 0

    assert int(inspector.job(job_id).result) != os.getpid()


def test_a_worker_whose_fork_server_was_killed_ends_to_be_replaced(
    make_worker: Callable[..., Worker], broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    """Only a process that has no other thread yet can make one."""
    worker = make_worker()
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.pid")).id)
    start = worker._start

    def start_and_kill() -> None:
        start()
        kill(worker._executor._isolation)

    worker._start = start_and_kill  # type: ignore[method-assign]

    assert worker.run() == EXIT_STUCK

    assert inspector.job(job_id).state is State.RETRYING


def test_a_worker_watches_over_its_own_threads_alone(make_worker: Callable[..., Worker]) -> None:
    """Another thread of the process, begun while the worker starts, may end when it likes."""
    worker = make_worker(mode=Mode.DRAIN, concurrency=2)
    start, other = worker._maintenance.start, threading.Thread(target=lambda: None, name="other")

    def start_with_another() -> None:
        other.start()
        start()

    worker._maintenance.start = start_with_another  # type: ignore[method-assign]

    assert worker.run() == 0

    watched = [thread.name for thread in worker._watchdog._watched]
    assert watched == ["handler-0", "handler-1", "lease-keeper", "maintenance", "waker"]


def test_no_thread_ends_that_is_watched_while_the_last_jobs_of_a_limited_life_run(
    make_worker: Callable[..., Worker], broker: Broker, gate: Gate, inspector: Inspector
) -> None:
    """The watchdog would end the process, and these jobs with it."""
    broker.enqueue("default", NewJob.of("gate"))
    worker = make_worker(mode=Mode.DRAIN, max_jobs=1)
    running = Running(worker.run)
    gate.next_started()
    claims_until = time.monotonic() + WAIT_SECONDS
    while worker._consumer.claiming and time.monotonic() < claims_until:
        time.sleep(0.01)
    time.sleep(0.1)

    ended = [thread.name for thread in worker._watchdog._watched if not thread.is_alive()]

    gate.opened.set()
    assert running.join() == 0
    assert ended == []
    assert counts(inspector) == {"succeeded": 1}


# What it leaves behind


def test_a_drain_leaves_word_of_its_run(run: Callable[..., int], broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many("default", [ECHO] * 3)

    run(queues=["default", "other"], mode=Mode.DRAIN)

    (noted,) = inspector.runs(["default", "other"])
    assert (noted.mode, noted.queues, noted.jobs, noted.outcome) == ("drain", ("default", "other"), 3, "drained")
    assert noted.worker.split(":")[0] == noted.host
    assert noted.started_at <= noted.ended_at


def test_each_interval_leaves_word_of_its_run(run: Callable[..., int], broker: Broker, inspector: Inspector) -> None:
    broker.enqueue("default", ECHO)

    run(mode=Mode.INTERVAL, interval_seconds=0.2, still_wanted=lambda: len(inspector.runs(["default"])) < 2)

    last, first = inspector.runs(["default"])
    assert (first.jobs, first.outcome, first.interval_seconds) == (1, "drained", 0.2)
    assert (last.jobs, last.mode) == (0, "interval")


def test_a_drain_that_its_own_limit_ends_says_so(run: Callable[..., int], broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many("default", [ECHO] * 3)

    run(mode=Mode.DRAIN, max_jobs=2)

    (noted,) = inspector.runs(["default"])
    assert (noted.jobs, noted.outcome) == (2, "limit")


def test_what_ends_while_a_run_is_noted_is_reported_after_that(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate, stop: StopRequest, valkey: Redis
) -> None:
    """Both use one connection, and would each read the reply that is for the other."""
    faults, is_noting, overlapping = Faults(), threading.Event(), []

    def on_trip(verbs: list[str]) -> None:
        if verbs == ["run"]:
            is_noting.set()
            gate.opened.set()
            time.sleep(0.3)
            is_noting.clear()
        elif is_noting.is_set() and not {"ack", "claim"}.isdisjoint(verbs):
            overlapping.append(verbs)

    faults.on_trip = on_trip
    job_id = broker.enqueue("default", NewJob.of("gate")).id
    worker = Running(run, mode=Mode.DRAIN, broker=FaultyBroker(valkey, faults=faults))
    gate.next_started()

    stop.request()

    assert worker.join() == 0
    assert overlapping == []
    assert inspector.job(job_id).state is State.SUCCEEDED
    assert inspector.runs(["default"])[0].outcome == "stopped"


def test_a_worker_says_how_it_lives_and_what_it_did(
    run: Callable[..., int], broker: Broker, inspector: Inspector, gate: Gate, stop: StopRequest
) -> None:
    broker.enqueue("default", NewJob.of("gate"))
    running = Running(run, concurrency=2)
    gate.next_started()

    (worker,) = inspector.stats("default").workers

    stop.request()
    gate.opened.set()
    assert running.join() == 0
    about = dict(worker.about)
    assert datetime.fromisoformat(about.pop("started_at")).tzinfo is not None
    assert about.pop("rss_mib") > 1
    assert about == {
        "host": worker.id.split(":")[0],
        "pid": os.getpid(),
        "queues": ["default"],
        "slots": 2,
        "mode": "continuous",
        "jobs": 0,
        "running": [],
    }


def test_a_worker_name_tells_host_and_process_and_is_never_used_twice() -> None:
    first, second = new_worker_name(), new_worker_name()

    assert first.split(":")[1] == str(os.getpid())
    assert first != second
