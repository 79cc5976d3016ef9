"""Queues with everything that a queue may have: jobs in all states, limits, a pause, unique keys and submissions."""

from __future__ import annotations

from typing import Any

from redis import Redis

from queueing import Broker, JobError, NewJob, Retention, State, Submission
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import job_in

QUEUE = "default"
KEYS = queue_keys(QUEUE)
ERROR = JobError(type="ValueError", message="no | luck \u2603", traceback="line 1\nline 2")
OTHERS = (State.SCHEDULED, State.RUNNING, State.RETRYING, State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)


def settle(client: Redis) -> dict[State, str]:
    """Fill the queue and return the id of a job in each state."""
    broker = Broker(client)
    broker.configure(
        QUEUE,
        fair_every=3,
        max_depth=500,
        overflow="drop_oldest",
        timeout_ms=1500,
        retention={State.DEAD: Retention(keep_ms=1000 * 86_400_000, keep_count=7)},
    )
    ids = {state: job_in(state, broker, client, tags=("a", "b"), max_attempts=3) for state in OTHERS}
    ids[State.READY] = broker.enqueue(QUEUE, whole_job()).id
    broker.enqueue("mail", NewJob.of("echo", list(range(50)), unique_key="only one"))
    broker.pause(QUEUE, reason="a \u2603 in winter")
    return ids


def whole_job() -> NewJob:
    """Return a job with every option there is."""
    return NewJob(
        kind="echo",
        payload=b'{ "text": "\xe2\x98\x83 \\u0000",\n\t"big": 12345678901234567890, "none": [] }',
        priority=9,
        ttl_seconds=3600,
        timeout_seconds=0.5,
        max_attempts=7,
        unique_key="key",
        tags=("x:y",),
        submission=Submission("client path key", "fingerprint"),
        request_id="request",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        owner="alice",
    )


def contents(client: Redis, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return all that a server holds but signs of life, hints, and fields of meta that a restore makes anew."""
    found = {key: value for key, value in dump(client).items() if not key.endswith((":wake", ":workers", *without))}
    for key, value in found.items():
        if key.endswith(":meta"):
            found[key] = {name: text for name, text in value.items() if name not in ("generation", "restored")}
    return found
