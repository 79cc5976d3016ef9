"""The lease keeper: leases extended, limits watched, signs of life given."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from queueing import Broker, Inspector, NewJob, Policy, State, StoreUnavailable
from tests.faults import Fault
from tests.worker.rig import WAIT_SECONDS, WORKER, Gate, Rig, claimed, lease_of
from worker import heartbeat
from worker.context import JobContext
from worker.errors import AttemptInterrupted, LeaseLost

MakeRig = Callable[..., Rig]
LONG = Policy(lease_ms=30_000)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def start_one(rig: Rig, broker: Broker, gate: Gate, **options: Any) -> str:
    """Submit a job and return its id once its handler runs."""
    broker.enqueue("default", NewJob.of("gate", **options))
    rig.consumer.run_once()
    return gate.next_started()


def age(rig: Rig, seconds: float) -> None:
    """Make every lease older."""
    for lease in rig.leases:
        lease.renew(lease.renewed_at - seconds)


def test_a_lease_is_extended_after_a_third_of_its_time_and_not_before(
    make_rig: MakeRig, broker: Broker, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)

    age(rig, 9.0)
    assert rig.keeper.run_once() == 0
    age(rig, 1.1)
    assert rig.keeper.run_once() == 1
    assert rig.keeper.run_once() == 0


def test_an_extended_lease_is_held_for_its_whole_time_again(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)
    age(rig, 20.0)

    rig.keeper.run_once()

    (lease,) = rig.leases
    assert lease.is_held(time.monotonic() + 26)


def test_all_leases_of_a_queue_are_extended_in_one_round_trip(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"gate": gate}, concurrency=3)
    broker.enqueue_many("default", [NewJob.of("gate")] * 3)
    rig.consumer.run_once()
    age(rig, 11.0)

    assert rig.keeper.run_once() == 3
    assert rig.keeper_faults.trips.count(["extend"]) == 1


def test_progress_is_sent_with_the_next_tick(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    job_id = start_one(rig, broker, gate)
    (lease,) = rig.leases

    JobContext(lease, rig.keeper.extend_now).progress(0.5, "half")
    rig.keeper.run_once()

    assert json.loads(inspector.job(job_id).progress or b"") == {"fraction": 0.5, "note": "half"}


def test_progress_that_could_not_be_sent_is_sent_later(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    job_id = start_one(rig, broker, gate)
    rig.keeper.run_once()
    (lease,) = rig.leases
    lease.set_progress(0.5, "half")

    rig.keeper_faults.plan(Fault.REFUSE)
    with pytest.raises(StoreUnavailable):
        rig.keeper.run_once()
    rig.keeper.run_once()

    assert json.loads(inspector.job(job_id).progress or b"") == {"fraction": 0.5, "note": "half"}


def test_a_cancelled_job_is_told_and_its_handler_interrupted(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    job_id = start_one(rig, broker, gate)
    (lease,) = rig.leases

    broker.cancel(job_id)
    age(rig, 11.0)
    rig.keeper.run_once()
    rig.work()

    assert lease.cancel_requested
    assert inspector.job(job_id).state is State.CANCELLED


def test_an_attempt_over_its_time_limit_is_interrupted(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    job_id = start_one(rig, broker, gate, timeout_seconds=60)
    (lease,) = rig.leases
    rig.keeper.run_once()
    lease.timeout_at = time.monotonic()

    rig.keeper.run_once()
    rig.await_outcome()
    rig.consumer.claiming = False  # the backoff may be as short as nothing
    rig.consumer.run_once()

    job = inspector.job(job_id)
    assert job.state is State.RETRYING
    assert job.error is not None
    assert job.error.type == "AttemptTimeout"


def test_the_thread_wakes_when_the_time_limit_of_an_attempt_is_over(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "TICK_SECONDS", 60.0)  # so a sixth of a lease, 5 s
    rig = make_rig(handlers={"gate": gate})
    rig.keeper.start()
    began = time.monotonic()
    job_id = start_one(rig, broker, gate, timeout_seconds=0.05)

    rig.await_outcome()
    took = time.monotonic() - began
    rig.consumer.claiming = False  # the backoff may be as short as nothing
    rig.consumer.run_once()
    rig.keeper.stop()

    assert 0.05 <= took < 4.5
    assert inspector.job(job_id).state is State.RETRYING


def test_an_attempt_whose_handler_had_not_begun_at_its_time_limit_is_interrupted_once_it_has(
    make_rig: MakeRig, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine may run its thread that late; its time counts from when it begins."""
    monkeypatch.setattr(heartbeat, "TICK_SECONDS", 60.0)
    rig = make_rig(handlers={"gate": gate})
    lease = lease_of(claimed(timeout_ms=1))
    rig.leases.add(lease)
    struck = threading.Event()

    def strike(_error: type[AttemptInterrupted]) -> bool:
        struck.set()
        return True

    rig.keeper.start()
    time.sleep(0.3)
    lease.enter(strike)

    assert struck.wait(4.0)  # it would wait for 5 s, a sixth of a lease
    rig.keeper.stop()


def test_a_lease_that_the_server_has_not_is_lost_and_its_handler_interrupted(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate, valkey: Redis
) -> None:
    rig = make_rig(handlers={"gate": gate})
    job_id = start_one(rig, broker, gate)
    (lease,) = rig.leases
    broker.release(lease.job)

    age(rig, 11.0)
    assert rig.keeper.run_once() == 0
    rig.await_outcome()

    outcome = rig.inbox.get()
    assert outcome is not None
    assert (outcome.verdict, lease.is_held(time.monotonic())) == ("lost", False)
    assert inspector.job(job_id).state is State.READY


def test_a_lease_past_its_deadline_is_lost_without_asking_the_server(
    make_rig: MakeRig, broker: Broker, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)
    rig.keeper.run_once()
    (lease,) = rig.leases
    rig.keeper_faults.down = Fault.TIME_OUT

    age(rig, 28.0)
    rig.keeper.run_once()
    rig.await_outcome()

    outcome = rig.inbox.get()
    assert outcome is not None
    assert (outcome.verdict, outcome.lease) == ("lost", lease)


def test_a_lost_lease_is_not_extended_any_more(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    """Its handler may sit in a call for hours: the job has to be taken back meanwhile."""
    stuck = threading.Event()
    rig = make_rig(handlers={"gate": lambda payload, job: stuck.wait(WAIT_SECONDS)})
    broker.enqueue("default", NewJob.of("gate"))
    rig.consumer.run_once()
    (lease,) = rig.leases

    age(rig, 28.0)
    extended = rig.keeper.run_once()
    extended += rig.keeper.run_once()
    stuck.set()
    rig.await_outcome()

    assert extended == 0
    assert not lease.is_held(time.monotonic())
    assert ["extend"] not in rig.keeper_faults.trips


def test_a_handler_may_extend_its_lease_itself(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)
    age(rig, 9.0)
    (lease,) = rig.leases

    JobContext(lease, rig.keeper.extend_now).extend()

    assert lease.is_held(time.monotonic() + 26)


def test_a_handler_that_extends_a_lost_lease_is_told(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)
    (lease,) = rig.leases
    broker.release(lease.job)

    with pytest.raises(LeaseLost):
        JobContext(lease, rig.keeper.extend_now).extend()


def test_handlers_and_keeper_take_turns_on_their_connection(make_rig: MakeRig, broker: Broker, gate: Gate) -> None:
    """While the sign of life is on its way, a handler's own extend waits."""
    rig = make_rig(handlers={"gate": gate})
    start_one(rig, broker, gate)
    (lease,) = rig.leases
    extender = threading.Thread(target=rig.keeper.extend_now, args=(lease,))
    overtaken: list[bool] = []

    def during(verbs: list[str]) -> None:
        if verbs == ["beat"]:
            extender.start()
            extender.join(0.2)
            overtaken.append(["extend"] in rig.keeper_faults.trips)

    rig.keeper_faults.on_trip = during
    rig.keeper.run_once()
    extender.join(WAIT_SECONDS)

    assert overtaken == [False]
    assert rig.keeper_faults.trips == [["beat"], ["extend"]]


def test_the_sign_of_life_says_what_the_worker_is_and_runs(
    make_rig: MakeRig, broker: Broker, inspector: Inspector, gate: Gate
) -> None:
    rig = make_rig(handlers={"gate": gate}, concurrency=2, queues=["default", "other"])
    job_id = start_one(rig, broker, gate)

    rig.keeper.run_once()

    for queue in ("default", "other"):
        (worker,) = inspector.stats(queue).workers
        assert worker.id == WORKER
        assert worker.about == {
            "slots": 2,
            "running": [{"job_id": job_id, "kind": "gate", "attempt": 1}],
        }


def test_the_first_sign_of_life_is_given_before_anything_is_claimed(make_rig: MakeRig, inspector: Inspector) -> None:
    """A job never runs at a worker that nobody knows of, however late the keeper's thread gets its turn."""
    rig = make_rig(handlers={})
    rig.keeper.thread = threading.Thread()

    rig.keeper.start()

    assert [worker.id for worker in inspector.stats("default").workers] == [WORKER]
    rig.keeper.stop()


def test_the_sign_of_life_is_given_every_few_seconds_and_not_each_tick(make_rig: MakeRig) -> None:
    rig = make_rig()

    rig.keeper.run_once()
    rig.keeper.run_once()
    rig.keeper._next_beat = time.monotonic()
    rig.keeper.run_once()

    assert rig.keeper_faults.trips == [["beat"]] * 2


def test_a_worker_that_stops_vanishes_from_the_list(make_rig: MakeRig, inspector: Inspector) -> None:
    rig = make_rig()
    rig.keeper.start()
    rig.keeper.run_once()
    assert inspector.stats("default").workers

    rig.keeper.stop()

    assert inspector.stats("default").workers == ()


def test_a_worker_that_cannot_sign_off_stops_all_the_same(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.keeper.start()
    rig.keeper_faults.down = Fault.REFUSE

    rig.keeper.stop()

    assert not rig.keeper.thread.is_alive()


@pytest.mark.parametrize("trouble", ["unreachable", "refusing"])
def test_the_thread_survives_whatever_the_server_answers(
    make_rig: MakeRig, broker: Broker, gate: Gate, trouble: str
) -> None:
    policy = Policy(lease_ms=600)
    rig = make_rig(handlers={"gate": gate}, policy=policy)
    met = threading.Event()
    rig.keeper_faults.on_trip = lambda verbs: met.set()
    if trouble == "unreachable":
        rig.keeper_faults.down = Fault.REFUSE
    else:
        rig.keeper_faults.answers["beat"] = ResponseError("ERR out of luck")
    rig.keeper.start()
    assert met.wait(WAIT_SECONDS)

    rig.keeper_faults.down = None
    extended = threading.Event()
    rig.keeper_faults.on_trip = lambda verbs: extended.set() if verbs == ["extend"] else None
    start_one(rig, broker, gate)

    assert extended.wait(WAIT_SECONDS)
    rig.keeper_faults.answers.clear()
    rig.keeper.stop()
