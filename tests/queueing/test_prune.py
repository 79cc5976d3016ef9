from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, Policy, Retention, State
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
FINISHED = [State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED]


def pruning(client: Redis, *, keep_ms: int = 60 * MINUTE_MS, keep_count: int = 100) -> Broker:
    kept = Retention(keep_ms=keep_ms, keep_count=keep_count)
    return Broker(client, Policy(retention=dict.fromkeys(FINISHED, kept)))


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_job_is_deleted_when_it_is_too_old(
    state: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job_id = job_in(state, broker, valkey)
    let_pass(valkey, QUEUE, 61 * MINUTE_MS)

    pruned = pruning(valkey).prune(QUEUE)

    assert pruned == 1
    with pytest.raises(JobNotFound):
        inspector.job(job_id)
    assert not valkey.exists(getattr(KEYS, state))


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_job_is_kept_while_it_is_young(state: State, broker: Broker, valkey: Redis) -> None:
    job_in(state, broker, valkey)
    let_pass(valkey, QUEUE, 30 * MINUTE_MS)
    before = dump(valkey)

    assert pruning(valkey).prune(QUEUE) == 0
    assert dump(valkey) == before


def test_the_oldest_of_too_many_finished_jobs_are_deleted(broker: Broker, valkey: Redis) -> None:
    ids = []
    for _ in range(4):
        ids.append(job_in(State.CANCELLED, broker, valkey))
        let_pass(valkey, QUEUE, MINUTE_MS)

    pruned = pruning(valkey, keep_count=2).prune(QUEUE)

    assert pruned == 2
    assert set(dump(valkey)[KEYS.cancelled]) == set(ids[2:])


def test_a_prune_deletes_no_more_than_its_limit_of_a_state(broker: Broker, valkey: Redis) -> None:
    for _ in range(3):
        job_in(State.CANCELLED, broker, valkey)

    pruned = pruning(valkey, keep_count=0).prune(QUEUE, 2)

    assert pruned == 2
    assert valkey.zcard(KEYS.cancelled) == 1


@pytest.mark.parametrize("state", [state for state in State if state not in FINISHED])
def test_a_live_job_is_never_pruned(state: State, broker: Broker, valkey: Redis) -> None:
    job_in(state, broker, valkey)
    let_pass(valkey, QUEUE, 600 * MINUTE_MS)

    assert pruning(valkey, keep_count=0).prune(QUEUE) == 0


def test_pruned_jobs_are_counted(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_in(State.CANCELLED, broker, valkey)

    pruning(valkey, keep_count=0).prune(QUEUE)

    assert inspector.stats(QUEUE).counters["pruned"] == 1
