"""SAQ: a job stays in a list of active ones until it has ended; a sweep finds those whose worker is gone."""

from __future__ import annotations

import os
import time
from typing import Any

from saq import Queue

from benchmarks import marks
from benchmarks.peers import TEXT

queue = Queue.from_url(os.environ["REDIS_URL"])


async def noop(_context: dict[str, Any], *, text: str) -> None:
    marks.count()


async def stamp(_context: dict[str, Any], *, sent: float) -> None:
    marks.stamp(sent)


settings = {"queue": queue, "functions": [noop, stamp]}


async def send_noop() -> None:
    await queue.enqueue("noop", text=TEXT)


async def send_stamp() -> None:
    await queue.enqueue("stamp", sent=time.monotonic())
