from __future__ import annotations

import pytest
from msgspec import structs
from redis import Redis

from queueing import Broker, Inspector, LeaseLost, NewJob, State
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_a_released_job_is_ready_at_its_old_place(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("below"))
    job = claimed_job(broker)
    above = broker.enqueue(QUEUE, NewJob.of("above"))

    state = broker.release(job)

    assert state is State.READY
    assert inspector.job(above.id).position == 1
    assert inspector.job(job.id).position == 2


def test_a_released_attempt_does_not_count(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker, max_attempts=1)

    broker.release(job)

    assert inspector.job(job.id).attempt == 0
    assert inspector.job(job.id).attempts == ()
    assert claim_one(broker).attempt == 1


def test_a_repeated_release_changes_nothing(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    broker.release(job)
    before = dump(valkey)

    state = broker.release(job)

    assert state is State.READY
    assert dump(valkey) == before


def test_a_repeated_release_does_not_take_the_job_from_its_next_holder(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    broker.release(job)
    claim_one(broker)
    before = dump(valkey)

    with pytest.raises(LeaseLost):
        broker.release(job)

    after = dump(valkey)
    assert after[KEYS.meta].pop("stale") == b"1"
    assert after == before


def test_a_released_job_that_is_to_be_cancelled_is_cancelled(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker, unique_key="k")
    broker.cancel(job.id)

    state = broker.release(job)

    assert state is broker.release(job) is State.CANCELLED
    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))


def test_a_released_job_may_still_expire(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker, ttl_seconds=60)
    broker.release(job)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.expire(QUEUE)

    assert inspector.job(job.id).state is State.EXPIRED


def test_a_released_job_wakes_an_idle_worker(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    valkey.delete(KEYS.wake)

    broker.release(job)

    assert valkey.llen(KEYS.wake) == 1


@pytest.mark.parametrize("end", ["ack", "fail"])
def test_release_of_an_ended_attempt_raises_lease_lost(end: str, broker: Broker) -> None:
    job = claimed_job(broker)
    if end == "ack":
        broker.ack(job)
    else:
        broker.fail(job, ERROR, delay_ms=60_000)

    with pytest.raises(LeaseLost):
        broker.release(job)


def test_release_with_an_invented_token_raises_lease_lost(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    with pytest.raises(LeaseLost):
        broker.release(structs.replace(job, lease_token="garbage"))

    assert inspector.job(job.id).state is State.RUNNING
