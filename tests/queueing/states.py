"""Bring a new job into any of the eight states."""

from __future__ import annotations

from redis import Redis

from queueing import Broker, Claimed, JobError, NewJob, State
from tests.queueing.timetravel import MINUTE_MS, let_pass

QUEUE = "default"
ERROR = JobError(type="ValueError", message="no luck")


def claim_one(broker: Broker, *, worker: str = "w1") -> Claimed:
    """Claim the newest ready job."""
    (job,) = broker.claim(QUEUE, worker).jobs
    return job


def claimed_job(broker: Broker, **options: object) -> Claimed:
    """Enqueue a job and claim it."""
    broker.enqueue(QUEUE, NewJob.of("echo", **options))
    return claim_one(broker)


def job_in(state: State, broker: Broker, client: Redis, **options: object) -> str:
    """Return the id of a new job in `state`; other jobs of the queue must not be ready."""
    if state is State.SCHEDULED:
        return broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600, **options)).id
    if state is State.READY:
        return broker.enqueue(QUEUE, NewJob.of("echo", **options)).id
    if state is State.CANCELLED:
        job_id = broker.enqueue(QUEUE, NewJob.of("echo", **options)).id
        broker.cancel(job_id)
        return job_id
    if state is State.EXPIRED:
        job_id = broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=30, **options)).id
        let_pass(client, QUEUE, MINUTE_MS)
        broker.expire(QUEUE)
        return job_id
    return _started(state, claimed_job(broker, **options), broker)


def _started(state: State, job: Claimed, broker: Broker) -> str:
    if state is State.SUCCEEDED:
        broker.ack(job)
    elif state is not State.RUNNING:
        outcome = "dead" if state is State.DEAD else "failed"
        broker.fail(job, ERROR, delay_ms=600_000, outcome=outcome)
    return job.id
