"""taskiq on a stream, which acks a job after it ran."""

from __future__ import annotations

import os
import time

from taskiq_redis import RedisStreamBroker

from benchmarks import marks
from benchmarks.peers import TEXT

broker = RedisStreamBroker(os.environ["REDIS_URL"])


@broker.task("noop")
async def noop(text: str) -> None:
    marks.count()


@broker.task("stamp")
async def stamp(sent: float) -> None:
    marks.stamp(sent)


async def _started() -> None:
    if not _is_started:
        await broker.startup()
        _is_started.append(True)


async def send_noop() -> None:
    await _started()
    await noop.kiq(text=TEXT)


async def send_stamp() -> None:
    await _started()
    await stamp.kiq(time.monotonic())


_is_started: list[bool] = []
