"""Huey: at most once, for it takes a job off its list before it runs it."""

from __future__ import annotations

import os
import time

from huey import RedisHuey

from benchmarks import marks
from benchmarks.peers import TEXT

huey = RedisHuey("peer", url=os.environ["REDIS_URL"])


@huey.task()
def noop(text: str) -> None:
    marks.count()


@huey.task()
def stamp(sent: float) -> None:
    marks.stamp(sent)


def send_noop() -> None:
    noop(text=TEXT)


def send_stamp() -> None:
    stamp(time.monotonic())
