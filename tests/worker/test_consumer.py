"""The consumer: what is reported and claimed, and in how many round trips."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, ResponseError

from queueing import Backoff, Broker, Inspector, NewJob, Policy, QueueingError, State
from tests.faults import Fault
from tests.system.processes import wait_until
from tests.worker.rig import WAIT_SECONDS, Gate, Rig, echo, suspected
from worker.context import JobContext
from worker.errors import GiveUp, RetryLater

MakeRig = Callable[..., Rig]
ECHO = NewJob.of("echo", 1)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def enqueue(broker: Broker, count: int, kind: str = "echo", queue: str = "default") -> list[str]:
    """Submit jobs and return their ids, the one to be claimed first in front."""
    enqueued = broker.enqueue_many(queue, [NewJob.of(kind, number) for number in range(count)])
    return [job.id for job in reversed(enqueued)]


def count_of(inspector: Inspector, state: State, queue: str = "default") -> int:
    return inspector.stats(queue).counts[state]


# What is claimed


def test_a_job_is_claimed_run_and_reported(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)

    assert rig.consumer.run_once()
    rig.await_outcome()
    assert rig.consumer.run_once()

    job = inspector.job(job_id)
    assert (job.state, job.result) == (State.SUCCEEDED, b"0")
    assert job.attempts[0].worker == "host:1:test"


def test_the_slots_are_filled_first_and_what_finished_is_reported_behind(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(concurrency=3)
    enqueue(broker, 6)
    rig.consumer.run_once()
    rig.await_outcomes(3)
    rig.faults.trips.clear()

    rig.consumer.run_once()

    assert rig.faults.trips == [["claim"], ["ack"]]
    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.RUNNING)) == (3, 3)


def test_failures_are_reported_with_the_claim(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    def odd_ones_fail(payload: int, job: JobContext) -> int:
        if payload % 2:
            raise RetryLater(60)
        return payload

    rig = make_rig(handlers={"echo": odd_ones_fail}, concurrency=4)
    enqueue(broker, 4)
    rig.consumer.run_once()
    rig.await_outcomes(4)
    rig.faults.trips.clear()

    rig.consumer.run_once()

    assert rig.faults.trips == [["fail", "fail", "claim"], ["ack"]]
    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.RETRYING)) == (2, 2)


def test_only_as_many_jobs_are_claimed_as_slots_are_free(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, concurrency=2)
    enqueue(broker, 5)

    rig.consumer.run_once()
    rig.consumer.run_once()

    assert count_of(inspector, State.RUNNING) == 2
    assert rig.faults.trips == [["claim"]]


def test_the_newest_job_runs_first_also_when_it_came_last(make_rig: MakeRig, broker: Broker) -> None:
    ran: list[int] = []
    rig = make_rig(handlers={"echo": lambda payload, job: ran.append(payload)})
    broker.enqueue_many("default", [NewJob.of("echo", number) for number in range(5)])
    rig.consumer.run_once()
    rig.await_outcome()
    broker.enqueue("default", NewJob.of("echo", 99))

    rig.work()

    assert ran == [4, 99, 3, 2, 1, 0]


def test_a_second_queue_is_asked_only_for_slots_the_first_leaves(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, queues=["urgent", "default"], concurrency=3)
    enqueue(broker, 2, queue="urgent")
    enqueue(broker, 2, queue="default")

    rig.consumer.run_once()

    assert (count_of(inspector, State.RUNNING, "urgent"), count_of(inspector, State.RUNNING, "default")) == (2, 1)
    assert rig.faults.trips == [["claim"], ["claim"]]


def test_the_first_queue_is_emptied_before_the_second_is_served(make_rig: MakeRig, broker: Broker) -> None:
    ran: list[str] = []
    rig = make_rig(handlers={"echo": lambda payload, job: ran.append(job.queue)}, queues=["urgent", "default"])
    enqueue(broker, 3, queue="default")
    enqueue(broker, 3, queue="urgent")

    rig.work()

    assert ran == ["urgent"] * 3 + ["default"] * 3


def test_a_job_of_the_first_queue_overtakes_those_that_wait_in_the_second(make_rig: MakeRig, broker: Broker) -> None:
    ran: list[str] = []
    rig = make_rig(handlers={"echo": lambda payload, job: ran.append(job.queue)}, queues=["urgent", "default"])
    enqueue(broker, 2, queue="default")
    rig.consumer.run_once()
    rig.await_outcome()
    enqueue(broker, 1, queue="urgent")

    rig.work()

    assert ran == ["default", "urgent", "default"]


def test_more_slots_than_one_claim_can_fill_keep_the_order_of_queues(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, queues=["urgent", "default"], concurrency=60)
    enqueue(broker, 60, queue="urgent")
    enqueue(broker, 60, queue="default")

    rig.consumer.run_once()
    rig.consumer.run_once()

    assert (count_of(inspector, State.RUNNING, "urgent"), count_of(inspector, State.RUNNING, "default")) == (60, 0)


def test_no_more_than_max_jobs_are_claimed(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    rig = make_rig(concurrency=4, max_jobs=6)
    enqueue(broker, 10)

    rig.work()

    assert rig.consumer.is_exhausted
    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.READY)) == (6, 4)


def test_nothing_is_claimed_once_claiming_is_over_but_outcomes_are_reported(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig()
    enqueue(broker, 2)
    rig.consumer.run_once()
    rig.await_outcome()

    rig.consumer.claiming = False
    rig.consumer.run_once()
    rig.consumer.run_once()

    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.READY)) == (1, 1)
    assert rig.faults.trips == [["claim"], ["ack"]]


def test_a_paused_queue_gives_nothing(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    rig = make_rig()
    enqueue(broker, 1)
    broker.pause("default")

    assert not rig.consumer.run_once()
    assert count_of(inspector, State.READY) == 1


def test_a_claim_that_finds_nothing_says_that_the_queues_are_empty(
    make_rig: MakeRig, broker: Broker, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, concurrency=2, queues=["default", "other"])
    assert not rig.consumer.is_empty

    rig.consumer.run_once()
    assert rig.consumer.is_empty
    assert rig.consumer.is_idle

    enqueue(broker, 1, queue="other")
    rig.consumer.run_once()
    assert not rig.consumer.is_empty
    assert not rig.consumer.is_idle


def test_an_unreachable_database_does_not_count_as_empty(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.consumer.run_once()
    rig.faults.plan(Fault.REFUSE)

    rig.consumer.run_once()

    assert not rig.consumer.is_empty


# How attempts are reported


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (GiveUp("no"), State.DEAD),
        (RetryLater(60), State.RETRYING),
        (ValueError("no"), State.RETRYING),
        (SystemExit(), State.RETRYING),
    ],
)
def test_what_a_handler_raises_decides_the_state(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, error: BaseException, state: State
) -> None:
    def fail(payload: Any, job: JobContext) -> None:
        raise error

    rig = make_rig(handlers={"echo": fail})
    (job_id,) = enqueue(broker, 1)

    rig.consumer.run_once()
    rig.await_outcome()
    rig.consumer.claiming = False  # the backoff may be as short as nothing
    rig.consumer.run_once()

    job = inspector.job(job_id)
    assert job.state is state
    assert job.error is not None
    assert job.error.type == type(error).__name__


def test_a_failed_job_is_dead_after_its_last_attempt(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    def fail(payload: Any, job: JobContext) -> None:
        raise RetryLater(0)

    rig = make_rig(handlers={"echo": fail})
    job_id = broker.enqueue("default", NewJob.of("echo", max_attempts=3)).id

    rig.work()

    job = inspector.job(job_id)
    assert (job.state, [attempt.number for attempt in job.attempts]) == (State.DEAD, [1, 2, 3])


def test_a_damaged_payload_makes_the_job_dead_as_corrupt(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    (key,) = valkey.keys(f"*{job_id}")
    valkey.hset(key, "p", b'{"other":1}')

    rig.work()

    job = inspector.job(job_id)
    assert job.state is State.DEAD
    assert job.error is not None
    assert job.error.type == "corrupt"


def test_an_unknown_kind_waits_and_its_slot_is_free(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1, kind="new.kind")

    rig.work()

    assert inspector.job(job_id).state is State.RETRYING
    assert rig.consumer.is_idle


def test_each_attempt_leaves_one_line_in_the_log_without_the_payload(
    make_rig: MakeRig, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.attempt_lines")
    rig = make_rig()
    broker.enqueue("default", NewJob.of("echo", "a secret"))

    began = time.time()
    rig.work()
    ended = time.time()
    rig.consumer.write_lines()

    (record,) = caplog.records
    assert began <= record.created <= ended
    assert (record.action, record.outcome, record.attempt, record.kind) == ("attempt", "succeeded", 1, "echo")
    assert record.duration_seconds >= 0
    assert "secret" not in str(vars(record))


def test_lines_are_written_while_the_server_works_or_before_a_wait(
    make_rig: MakeRig, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.attempt_lines")
    rig = make_rig()
    enqueue(broker, 2)
    written = []
    for _ in range(3):
        rig.consumer.run_once()
        written.append(len(caplog.records))
        if rig.executor.free == 0:
            rig.await_outcome()

    rig.consumer.wait(0)

    assert written == [0, 0, 1]
    assert len(caplog.records) == 2


# Outages


@pytest.mark.parametrize("fault", list(Fault))
def test_an_outage_keeps_outcomes_and_they_are_reported_once_it_is_over(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.attempt_lines")
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()

    rig.faults.down = fault
    assert not rig.consumer.run_once()
    assert not rig.consumer.run_once()
    assert not rig.consumer.is_idle
    rig.faults.down = None
    assert rig.consumer.unavailable_since is not None
    assert rig.consumer.run_once()

    assert inspector.job(job_id).state is State.SUCCEEDED
    assert inspector.stats("default").counters["succeeded"] == 1
    assert rig.consumer.is_idle
    assert rig.consumer.unavailable_since is None
    rig.consumer.write_lines()
    assert [record.action for record in caplog.records].count("attempt") == 1


def test_during_an_outage_no_more_is_claimed_than_there_are_slots(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(concurrency=2)
    enqueue(broker, 6)
    rig.consumer.run_once()
    rig.await_outcomes(2)

    rig.faults.plan(Fault.REFUSE)
    rig.consumer.run_once()

    assert rig.executor.free == 0
    assert count_of(inspector, State.RUNNING) == 2


def test_jobs_of_a_claim_whose_reply_was_lost_start_with_the_next_trip(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(concurrency=2)
    ids = enqueue(broker, 2)

    rig.faults.plan(Fault.DROP_REPLY)
    rig.consumer.run_once()
    rig.work()

    jobs = [inspector.job(job_id) for job_id in ids]
    assert [(job.state, job.attempt) for job in jobs] == [(State.SUCCEEDED, 1)] * 2


def test_a_lost_reply_of_a_second_queue_costs_nothing_either(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(queues=("default", "mail"), concurrency=2)
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    rig.faults.plan(None, Fault.DROP_REPLY)
    rig.consumer.run_once()
    rig.work()

    job = inspector.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)


def reap_when_due(broker: Broker) -> list[Any]:
    """Reap until the millisecond of a lease is over."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < ends_at:
        if reaped := broker.reap("default"):
            return reaped
    return []


def test_while_the_database_is_away_the_pause_between_tries_grows_to_two_seconds(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.faults.down = Fault.REFUSE
    tried_at: list[float] = []
    pauses: list[tuple[float, float]] = []  # to the next try: from the last one, and what was left of it

    def receive(timeout_seconds: float) -> None:
        since_try = time.monotonic() - tried_at[-1]
        pauses.append((since_try + timeout_seconds, timeout_seconds))

    rig.consumer._receive = receive  # type: ignore[method-assign]

    for _ in range(10):
        tried_at.append(time.monotonic())
        rig.consumer.run_once()
        rig.consumer.wait(60)

    longest = [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(limit / 2 <= at_least and left <= limit for (at_least, left), limit in zip(pauses, longest, strict=True))


def test_an_error_for_the_report_leaves_no_claimed_job_without_a_handler(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    """The steps of a round trip succeed or fail one by one: a busy server may refuse the fail and serve the claim."""

    def zero_fails(payload: int, job: JobContext) -> int:
        if payload == 0:
            raise GiveUp
        return payload

    rig = make_rig(handlers={"echo": zero_fails}, concurrency=2)
    (first,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()
    second = broker.enqueue("default", ECHO).id

    rig.faults.answers["fail"] = ResponseError("BUSY Valkey is busy running a script")
    assert not rig.consumer.run_once()
    rig.faults.answers.clear()
    rig.await_outcome()
    rig.work()

    assert [inspector.job(job_id).state for job_id in (first, second)] == [State.DEAD, State.SUCCEEDED]


def test_what_a_refused_claim_was_to_ack_is_reported_with_the_next(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()

    rig.faults.answers["claim"] = BusyLoadingError("the server is loading")
    assert not rig.consumer.run_once()
    assert not rig.consumer.is_idle
    rig.faults.answers.clear()
    assert rig.consumer.run_once()

    assert inspector.job(job_id).state is State.SUCCEEDED
    assert rig.consumer.is_idle


def test_what_an_impossible_claim_was_to_ack_is_reported_once_claiming_is_over(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()

    rig.faults.answers["claim"] = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    with pytest.raises(QueueingError):
        rig.consumer.run_once()
    rig.consumer.claiming = False
    rig.consumer.run_once()

    assert inspector.job(job_id).state is State.SUCCEEDED


def test_a_claim_that_the_server_cannot_understand_is_an_error_of_the_program(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.faults.answers["claim"] = ResponseError("ERR wrong number of arguments")

    with pytest.raises(QueueingError, match="wrong number"):
        rig.consumer.run_once()


# One slot


def test_with_one_slot_the_thread_that_ran_an_attempt_reports_it_and_claims_the_next(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(reports_itself=True)
    enqueue(broker, 5)

    rig.consumer.run_once()

    assert rig.inbox.get(timeout=WAIT_SECONDS) is None
    assert rig.faults.trips == [["claim"], *[["claim"], ["ack"]] * 5]
    assert count_of(inspector, State.SUCCEEDED) == 5
    assert rig.consumer.is_idle
    assert rig.consumer.is_empty


def test_with_one_slot_nothing_is_claimed_once_a_stop_is_requested(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, reports_itself=True)
    enqueue(broker, 2)
    rig.consumer.run_once()
    gate.next_started()

    rig.is_stopping.set()
    gate.opened.set()

    assert rig.inbox.get(timeout=WAIT_SECONDS) is None
    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.READY)) == (1, 1)


def test_with_one_slot_an_outcome_that_could_not_be_reported_is_left_to_the_main_thread(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, reports_itself=True)
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    gate.next_started()
    rig.faults.plan(Fault.REFUSE)

    gate.opened.set()
    assert rig.inbox.get(timeout=WAIT_SECONDS) is None
    assert rig.consumer.unavailable_since is not None
    rig.consumer.run_once()

    assert inspector.job(job_id).state is State.SUCCEEDED


def test_with_one_slot_an_error_of_the_program_is_met_by_the_main_thread(
    make_rig: MakeRig, broker: Broker, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, reports_itself=True)
    enqueue(broker, 1)
    rig.consumer.run_once()
    gate.next_started()
    rig.faults.answers["claim"] = ResponseError("ERR wrong number of arguments")

    gate.opened.set()

    assert rig.inbox.get(timeout=WAIT_SECONDS) is None
    with pytest.raises(QueueingError, match="wrong number"):
        rig.consumer.run_once()


@pytest.fixture
def listening(make_rig: MakeRig) -> Rig:
    """Give a rig of one slot whose thread waits for hints; its loop is not called any more."""
    rig = make_rig(listens=True, queues=["default", "other"])
    waits = threading.Event()
    rig.faults.on_trip = lambda verbs: waits.set() if verbs[0] == "blpop" else None
    rig.consumer.wait(0)
    assert waits.wait(WAIT_SECONDS)
    return rig


@pytest.mark.parametrize("queue", ["default", "other"])
def test_with_one_slot_the_thread_that_runs_attempts_waits_for_a_hint_and_claims(
    listening: Rig, broker: Broker, inspector: Inspector, queue: str
) -> None:
    for number in range(1, 4):
        submitted_at = time.monotonic()
        enqueue(broker, 1, queue=queue)
        wait_until(lambda number=number: count_of(inspector, State.SUCCEEDED, queue) == number)

        assert time.monotonic() - submitted_at < 0.9


def test_what_is_due_soon_is_claimed_then(listening: Rig, broker: Broker, inspector: Inspector) -> None:
    broker.enqueue("default", NewJob.of("echo", delay_seconds=0.3))
    enqueue(broker, 1)  # the hint that lets it see when the other is due

    assert wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 2) < 0.9


def test_while_it_waits_nobody_else_claims(listening: Rig, broker: Broker) -> None:
    listening.faults.trips.clear()

    assert not listening.consumer.run_once()
    assert listening.faults.trips == []


def test_nothing_is_claimed_by_who_waits_once_a_stop_is_requested(
    listening: Rig, broker: Broker, inspector: Inspector
) -> None:
    listening.is_stopping.set()
    enqueue(broker, 1)

    assert listening.inbox.get(timeout=WAIT_SECONDS) is None
    assert count_of(inspector, State.READY) == 1


def test_an_outage_met_by_who_waits_is_left_to_the_main_thread_and_it_waits_again_after(
    listening: Rig, broker: Broker, inspector: Inspector
) -> None:
    listening.faults.down = Fault.REFUSE
    enqueue(broker, 1)
    while listening.inbox.get(timeout=WAIT_SECONDS) is None and listening.consumer.unavailable_since is None:
        pass
    listening.faults.down = None

    listening.consumer.run_once()
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 1)
    submitted_at = time.monotonic()
    enqueue(broker, 1)
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 2)

    assert time.monotonic() - submitted_at < 0.9


def test_an_error_of_the_program_met_by_who_waits_is_met_by_the_main_thread(listening: Rig, broker: Broker) -> None:
    listening.faults.answers["claim"] = ResponseError("ERR wrong number of arguments")
    enqueue(broker, 1)

    assert listening.inbox.get(timeout=WAIT_SECONDS) is None
    with pytest.raises(QueueingError, match="wrong number"):
        listening.consumer.run_once()


@pytest.fixture
def make_listening(make_rig: MakeRig) -> Callable[..., Rig]:
    """Let a rig of one slot and one queue wait for a hint, with its claim on the way already."""

    def make(*faults: Fault, **options: Any) -> Rig:
        rig = make_rig(listens=True, **options)
        rig.faults.plan(*faults)
        waits = threading.Event()
        rig.faults.on_trip = lambda verbs: waits.set()
        rig.consumer.wait(0)
        assert waits.wait(WAIT_SECONDS)
        return rig

    return make


def test_of_one_queue_a_job_is_claimed_in_the_round_trip_that_waits_for_its_hint(
    make_listening: Callable[..., Rig], broker: Broker, inspector: Inspector
) -> None:
    rig = make_listening()
    for number in range(1, 4):
        enqueue(broker, 1)
        wait_until(lambda number=number: count_of(inspector, State.SUCCEEDED) == number)
    wait_until(lambda: len(rig.faults.trips) == 10)

    assert rig.faults.trips == [["blpop", "claim"], ["claim"], ["ack"]] * 3 + [["blpop", "claim"]]


def test_what_was_claimed_with_a_hint_is_started_though_the_reply_was_lost(
    make_listening: Callable[..., Rig], broker: Broker, inspector: Inspector
) -> None:
    rig = make_listening(Fault.DROP_REPLY)
    (job_id,) = enqueue(broker, 1)
    wait_until(lambda: rig.consumer.unavailable_since is not None)

    rig.consumer.run_once()
    wait_until(lambda: inspector.job(job_id).state is State.SUCCEEDED)

    assert inspector.job(job_id).attempt == 1


@pytest.mark.parametrize("fault", [None, Fault.DROP_REPLY])
def test_what_was_claimed_with_a_hint_as_a_stop_came_is_given_back(
    make_listening: Callable[..., Rig], broker: Broker, inspector: Inspector, fault: Fault | None
) -> None:
    rig = make_listening(fault)
    rig.is_stopping.set()
    (job_id,) = enqueue(broker, 1)

    wait_until(lambda: rig.consumer.is_idle)

    job = inspector.job(job_id)
    assert (job.state, job.attempt) == (State.READY, 0)
    assert rig.faults.trips[-1] == ["release"]


def test_who_waits_for_a_hint_waits_no_more_once_nothing_is_to_be_claimed(
    make_listening: Callable[..., Rig], broker: Broker, inspector: Inspector
) -> None:
    rig = make_listening()
    assert not rig.consumer.is_idle

    rig.is_stopping.set()
    rig.consumer.claim_no_more()
    took = wait_until(lambda: rig.consumer.is_idle)
    (job_id,) = enqueue(broker, 1)

    assert took < 0.9
    assert inspector.job(job_id).state is State.READY


def test_a_lease_is_long_when_the_wait_for_its_job_is_over(
    make_listening: Callable[..., Rig], broker: Broker, inspector: Inspector
) -> None:
    rig = make_listening(policy=Policy(lease_ms=1000))
    wait_until(lambda: len(rig.faults.trips) > 3)

    enqueue(broker, 1)
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 1)


def test_slots_that_became_free_meanwhile_are_filled_as_soon_as_a_hint_comes(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate, "slow": gate}, concurrency=2, listens=True)
    enqueue(broker, 1, kind="gate")
    rig.consumer.run_once()
    gate.next_started()
    rig.consumer.wait(0)
    wait_until(lambda: ["blpop", "claim"] in rig.faults.trips)
    gate.opened.set()
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 1)

    gate.opened.clear()
    began = time.monotonic()
    enqueue(broker, 2, kind="slow")
    gate.next_started()
    gate.next_started()

    assert time.monotonic() - began < 0.9
    gate.opened.set()
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 3)


# Several slots


def test_several_slots_report_together_once_no_attempt_waits_for_a_thread(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig(concurrency=4, reports_itself=True)
    enqueue(broker, 40)

    rig.consumer.run_once()

    assert rig.inbox.get(timeout=WAIT_SECONDS) is None
    wait_until(lambda: rig.consumer.ended == 40)  # nobody else may take a turn: asking whether it is idle does
    assert count_of(inspector, State.SUCCEEDED) == 40
    assert {verb for verbs in rig.faults.trips for verb in verbs} == {"claim", "ack"}
    assert len(rig.faults.trips) <= 81


def test_an_attempt_that_ended_is_reported_while_the_others_go_on(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate, "echo": echo}, concurrency=3, reports_itself=True)
    enqueue(broker, 2, kind="gate")
    (job_id,) = enqueue(broker, 1)  # the newest, so its attempt ends while two others wait for a thread

    rig.consumer.run_once()
    gate.next_started()
    gate.next_started()

    wait_until(lambda: inspector.job(job_id).state is State.SUCCEEDED)
    assert count_of(inspector, State.RUNNING) == 2
    gate.opened.set()
    wait_until(lambda: rig.consumer.ended == 3)


def test_several_slots_have_a_thread_that_waits_for_a_hint_while_others_run_attempts(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate, "echo": echo}, concurrency=2, listens=True)
    enqueue(broker, 1, kind="gate")
    rig.consumer.run_once()
    gate.next_started()
    rig.consumer.wait(0)

    for number in range(1, 4):
        submitted_at = time.monotonic()
        enqueue(broker, 1)
        wait_until(lambda number=number: count_of(inspector, State.SUCCEEDED) == number)

        assert time.monotonic() - submitted_at < 0.9
    gate.opened.set()
    wait_until(lambda: count_of(inspector, State.SUCCEEDED) == 4)


@pytest.mark.parametrize("holder", ["wait", "is_idle"])
def test_an_outcome_that_is_left_while_the_main_thread_looks_is_reported_by_it(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate, holder: str
) -> None:
    rig = make_rig(handlers={"echo": gate}, concurrency=2, reports_itself=True)
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    gate.next_started()

    with rig.consumer._turn:
        gate.opened.set()
        wait_until(lambda: len(rig.consumer._finished) == 1)
        wait_until(lambda: len(rig.executor._orders._idle) == 2)  # it found somebody at it, and looks no more
    if holder == "is_idle":
        assert not rig.consumer.is_idle
    began = time.monotonic()
    rig.consumer.wait(WAIT_SECONDS)
    rig.consumer.run_once()

    assert time.monotonic() - began < WAIT_SECONDS / 2
    assert inspector.job(job_id).state is State.SUCCEEDED


# Lost leases


def test_an_attempt_whose_lease_is_lost_is_not_reported(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()
    (lease,) = rig.leases
    lease.lose()
    rig.consumer.claiming = False

    rig.consumer.run_once()

    assert rig.faults.trips == [["claim"]]
    assert inspector.job(job_id).state is State.RUNNING
    assert rig.consumer.is_idle


def test_an_attempt_whose_lease_went_to_another_changes_nothing_there(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.attempt_lines")
    rig = make_rig()
    (job_id,) = enqueue(broker, 1)
    rig.consumer.run_once()
    rig.await_outcome()
    (lease,) = rig.leases
    broker.release(lease.job)
    broker.claim("default", "another")

    rig.consumer.run_once()

    assert inspector.job(job_id).state is State.RUNNING
    assert rig.consumer.is_idle
    rig.consumer.write_lines()
    assert [record.outcome for record in caplog.records] == ["lost"]


def test_one_lost_lease_does_not_hide_the_other_acks(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    rig = make_rig(concurrency=3)
    enqueue(broker, 3)
    rig.consumer.run_once()
    rig.await_outcomes(3)
    broker.release(next(iter(rig.leases)).job)
    rig.consumer.claiming = False

    rig.consumer.run_once()

    assert (count_of(inspector, State.SUCCEEDED), count_of(inspector, State.READY)) == (2, 1)


def test_giving_back_returns_jobs_uncounted_and_says_how_many_were_held(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"echo": gate}, concurrency=2)
    enqueue(broker, 2)
    rig.consumer.run_once()
    leases = list(rig.leases)
    broker.release(leases[0].job)
    broker.claim("default", "another")

    assert rig.consumer.release_all(leases) == 1
    assert [inspector.job(lease.job.id).state for lease in leases] == [State.RUNNING, State.READY]
    assert inspector.job(leases[1].job.id).attempt == 0
    assert rig.consumer.release_all([]) == 0


# Waiting


def test_waiting_ends_with_an_outcome(make_rig: MakeRig, broker: Broker) -> None:
    rig = make_rig()
    enqueue(broker, 1)
    rig.consumer.run_once()

    began = time.monotonic()
    rig.consumer.wait(WAIT_SECONDS)

    assert time.monotonic() - began < WAIT_SECONDS / 2


def test_waiting_ends_when_somebody_wakes(make_rig: MakeRig) -> None:
    rig = make_rig()
    timer = threading.Thread(target=rig.consumer.wake)
    timer.start()

    began = time.monotonic()
    rig.consumer.wait(WAIT_SECONDS)
    timer.join()

    assert time.monotonic() - began < WAIT_SECONDS / 2


def test_an_idle_wait_ends_with_a_submitted_job(make_rig: MakeRig, broker: Broker) -> None:
    rig = make_rig()
    rig.waker.start()
    rig.consumer.run_once()

    broker.enqueue("default", ECHO)
    began = time.monotonic()
    rig.consumer.wait(WAIT_SECONDS)

    assert time.monotonic() - began < 0.9
    assert rig.consumer.run_once()


def test_an_idle_wait_ends_when_the_next_scheduled_job_is_due(make_rig: MakeRig, broker: Broker) -> None:
    rig = make_rig()
    rig.waker.start()
    broker.enqueue("default", NewJob.of("echo", delay_seconds=0.15))
    began = time.monotonic()
    while not rig.consumer.run_once() and time.monotonic() - began < WAIT_SECONDS:
        rig.consumer.wait(WAIT_SECONDS)

    assert 0.14 <= time.monotonic() - began < 0.9


def test_a_worker_without_a_free_slot_does_not_listen_for_hints(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"echo": gate})
    enqueue(broker, 1)
    rig.consumer.run_once()

    rig.consumer.wait(0)

    assert not any(listener._armed for listener in rig.waker._listeners)


# Suspects


def test_a_suspect_that_crashes_is_reported_at_once_and_dead_after_its_third_crash(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    rig = make_rig(policy=Policy(backoff=Backoff(base_ms=0, max_ms=0)))
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.exit", 7)).id)

    rig.work()

    job = inspector.job(job_id)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == (State.DEAD, ["failed", "failed"])
    assert (job.error.type, job.error.message) == ("Crashed", "exit code 7")


def test_a_suspect_that_does_no_harm_succeeds(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    rig = make_rig()
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.echo", "ü")).id)

    rig.work()

    job = inspector.job(job_id)
    assert (job.state, json.loads(job.result)["payload"]) == (State.SUCCEEDED, "ü")


def test_suspects_cost_no_round_trip(make_rig: MakeRig, broker: Broker, valkey: Redis) -> None:
    rig = make_rig()
    suspected(valkey, broker.enqueue("default", NewJob.of("suspect.echo")).id)
    rig.consumer.run_once()
    rig.await_outcome()

    rig.consumer.run_once()

    assert rig.faults.trips == [["claim"], ["claim"], ["ack"]]
