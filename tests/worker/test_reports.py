"""Reports that travel behind a claim: when their answers are heard, and what becomes of those that are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from queueing import Broker, Inspector, NewJob, State
from queueing.keys import queue_keys
from tests.faults import Fault
from tests.system.processes import wait_until
from tests.worker.rig import Gate, Rig, lease_of
from worker.outcomes import Outcome
from worker.reports import ANSWER_SECONDS, Reports

MakeRig = Callable[..., Rig]
QUEUE = "default"


@pytest.fixture
def reports(valkey: Redis) -> Iterator[Reports]:
    """Give reports on the session's server."""
    reports = Reports(Broker(valkey))
    yield reports
    reports.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Give a handler that waits."""
    gate = Gate()
    yield gate
    gate.opened.set()


def succeeded(broker: Broker, count: int = 1) -> list[Outcome]:
    """Claim jobs and return outcomes of attempts that succeeded."""
    broker.enqueue_many(QUEUE, [NewJob.of("echo") for _ in range(count)])
    jobs = broker.claim(QUEUE, "w1", count).jobs
    return [Outcome(lease=lease_of(job), verdict="succeeded", duration_seconds=0.1, result=b"1") for job in jobs]


def states_of(inspector: Inspector, outcomes: list[Outcome]) -> list[State]:
    return [inspector.job(outcome.lease.job.id).state for outcome in outcomes]


def test_an_answer_is_heard_after_the_report(reports: Reports, broker: Broker, inspector: Inspector) -> None:
    kept, lost = succeeded(broker, 2)
    broker.release(lost.lease.job)

    assert reports.send([kept, lost])
    assert reports.is_underway
    answer = reports.hear(wait=True)

    assert answer is not None
    assert (list(answer.outcomes), answer.held) == ([kept, lost], [True, False])
    assert not reports.is_underway
    assert reports.hear(wait=True) is None
    assert states_of(inspector, [kept, lost]) == [State.SUCCEEDED, State.READY]


def test_nobody_waits_for_an_answer_unless_told_to(reports: Reports, broker: Broker, valkey: Redis) -> None:
    outcomes = succeeded(broker)
    reports.send(outcomes)
    wait_until(lambda: (answer := reports.hear(wait=False)) is not None and answer.held == [True])
    valkey.client_pause(300, all=False)  # scripts that may write wait

    reports.send(outcomes)
    began = time.monotonic()
    early = reports.hear(wait=False)
    took = time.monotonic() - began
    late = reports.hear(wait=True)

    assert early is None
    assert took < 0.2
    assert late is not None
    assert (late.outcomes, late.held) == (outcomes, [True])


def test_of_a_report_whose_answer_is_lost_nobody_knows(reports: Reports, broker: Broker, valkey: Redis) -> None:
    outcomes = succeeded(broker)
    valkey.client_pause(300, all=False)
    reports.send(outcomes)
    valkey.client_kill_filter(_type="normal", skipme=True)

    answer = reports.hear(wait=True)

    assert answer is not None
    assert (answer.outcomes, answer.held) == (outcomes, None)
    valkey.client_unpause()
    assert reports.send(outcomes)
    again = reports.hear(wait=True)
    assert again is not None
    assert again.held == [True]


def test_a_report_that_is_given_up_leaves_no_answer_for_the_next(
    reports: Reports, broker: Broker, valkey: Redis
) -> None:
    first, second = succeeded(broker, 2)
    broker.release(first.lease.job)
    reports.send([first])

    given_up = reports.give_up()

    assert given_up is not None
    assert (given_up.outcomes, given_up.held) == ([first], None)
    assert reports.give_up() is None
    reports.send([second])
    answer = reports.hear(wait=True)
    assert answer is not None
    assert answer.held == [True]


def test_a_server_that_does_not_know_the_script_is_told_it(reports: Reports, broker: Broker, valkey: Redis) -> None:
    outcomes = succeeded(broker)
    valkey.script_flush()

    reports.send(outcomes)
    answer = reports.hear(wait=True)

    assert answer is not None
    assert answer.held == [True]


def test_a_report_that_the_server_refuses_is_lost(reports: Reports, broker: Broker, valkey: Redis) -> None:
    outcomes = succeeded(broker)
    valkey.set(queue_keys(QUEUE).succeeded, "damage")

    reports.send(outcomes)
    answer = reports.hear(wait=True)

    assert answer is not None
    assert answer.held == [False]


def test_an_answer_that_does_not_come_is_given_up_though_nobody_waits_for_it(
    reports: Reports, broker: Broker, valkey: Redis
) -> None:
    """Its attempts hold no slot and get no longer leases: they are to be reported again while they are ours."""
    outcomes = succeeded(broker)
    valkey.client_pause(20_000, all=False)
    reports.send(outcomes)

    took = wait_until(lambda: not reports.is_underway or reports.hear(wait=False) is not None)
    valkey.client_unpause()

    assert ANSWER_SECONDS <= took < ANSWER_SECONDS + 10
    assert not reports.is_underway
    assert not reports.travel


def test_who_waits_for_an_answer_waits_no_longer_than_that(reports: Reports, broker: Broker, valkey: Redis) -> None:
    outcomes = succeeded(broker)
    valkey.client_pause(20_000, all=False)
    reports.send(outcomes)

    began = time.monotonic()
    answer = reports.hear(wait=True)
    took = time.monotonic() - began
    valkey.client_unpause()

    assert answer is not None
    assert answer.held is None
    assert took < ANSWER_SECONDS + 10


# In a worker


def test_the_next_job_begins_before_the_answer_to_the_report_is_there(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    """A claim that is answered lets its handlers begin, while the server is still busy with the report."""
    rig = make_rig(handlers={"echo": gate})
    rig.consumer._reports = Reports(broker)
    ids = [broker.enqueue(QUEUE, NewJob.of("echo")).id for _ in range(2)]
    rig.consumer.run_once()
    gate.next_started()
    gate.opened.set()
    rig.await_outcome()

    rig.consumer.run_once()

    assert gate.next_started() == ids[0]
    wait_until(lambda: inspector.job(ids[1]).state is State.SUCCEEDED)
    assert rig.consumer.ended == 0
    assert not rig.consumer.is_idle
    rig.await_outcome()
    rig.consumer.run_once()
    assert rig.consumer.ended == 2
    assert rig.consumer.is_idle


def test_the_answer_is_heard_while_the_next_job_takes_long(
    make_rig: MakeRig, broker: Broker, gate: Gate, inspector: Inspector
) -> None:
    rig = make_rig(handlers={"echo": lambda payload, job: None, "long": gate}, reports_itself=True)
    broker.enqueue(QUEUE, NewJob.of("long"))
    broker.enqueue(QUEUE, NewJob.of("echo"))
    rig.consumer.run_once()
    gate.next_started()

    rig.consumer.run_once()

    assert rig.consumer.ended == 1
    assert inspector.stats(QUEUE).counts[State.SUCCEEDED] == 1


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.TIME_OUT, Fault.DROP_REPLY])
def test_a_report_that_is_lost_is_sent_again_and_counts_once(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, fault: Fault
) -> None:
    rig = make_rig()
    ids = [broker.enqueue(QUEUE, NewJob.of("echo")).id for _ in range(3)]
    rig.consumer.run_once()
    rig.await_outcome()
    rig.faults.plan(None, fault)

    rig.work()

    assert [inspector.job(job_id).state for job_id in ids] == [State.SUCCEEDED] * 3
    assert [inspector.job(job_id).attempt for job_id in ids] == [1, 1, 1]
    assert inspector.stats(QUEUE).counters["succeeded"] == 3
    assert rig.consumer.ended == 3
    assert rig.executor.free == 1


def test_while_a_report_is_lost_again_and_again_no_more_is_claimed_than_there_are_slots(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    """The report of a batch frees its slots when it is sent; one that is lost takes them back."""
    rig = make_rig(handlers={"echo": lambda payload, job: None, "long": gate}, concurrency=2)
    broker.enqueue_many(QUEUE, [NewJob.of("long")] * 6)
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 2)
    rig.consumer.run_once()
    rig.await_outcomes(2)
    rig.faults.answers["ack"] = ResponseError("BUSY a test")

    for _ in range(5):
        rig.consumer.run_once()

    assert inspector.stats(QUEUE).counts[State.RUNNING] == 4  # two that run, and two whose ends nobody knows of
    rig.faults.answers.clear()
    gate.opened.set()
    wait_until(lambda: rig.consumer.run_once() or rig.consumer.is_idle)


def test_after_a_failure_reports_go_with_the_claim_for_a_moment(
    make_rig: MakeRig, broker: Broker, inspector: Inspector
) -> None:
    rig = make_rig()
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3)
    rig.consumer.run_once()
    rig.await_outcome()
    rig.faults.plan(None, Fault.REFUSE)
    rig.consumer.run_once()
    rig.await_outcome()
    rig.faults.trips.clear()

    rig.consumer.claiming = False
    rig.consumer.run_once()
    rig.consumer.claiming = True
    rig.work()

    assert rig.faults.trips[:2] == [["ack"], ["claim"]]
    assert ["ack", "claim"] in rig.faults.trips
    assert inspector.stats(QUEUE).counters["succeeded"] == 3


def test_what_was_to_go_behind_a_claim_that_failed_goes_behind_no_other_trip(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("no")

    rig = make_rig()
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 2)
    rig.consumer.run_once()
    rig.await_outcome()
    with monkeypatch.context() as patch:
        patch.setattr(rig.consumer, "write_lines", fail)
        with pytest.raises(ValueError, match="no"):
            rig.consumer.run_once()

    rig.consumer.claiming = False
    rig.consumer.run_once()

    assert rig.faults.trips[-1] == ["ack"]
    assert inspector.stats(QUEUE).counters["succeeded"] == 1
    assert rig.executor.free == 1


def test_a_lease_is_not_extended_while_its_report_is_underway(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"echo": lambda payload, job: None, "long": gate})
    broker.enqueue(QUEUE, NewJob.of("long"))
    broker.enqueue(QUEUE, NewJob.of("echo"))
    rig.consumer.run_once()
    rig.await_outcome()

    rig.consumer.run_once()

    assert [lease.job.kind for lease in rig.leases] == ["long"]


def test_reports_travel_while_handlers_run(make_rig: MakeRig, broker: Broker, inspector: Inspector) -> None:
    """Many jobs, several slots, each attempt reported by the thread that ran it."""
    ran: list[str] = []
    lock = threading.Lock()

    def note(payload: int, job: object) -> None:
        with lock:
            ran.append(str(payload))

    rig = make_rig(handlers={"echo": note}, concurrency=4, reports_itself=True)
    broker.enqueue_many(QUEUE, [NewJob.of("echo", number) for number in range(200)])

    rig.consumer.run_once()
    wait_until(lambda: inspector.stats(QUEUE).counts[State.SUCCEEDED] == 200)
    wait_until(lambda: rig.consumer.ended == 200)

    assert sorted(ran, key=int) == [str(number) for number in range(200)]
    assert rig.executor.free == 4
