"""Paging through a list that others change: what stands still is listed, and nothing twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from queueing import Broker, Inspector, NewJob, State
from queueing.limits import Retention
from tests.system.http.server import ApiServer
from tests.system.processes import wait_until

JOBS = 10_000
PRODUCERS = 8
WORKERS = 4
BATCH = 50


def produce(broker: Broker, count: int = 5) -> list[str]:
    """Submit jobs and return their ids."""
    return [enqueued.id for enqueued in broker.enqueue_many("default", [NewJob.of("echo")] * count)]


def work_off(broker: Broker) -> None:
    """Claim what there is, up to a batch, and ack it."""
    claimed = broker.claim("default", "w", BATCH).jobs
    broker.exchange([broker.ack_step("default", [(job, None) for job in claimed])] if claimed else [])


@contextmanager
def load(broker: Broker) -> Iterator[None]:
    """Let producers submit and workers finish jobs all the while."""
    over = threading.Event()

    def repeat(act: Callable[[Broker], object]) -> None:
        own = broker.dedicated()
        while not over.is_set():
            act(own)
        own.close()

    acts = [produce] * PRODUCERS + [work_off] * WORKERS
    threads = [threading.Thread(target=repeat, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def listed(api: ApiServer, **query: str) -> Iterator[str]:
    """Yield the ids of a listing, page by page."""
    cursor: dict[str, str] = {}
    while True:
        answer = api.ask("GET", f"/api/v1/jobs?{urlencode(query | cursor)}")
        assert answer.status == 200, answer.body
        page = json.loads(answer.body)
        yield from (job["id"] for job in page["items"])
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def finished(inspector: Inspector) -> int:
    return inspector.stats("default").counters["succeeded"]


@pytest.mark.timeout(180)
def test_a_listing_has_all_jobs_that_stand_still_and_none_twice(
    api: ApiServer, broker: Broker, inspector: Inspector
) -> None:
    broker.configure("default", retention={State.SUCCEEDED: Retention(keep_ms=86_400_000, keep_count=1_000_000)})
    still: set[str] = set()
    while len(still) < JOBS:
        still.update(produce(broker, BATCH))
        work_off(broker)

    with load(broker):
        wait_until(lambda: finished(inspector) > JOBS)
        found = list(listed(api, state="succeeded", limit="100"))

    print(f"{len(found)} jobs listed, {finished(inspector) - JOBS} finished meanwhile")  # noqa: T201 - for the reader
    assert len(found) == len(set(found))
    assert still <= set(found)
