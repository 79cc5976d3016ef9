from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, State, WrongState
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
WAITING = [State.SCHEDULED, State.READY, State.RETRYING]


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_job_is_cancelled_at_once(state: State, broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_id = job_in(state, broker, valkey, unique_key="k", ttl_seconds=3_600)

    answer = broker.cancel(job_id)

    counts = inspector.stats(QUEUE).counts
    assert answer is inspector.job(job_id).state is State.CANCELLED
    assert {one: count for one, count in counts.items() if count} == {State.CANCELLED: 1}
    assert not valkey.exists(KEYS.deadlines)
    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))


def test_a_running_job_is_flagged_and_runs_on(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_id = job_in(State.RUNNING, broker, valkey)

    answer = broker.cancel(job_id)

    assert answer is inspector.job(job_id).state is State.RUNNING
    assert inspector.job(job_id).cancel_requested


def test_a_flagged_job_whose_worker_vanished_is_cancelled_by_the_reaper(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job_id = job_in(State.RUNNING, broker, valkey)
    broker.cancel(job_id)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.reap(QUEUE)

    assert inspector.job(job_id).state is State.CANCELLED


def test_cancelling_twice_is_the_same_as_once(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.CANCELLED, broker, valkey)
    before = dump(valkey)

    answer = broker.cancel(job_id)

    assert answer is State.CANCELLED
    assert dump(valkey) == before


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.DEAD, State.EXPIRED])
def test_a_job_that_finished_otherwise_cannot_be_cancelled(state: State, broker: Broker, valkey: Redis) -> None:
    job_id = job_in(state, broker, valkey)
    before = dump(valkey)

    with pytest.raises(WrongState) as raised:
        broker.cancel(job_id)

    assert (raised.value.job_id, raised.value.state) == (job_id, state)
    assert dump(valkey) == before


@pytest.mark.parametrize("job_id", [f"{QUEUE}_{0:032x}", "nonsense", "", "a_b", "default_" + "g" * 32])
def test_a_job_that_is_not_there_cannot_be_cancelled(job_id: str, broker: Broker, valkey: Redis) -> None:
    with pytest.raises(JobNotFound) as raised:
        broker.cancel(job_id)

    assert raised.value.job_id == job_id
    assert dump(valkey) == {}
