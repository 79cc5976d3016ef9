from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State, Submission
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, claim_one


def test_when_one_job_is_refused_none_is_stored(broker: Broker, valkey: Redis) -> None:
    broker.configure(QUEUE, max_depth=2)
    before = dump(valkey)

    outcomes = [one.outcome for one in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3, atomic=True)]

    assert outcomes == ["created", "created", "full"]
    assert dump(valkey) == before


def test_a_submission_that_does_not_match_refuses_all(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", submission=Submission("key", "one")))
    before = dump(valkey)

    jobs = [NewJob.of("echo"), NewJob.of("echo", submission=Submission("key", "two"))]
    outcomes = [one.outcome for one in broker.enqueue_many(QUEUE, jobs, atomic=True)]

    assert outcomes == ["created", "mismatch"]
    assert dump(valkey) == before


def test_when_all_are_accepted_all_are_stored(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, max_depth=3)

    stored = broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3, atomic=True)

    assert [one.outcome for one in stored] == ["created"] * 3
    assert inspector.stats(QUEUE).counts[State.READY] == 3


def test_more_jobs_than_one_step_stores_cannot_be_atomic(broker: Broker) -> None:
    with pytest.raises(ValueError, match="1000"):
        broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 1_001, atomic=True)


def test_the_request_a_job_came_with_is_handed_to_its_worker_and_shown(broker: Broker, inspector: Inspector) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job_id = broker.enqueue(QUEUE, NewJob.of("echo", request_id="request-1", traceparent=parent)).id

    claimed, job = claim_one(broker), inspector.job(job_id)

    assert (claimed.request_id, claimed.traceparent) == ("request-1", parent)
    assert (job.request_id, job.traceparent) == ("request-1", parent)
