"""Celery: jobs are acked after they ran, a crash of a pool's process gives them back, no results."""

from __future__ import annotations

import os
import time

from celery import Celery

from benchmarks import marks
from benchmarks.peers import TEXT

app = Celery("peer", broker=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


@app.task
def noop(text: str) -> None:
    marks.count()


@app.task
def stamp(sent: float) -> None:
    marks.stamp(sent)


def send_noop() -> None:
    noop.delay(text=TEXT)


def send_stamp() -> None:
    stamp.delay(time.monotonic())
