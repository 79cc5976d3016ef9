"""The pictures of docs/screenshots: `make screenshots` takes them anew."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import StorageState
from redis import Redis

from queueing import Broker, NewJob
from queueing.keys import queue_keys
from tests.system.dashboard.conftest import DASHBOARD, OpenContext
from tests.system.processes import RunWorker

TAGS = ("weekly", "eu", "vip")


def invent_history(client: Redis, queue: str, dice: random.Random, height: float) -> None:
    """Write counters of the last six hours, as a day of work would have left them."""
    keys, now = queue_keys(queue), int(time.time() // 60)
    for minute in range(now - 360, now):
        succeeded = int(height * (2 + math.sin(minute / 40) + dice.random()))
        failed = dice.randrange(1 + succeeded // (5 if minute % 90 < 8 else 40))
        waits = {"wait_0": succeeded // 2, "wait_1": succeeded // 3, "wait_3": failed}
        counts = {"submitted": succeeded, "succeeded": succeeded, "failed": failed, **waits}
        client.hset(keys.minute(minute), mapping={name: n for name, n in counts.items() if n})
        client.expire(keys.minute(minute), 3600)


def submit(broker: Broker, dice: random.Random) -> None:
    """Submit what a shop might: mails that fail, reports that wait."""
    missing = [f"account {dice.randrange(9999)} is not there" for _ in range(14)]
    refused = [f"relay mx{dice.randrange(3)} refused the recipient" for _ in range(9)]
    broker.enqueue_many(
        "default", [NewJob.of("echo", {"order": n, "token": "t"}, tags=(TAGS[n % 3],)) for n in range(90)]
    )
    broker.enqueue_many("default", [NewJob.of("fail", {"message": text}, tags=("eu",)) for text in missing])
    broker.enqueue_many("mail", [NewJob.of("fail", {"message": text}, max_attempts=1) for text in refused])


@pytest.mark.timeout(120)
def test_the_pages_have_their_pictures_taken(
    open_context: OpenContext,
    logged_in: StorageState,
    valkey: Redis,
    broker: Broker,
    run_worker: Callable[..., RunWorker],
    tmp_path: Path,
) -> None:
    folder, dice = Path(os.environ.get("SCREENSHOTS", tmp_path)), random.Random(7)
    submit(broker, dice)
    run_worker("--drain", "--queues", "default,mail", QUEUES="default,mail").wait()
    invent_history(valkey, "default", dice, 40)
    invent_history(valkey, "mail", dice, 8)
    run_worker("--queues", "default", "--concurrency", "4", QUEUES="default,mail")
    broker.enqueue_many("default", [NewJob.of("sleep", {"seconds": 60}) for _ in range(7)])
    broker.enqueue_many("mail", [NewJob.of("echo", {"to": "someone@example.org"}) for _ in range(12)])
    broker.pause("mail", reason="the relay is down")

    for scheme in ("light", "dark"):
        context = open_context(storage_state=logged_in, color_scheme=scheme, viewport={"width": 1280, "height": 960})
        page = context.new_page()
        page.goto(f"{DASHBOARD}jobs/?state=dead")
        dead = page.locator("table.jobs tbody th a").first.get_attribute("href") or ""
        addresses = {"overview": "", "jobs": "jobs/", "failures": "failures/", "queue": "queues/default/"}
        addresses |= {"workers": "workers/", "store": "store/"}
        for name, path in {**{name: DASHBOARD + path for name, path in addresses.items()}, "job": dead}.items():
            page.goto(path)
            page.screenshot(path=folder / f"{name}-{scheme}.png")

    assert len(list(folder.glob("*.png"))) == 14
