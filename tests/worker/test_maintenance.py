"""What every worker does to keep its queues in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from queueing import Broker, Inspector, NewJob, Policy, Retention, State, StoreUnavailable
from tests.faults import Fault, Faults, FaultyBroker
from tests.worker.rig import WAIT_SECONDS
from worker import maintenance as module
from worker.maintenance import Maintenance

QUEUES = ["default", "other"]
BRIEF = Policy(lease_ms=1)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def make(valkey: Redis, faults: Faults) -> Iterator[Callable[..., Maintenance]]:
    """Make maintenance of two queues, without its thread."""
    made: list[Maintenance] = []

    def build(policy: Policy | None = None) -> Maintenance:
        made.append(Maintenance(FaultyBroker(valkey, policy, faults=faults).dedicated(), QUEUES))
        return made[-1]

    yield build
    for maintenance in made:
        maintenance._broker.close()


def tick_until(maintenance: Maintenance, wanted: int) -> int:
    """Tick until `wanted` jobs were moved, which a millisecond's time keeps waiting for a moment."""
    moved, ends_at = 0, time.monotonic() + WAIT_SECONDS
    while moved < wanted and time.monotonic() < ends_at:
        moved += maintenance.run_once()
    return moved


def wait_for_a_later_millisecond(broker: Broker) -> None:
    began_ms = broker.server_time_ms("default")
    while broker.server_time_ms("default") <= began_ms + 1:
        pass


def test_a_tick_with_nothing_to_do_moves_nothing(make: Callable[..., Maintenance]) -> None:
    assert make().run_once() == 0


def test_a_job_whose_lease_ran_out_is_ready_again_in_every_queue(
    make: Callable[..., Maintenance], valkey: Redis, inspector: Inspector
) -> None:
    broker = Broker(valkey, BRIEF)
    for queue in QUEUES:
        broker.enqueue(queue, NewJob.of("echo"))
        broker.claim(queue, "gone")

    assert tick_until(make(BRIEF), 2) == 2
    assert [inspector.stats(queue).counts[State.READY] for queue in QUEUES] == [1, 1]


def test_more_leases_than_one_batch_are_reaped_in_one_tick(
    make: Callable[..., Maintenance], valkey: Redis, inspector: Inspector
) -> None:
    broker = Broker(valkey, BRIEF)
    broker.enqueue_many("default", [NewJob.of("echo")] * 250)
    for _ in range(5):
        broker.claim("default", "gone", limit=50)

    assert tick_until(make(BRIEF), 250) == 250
    assert inspector.stats("default").counts[State.READY] == 250


def test_a_lease_that_seems_to_have_run_out_at_the_first_look_is_left_alone(
    make: Callable[..., Maintenance], valkey: Redis, inspector: Inspector
) -> None:
    """The server's clock may just have jumped, and the worker may live."""
    broker = Broker(valkey, BRIEF)
    broker.enqueue("default", NewJob.of("echo"))
    broker.claim("default", "perhaps gone")
    wait_for_a_later_millisecond(broker)
    maintenance = make()

    assert [maintenance.run_once(), maintenance.run_once()] == [0, 0]
    assert maintenance.is_owed
    assert inspector.stats("default").counts[State.RUNNING] == 1


def test_a_live_lease_that_the_servers_clock_jumps_past_is_left_alone(
    make: Callable[..., Maintenance], broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    broker.claim("default", "alive")
    maintenance = make()
    maintenance.run_once()
    monkeypatch.setattr(maintenance._broker, "server_time_ms", lambda queue: broker.server_time_ms(queue) + 60_000)

    assert [maintenance.run_once(), maintenance.run_once()] == [0, 0]
    assert maintenance.is_owed
    assert inspector.stats("default").counts[State.RUNNING] == 1


def test_when_the_servers_clock_was_put_back_leases_end_as_soon_as_others(
    make: Callable[..., Maintenance], broker: Broker, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Broker(valkey, Policy(lease_ms=90_000))
    before.enqueue("default", NewJob.of("echo"))
    before.claim("default", "gone")
    maintenance = make()
    monkeypatch.setattr(maintenance._broker, "server_time_ms", lambda queue: broker.server_time_ms(queue) + 60_000)
    maintenance.run_once()
    monkeypatch.undo()

    maintenance.run_once()

    (ends_ms,) = broker.lease_ends("default", float("inf"))
    assert ends_ms - broker.server_time_ms("default") <= broker.policy.lease_ms


def test_nothing_is_owed_while_every_lease_holds(make: Callable[..., Maintenance], broker: Broker) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    broker.claim("default", "alive")
    maintenance = make()

    maintenance.run_once()

    assert not maintenance.is_owed


def test_a_due_job_is_promoted_though_nobody_claims(
    make: Callable[..., Maintenance], broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", delay_seconds=0.001)).id

    assert tick_until(make(), 1) == 1
    assert inspector.job(job_id).state is State.READY


def test_a_late_job_expires_however_deep_it_lies(
    make: Callable[..., Maintenance], broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", ttl_seconds=0.001)).id
    broker.enqueue_many("default", [NewJob.of("echo")] * 10)

    assert tick_until(make(), 1) == 1
    assert inspector.job(job_id).state is State.EXPIRED


def test_finished_jobs_past_their_retention_are_deleted(
    make: Callable[..., Maintenance], broker: Broker, inspector: Inspector
) -> None:
    short = {state: Retention(keep_ms=0, keep_count=0) for state in Policy().retention}
    broker.enqueue_many("default", [NewJob.of("echo")] * 3)
    for job in broker.claim("default", "me", limit=3).jobs:
        broker.ack(job)

    assert tick_until(make(Policy(retention=short)), 3) == 3
    assert inspector.stats("default").counts[State.SUCCEEDED] == 0


def test_an_outage_is_told_to_the_caller(make: Callable[..., Maintenance], faults: Faults) -> None:
    faults.plan(Fault.TIME_OUT)

    with pytest.raises(StoreUnavailable):
        make().run_once()


@pytest.mark.parametrize("trouble", ["unreachable", "refusing"])
def test_the_thread_survives_whatever_the_server_answers(
    make: Callable[..., Maintenance],
    faults: Faults,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    maintenance = make()
    met, promoted = threading.Event(), threading.Event()
    faults.on_trip = lambda verbs: met.set()
    if trouble == "unreachable":
        faults.down = Fault.REFUSE
    else:
        faults.answers["reap"] = ResponseError("ERR out of luck")
    maintenance.start()
    assert met.wait(WAIT_SECONDS)

    met.clear()
    assert met.wait(WAIT_SECONDS)
    faults.down = None
    faults.answers.clear()
    faults.on_trip = lambda verbs: promoted.set() if verbs == ["promote"] else None
    assert promoted.wait(WAIT_SECONDS)

    maintenance.stop()
    assert not maintenance.thread.is_alive()
