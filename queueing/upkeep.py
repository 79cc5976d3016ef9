"""What people do to many jobs at once: bounded, made of the verbs for one job, safe to do again."""

from __future__ import annotations

import dataclasses

from queueing.broker import Broker
from queueing.errors import JobNotFound, QueueingError, WrongState
from queueing.inspector import MAX_PAGE, Filters, Inspector
from queueing.jobs import State

MAX_EMPTY_PAGES = 100  # a page looks at up to 1,000 jobs: of so many in a row none matched


def requeue_dead(broker: Broker, inspector: Inspector, queue: str, filters: Filters, *, limit: int) -> tuple[int, bool]:
    """Make dead jobs that match ready again, the latest first; returns how many, and whether more may be left.

    Those that die after this began stay dead, so that a job which dies at once is not requeued again and again. One
    that somebody else requeued or deleted meanwhile is passed over.
    """
    filters, mark, requeued, empty = _until_now(broker, queue, filters), None, 0, 0
    while requeued < limit and empty < MAX_EMPTY_PAGES:
        size = min(MAX_PAGE, limit - requeued)
        page = inspector.page(queue, State.DEAD, limit=size, after=mark, filters=filters, entire=False)
        done = _requeue(broker, [job.id for job in page.jobs])
        requeued, empty = requeued + done, 0 if done else empty + 1
        mark = page.next
        if mark is None:
            return requeued, False
    return requeued, True


def _until_now(broker: Broker, queue: str, filters: Filters) -> Filters:
    now_ms = broker.server_time_ms(queue)
    until_ms = now_ms if filters.finished_until_ms is None else min(now_ms, filters.finished_until_ms)
    return dataclasses.replace(filters, finished_until_ms=until_ms)


def _requeue(broker: Broker, ids: list[str]) -> int:
    replies = broker.exchange([broker.requeue_step(job_id) for job_id in ids]) if ids else []
    for reply in replies:
        if isinstance(reply, QueueingError) and not isinstance(reply, JobNotFound | WrongState):
            raise reply
    return sum(not isinstance(reply, QueueingError) for reply in replies)
