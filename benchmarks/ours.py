"""What this project does: `Broker` for those who submit; its workers are `manage.py runworker`."""

from __future__ import annotations

import os
import time
from functools import cache

from queueing import Broker, NewJob, connect

QUEUE = "default"
PAYLOAD = {"text": "x" * 88}  # 100 bytes as JSON


@cache
def broker() -> Broker:
    """Return a broker as a program makes it."""
    return Broker(connect(os.environ["REDIS_URL"]))


def send_noop() -> None:
    """Submit one job."""
    broker().enqueue(QUEUE, NewJob.of("bench.noop", PAYLOAD))


def send_stamp() -> None:
    """Submit a job that knows when it was submitted."""
    broker().enqueue(QUEUE, NewJob.of("bench.stamp", time.monotonic()))


def send_hundred() -> None:
    """Submit a hundred jobs in one call."""
    broker().enqueue_many(QUEUE, [NewJob.of("bench.noop", PAYLOAD) for _ in range(100)])
