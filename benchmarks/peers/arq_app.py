"""arq: a job stays in its sorted set until it has ended."""

from __future__ import annotations

import os
import time
from typing import Any

from arq import ArqRedis, create_pool
from arq.connections import RedisSettings

from benchmarks import marks
from benchmarks.peers import TEXT

_pool: list[ArqRedis] = []


async def noop(_context: dict[str, Any], text: str) -> None:
    marks.count()


async def stamp(_context: dict[str, Any], sent: float) -> None:
    marks.stamp(sent)


class WorkerSettings:
    """What `arq` runs."""

    functions = [noop, stamp]
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def _connected() -> ArqRedis:
    if not _pool:
        _pool.append(await create_pool(WorkerSettings.redis_settings))
    return _pool[0]


async def send_noop() -> None:
    await (await _connected()).enqueue_job("noop", text=TEXT)


async def send_stamp() -> None:
    await (await _connected()).enqueue_job("stamp", time.monotonic())
