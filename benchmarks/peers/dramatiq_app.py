"""Dramatiq: jobs are acked after they ran; no results."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import marks
from benchmarks.peers import TEXT

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def noop(text: str) -> None:
    marks.count()


@dramatiq.actor
def stamp(sent: float) -> None:
    marks.stamp(sent)


def send_noop() -> None:
    noop.send(text=TEXT)


def send_stamp() -> None:
    stamp.send(time.monotonic())
