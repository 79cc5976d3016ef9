from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, job_in

KEYS = queue_keys(QUEUE)
PURGEABLE = [state for state in State if state is not State.RUNNING]


@pytest.mark.parametrize("state", PURGEABLE)
def test_a_purge_leaves_nothing_of_a_job(state: State, broker: Broker, valkey: Redis) -> None:
    job_in(state, broker, valkey, unique_key="k")

    dropped = broker.purge(QUEUE, state)

    left = {key for key in dump(valkey) if not key.startswith(KEYS.minute_prefix)}
    assert dropped == 1
    assert left <= {KEYS.meta, KEYS.wake}


def test_a_purge_of_one_state_leaves_the_others(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    for state in (State.SUCCEEDED, State.CANCELLED, State.RUNNING, State.SCHEDULED, State.READY):
        job_in(state, broker, valkey)

    broker.purge(QUEUE)

    counts = {state for state, count in inspector.stats(QUEUE).counts.items() if count}
    assert counts == {State.SUCCEEDED, State.CANCELLED, State.RUNNING, State.SCHEDULED}


@pytest.mark.parametrize(
    ("purged", "left"), [(State.RETRYING, State.SCHEDULED), (State.SCHEDULED, State.RETRYING)]
)  # fmt: skip
def test_scheduled_and_retrying_jobs_are_purged_apart_though_they_share_a_set(
    purged: State, left: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    for state in (State.RETRYING, State.SCHEDULED, State.RETRYING, State.SCHEDULED):
        job_in(state, broker, valkey)

    dropped = broker.purge(QUEUE, purged)

    counts = inspector.stats(QUEUE).counts
    assert dropped == 2
    assert (counts[purged], counts[left]) == (0, 2)


def test_a_purge_with_a_limit_drops_the_oldest(broker: Broker, inspector: Inspector) -> None:
    ids = [enqueued.id for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 5)]

    dropped = broker.purge(QUEUE, limit=3)

    assert dropped == 3
    assert [job.id for job in inspector.page(QUEUE, State.READY).jobs] == ids[:2:-1]


def test_running_jobs_cannot_be_purged(broker: Broker) -> None:
    with pytest.raises(ValueError, match="running"):
        broker.purge(QUEUE, State.RUNNING)


def test_a_purge_of_many_jobs_drops_them_all_and_counts_them(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 1_200)

    dropped = broker.purge(QUEUE)

    stats = inspector.stats(QUEUE)
    assert dropped == stats.counters["purged"] == 1_200
    assert stats.counts[State.READY] == 0


def test_a_purge_of_an_empty_queue_drops_nothing(broker: Broker, valkey: Redis) -> None:
    assert broker.purge(QUEUE) == 0
    assert dump(valkey) == {}


def test_a_purged_job_gives_up_no_lock_that_another_holds(broker: Broker, valkey: Redis) -> None:
    job_in(State.CANCELLED, broker, valkey, unique_key="k")
    holder = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    broker.purge(QUEUE, State.CANCELLED)

    again = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))
    assert (again.outcome, again.id) == ("unique", holder.id)
