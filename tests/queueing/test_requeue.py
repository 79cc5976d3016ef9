from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, LeaseLost, NewJob, State, StoreUnavailable, WrongState
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_a_dead_job_is_ready_again_at_its_old_place(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    above = broker.enqueue(QUEUE, NewJob.of("above"))
    broker.fail(job, ERROR, outcome="dead")

    state = broker.requeue(job.id)

    assert state is State.READY
    assert inspector.job(above.id).position == 1
    assert inspector.job(job.id).position == 2


def test_a_requeued_job_has_as_many_attempts_as_before_and_goes_on_counting(
    broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", max_attempts=2))
    states = []
    for _ in range(2):
        for _ in range(2):
            job = claim_one(broker)
            states.append(broker.fail(job, ERROR, delay_ms=0))
        broker.requeue(job.id)

    assert states == [State.RETRYING, State.DEAD] * 2
    assert inspector.job(job.id).max_attempts == 6
    assert [attempt.number for attempt in inspector.job(job.id).attempts] == [1, 2, 3, 4]


def test_a_requeued_job_may_crash_as_often_as_a_new_one(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))

    def crash() -> State:
        claim_one(broker)
        let_pass(valkey, QUEUE, MINUTE_MS)
        (reaped,) = broker.reap(QUEUE)
        return reaped.state

    assert [crash(), crash(), crash()] == [State.READY, State.READY, State.DEAD]
    broker.requeue(next(iter(dump(valkey)[KEYS.dead])))
    assert [crash(), crash(), crash()] == [State.READY, State.READY, State.DEAD]


def test_a_requeued_job_no_longer_expires(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_id = job_in(State.DEAD, broker, valkey, ttl_seconds=60)
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)

    broker.requeue(job_id)

    assert inspector.job(job_id).expires_at is None
    assert claim_one(broker).id == job_id


def test_a_requeued_job_holds_no_unique_key(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.DEAD, broker, valkey, unique_key="k")
    second = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k", delay_seconds=60))
    broker.requeue(job_id)

    broker.ack(claim_one(broker))

    third = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))
    assert (third.outcome, third.id) == ("unique", second.id)


def test_a_requeued_job_is_not_cancelled_by_an_old_request(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker, max_attempts=1)
    broker.fail(job, ERROR)
    valkey.hset(KEYS.job(job.id), "cx", 1)

    broker.requeue(job.id)

    assert broker.fail(claim_one(broker), ERROR) is State.DEAD


def test_the_token_of_the_attempt_before_is_worth_nothing(broker: Broker) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR, outcome="dead")
    broker.requeue(job.id)

    with pytest.raises(LeaseLost):
        broker.release(job)


@pytest.mark.parametrize("state", [state for state in State if state is not State.DEAD])
def test_a_job_that_is_not_dead_cannot_be_requeued(state: State, broker: Broker, valkey: Redis) -> None:
    job_id = job_in(state, broker, valkey)
    before = dump(valkey)

    with pytest.raises(WrongState) as raised:
        broker.requeue(job_id)

    assert raised.value.state == state
    assert dump(valkey) == before


@pytest.mark.parametrize("job_id", [f"{QUEUE}_{0:032x}", "nonsense"])
def test_a_job_that_is_not_there_cannot_be_requeued(job_id: str, broker: Broker) -> None:
    with pytest.raises(JobNotFound):
        broker.requeue(job_id)


def test_a_requeued_job_wakes_an_idle_worker(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.DEAD, broker, valkey)
    valkey.delete(KEYS.wake)

    broker.requeue(job_id)

    assert valkey.llen(KEYS.wake) == 1


@pytest.mark.one_server(reason="sets a server's memory")
def test_nothing_is_requeued_when_the_server_is_out_of_memory(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.DEAD, broker, valkey)
    valkey.config_set("maxmemory", 1)

    try:
        with pytest.raises(StoreUnavailable):
            broker.requeue(job_id)
    finally:
        valkey.config_set("maxmemory", 0)

    assert Inspector(valkey).job(job_id).state is State.DEAD
