from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, NewJob, State, Submission, WrongState
from queueing.audit import audit_queue
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, job_in

KEYS = queue_keys(QUEUE)
DELETABLE = [state for state in State if state is not State.RUNNING]


@pytest.mark.parametrize("state", DELETABLE)
def test_a_job_that_is_not_running_is_gone_with_all_that_was_known_of_it(
    state: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job_id = job_in(state, broker, valkey, unique_key="k")

    was = broker.delete(job_id)

    assert was is state
    with pytest.raises(JobNotFound):
        inspector.job(job_id)
    assert not any(inspector.stats(QUEUE).counts.values())
    assert inspector.stats(QUEUE).counters["deleted"] == 1
    assert not valkey.exists(KEYS.deadlines)
    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))
    assert list(audit_queue(valkey, QUEUE)) == []


def test_a_running_job_is_not_deleted(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.RUNNING, broker, valkey)
    before = dump(valkey)

    with pytest.raises(WrongState) as raised:
        broker.delete(job_id)

    assert raised.value.state == "running"
    assert dump(valkey) == before


def test_deleting_twice_finds_no_job(broker: Broker, valkey: Redis) -> None:
    job_id = job_in(State.READY, broker, valkey)
    broker.delete(job_id)

    with pytest.raises(JobNotFound):
        broker.delete(job_id)


def test_a_unique_key_that_another_job_holds_by_now_stays_taken(broker: Broker, valkey: Redis) -> None:
    old = job_in(State.SUCCEEDED, broker, valkey, unique_key="k")
    new = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k")).id

    broker.delete(old)

    again = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))
    assert (again.outcome, again.id) == ("unique", new)


def test_a_submission_whose_job_was_deleted_is_still_remembered(broker: Broker) -> None:
    job = NewJob.of("echo", submission=Submission("key", "print"))
    job_id = broker.enqueue(QUEUE, job).id

    broker.delete(job_id)

    again = broker.enqueue(QUEUE, job)
    assert (again.outcome, again.id, again.state) == ("replayed", job_id, None)
