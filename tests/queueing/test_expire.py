from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from queueing.keys import queue_keys
from tests.queueing.states import QUEUE, claimed_job, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
WAITING = [State.SCHEDULED, State.READY, State.RETRYING]


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_job_expires_when_its_time_is_over(
    state: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job_id = job_in(state, broker, valkey, ttl_seconds=60, unique_key="k")
    let_pass(valkey, QUEUE, MINUTE_MS)

    handled = broker.expire(QUEUE)

    counts = inspector.stats(QUEUE).counts
    assert handled == 1
    assert inspector.job(job_id).state is State.EXPIRED
    assert {one: count for one, count in counts.items() if count} == {State.EXPIRED: 1}
    assert not valkey.exists(KEYS.deadlines)
    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))


def test_a_job_deep_in_the_stack_expires(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    deep = broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=30))
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 50)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.expire(QUEUE)

    assert inspector.job(deep.id).state is State.EXPIRED
    assert inspector.stats(QUEUE).counts[State.READY] == 50


def test_a_job_whose_time_is_not_over_stays(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=120))
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.expire(QUEUE) == 0
    assert inspector.job(enqueued.id).state is State.READY


def test_a_running_job_does_not_expire(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker, ttl_seconds=30)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.expire(QUEUE) == 0
    assert inspector.job(job.id).state is State.RUNNING


def test_an_expire_handles_no_more_than_its_limit_the_latest_first(broker: Broker, valkey: Redis) -> None:
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=n)).id for n in (30, 10, 20)]
    let_pass(valkey, QUEUE, MINUTE_MS)

    handled = broker.expire(QUEUE, 2)

    assert handled == 2
    assert [job_id.decode() for job_id in valkey.zrange(KEYS.ready, 0, -1)] == [ids[0]]


def test_a_deadline_without_a_record_is_dropped(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=30))
    valkey.delete(KEYS.job(enqueued.id))
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.expire(QUEUE)

    assert not valkey.exists(KEYS.deadlines)
    assert inspector.stats(QUEUE).counters["expired"] == 0
