"""RQ: a job whose worker died is run again only if it has a Retry."""

from __future__ import annotations

import os
import time

from redis import Redis
from rq import Queue, Retry

from benchmarks import marks
from benchmarks.peers import TEXT

queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))


def noop(text: str) -> None:
    marks.count()


def stamp(sent: float) -> None:
    marks.stamp(sent)


def send_noop() -> None:
    queue.enqueue(noop, text=TEXT, retry=Retry(max=3))


def send_stamp() -> None:
    queue.enqueue(stamp, time.monotonic(), retry=Retry(max=3))


def send_hundred() -> None:
    queue.enqueue_many(
        [Queue.prepare_data(noop, kwargs={"text": TEXT}, timeout=180, retry=Retry(max=3)) for _ in range(100)]
    )
