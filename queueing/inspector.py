"""The read side of the queue: jobs, pages of jobs, and the figures of a queue. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis

from queueing import scripts
from queueing.connections import PooledLink
from queueing.errors import JobNotFound, QueueingError
from queueing.jobs import (
    EPOCH_MS,
    TICKS_PER_MS,
    Job,
    State,
    from_ms,
    is_queue_name,
    job_from_record,
    queue_of,
)
from queueing.keys import QueueKeys, queue_keys
from queueing.scripts import Call

MAX_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker's last sign of life; `about` is what it said of itself (host, pid, slots, what runs)."""

    id: str
    seen_at: datetime
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """The figures of one queue at one instant.

    `counts` has every state. Ages are in seconds since the place of the job: when it was submitted, or first due.
    `counters` are totals since the queue was created and never reset; `last_minute` has those of the last full
    minute, which are rates a minute.
    """

    queue: str
    at: datetime
    counts: Mapping[State, int]
    oldest_ready_age_seconds: float | None
    newest_ready_age_seconds: float | None
    paused: bool
    paused_reason: str
    paused_until: datetime | None
    fair_every: int
    max_depth: int
    overflow: str
    generation: str | None
    clock: int
    counters: Mapping[str, int]
    last_minute: Mapping[str, int]
    workers: tuple[WorkerRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMark:
    """Where a page ended: the score and id of its last job."""

    score: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs of one state in order, and where the next page begins (None at the end)."""

    jobs: tuple[Job, ...]
    next: PageMark | None


class Inspector:
    """Read jobs and queues; `client` may be connected to a replica. Raises StoreUnavailable as the broker does."""

    def __init__(self, client: Redis) -> None:
        self._link = PooledLink(client)

    def job(self, job_id: str) -> Job:
        """Return a job as it is now; raises JobNotFound."""
        queue = queue_of(job_id)
        if queue is None:
            raise JobNotFound(job_id)
        record, due_ms, position = scripts.run(self._link, Call("job", queue_keys(queue), (job_id,)))
        if not record:
            raise JobNotFound(job_id)
        return job_from_record(job_id, _pairs(record), due_ms=int(float(due_ms)), position=position or None)

    def page(self, queue: str, state: State, *, limit: int = 50, after: PageMark | None = None) -> Page:
        """Return jobs of a queue in one state: ready ones in the order of service, others the latest first.

        No job is met twice while it stays where it is; one that leaves and comes back may be. Scheduled and
        retrying jobs share a set, so a page of either may hold fewer than `limit` and still have a next one.
        """
        keys = _keys(queue)
        source = getattr(keys, "scheduled" if state is State.RETRYING else state.value)
        limit = min(max(limit, 1), MAX_PAGE)
        mark = (after.score, after.id) if after else ("", "")
        rank, found = scripts.run(self._link, Call("page", keys, (limit, *mark), source=source))
        jobs = [_job_of_page(row, state, rank + n) for n, row in enumerate(found)]
        more = len(found) == limit
        last = PageMark(score=found[-1][1].decode(), id=found[-1][0].decode()) if more else None
        return Page(jobs=tuple(job for job in jobs if job is not None and job.state is state), next=last)

    def stats(self, queue: str) -> QueueStats:
        """Return the figures of a queue; one that was never used has zeros."""
        return self.stats_of([queue])[0]

    def stats_of(self, queues: Sequence[str]) -> list[QueueStats]:
        """Return the figures of several queues in one round trip."""
        calls = [Call("stats", _keys(queue)) for queue in queues]
        replies = scripts.run_many(self._link, calls)
        for reply in replies:
            if isinstance(reply, QueueingError):
                raise reply
        return [_read_stats(queue, reply) for queue, reply in zip(queues, replies, strict=True)]


def _keys(queue: str) -> QueueKeys:
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is no queue name")
    return queue_keys(queue)


def _pairs(flat: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return name, value pairs of a reply as a dict."""
    if isinstance(flat, Mapping):
        return dict(flat)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _job_of_page(row: list[Any], state: State, rank: int) -> Job | None:
    """Build a job of a page; None for an id without a record."""
    job_id, score, flat = row
    record = _pairs(flat)
    if b"s" not in record:
        return None
    due_ms = int(float(score)) if state in (State.SCHEDULED, State.RETRYING) else 0
    position = rank + 1 if state is State.READY else None
    return job_from_record(job_id.decode(), record, due_ms=due_ms, position=position)


def _read_stats(queue: str, reply: list[Any]) -> QueueStats:
    now_ms, counts, oldest, newest, meta_pairs, minute_pairs, worker_pairs = reply
    meta = {name.decode(): value.decode() for name, value in _pairs(meta_pairs).items()}
    at = from_ms(int(now_ms))
    counters = {name: int(value) for name, value in meta.items() if name in COUNTERS}
    paused_until = from_ms(int(meta["paused_until"])) if "paused_until" in meta else None
    paused = "paused" in meta and (paused_until is None or paused_until > at)
    return QueueStats(
        queue=queue,
        at=at,
        counts=_counts(counts, int(meta.get("retrying", 0))),
        oldest_ready_age_seconds=_age_seconds(int(oldest), int(now_ms)),
        newest_ready_age_seconds=_age_seconds(int(newest), int(now_ms)),
        paused=paused,
        paused_reason=meta.get("paused_reason", "") if paused else "",
        paused_until=paused_until if paused else None,
        fair_every=int(meta.get("fair_every", 0)),
        max_depth=int(meta.get("max_depth", 0)),
        overflow=meta.get("overflow", "reject"),
        generation=meta.get("generation"),
        clock=int(meta.get("clock", 0)),
        counters={name: counters.get(name, 0) for name in COUNTERS},
        last_minute={name.decode(): int(value) for name, value in _pairs(minute_pairs).items()},
        workers=tuple(_worker(name, value) for name, value in sorted(_pairs(worker_pairs).items())),
    )


#: Counters of a queue, all since it was created.
COUNTERS = (
    "submitted",
    "claimed",
    "succeeded",
    "failed",
    "retried",
    "dead",
    "cancelled",
    "expired",
    "released",
    "reaped",
    "requeued",
    "purged",
    "pruned",
    "stale",
)


def _counts(sizes: Sequence[int], retrying: int) -> dict[State, int]:
    ready, waiting, running, succeeded, dead, cancelled, expired = sizes
    return {
        State.SCHEDULED: waiting - retrying,
        State.READY: ready,
        State.RUNNING: running,
        State.RETRYING: retrying,
        State.SUCCEEDED: succeeded,
        State.DEAD: dead,
        State.CANCELLED: cancelled,
        State.EXPIRED: expired,
    }


def _age_seconds(ticks: int, now_ms: int) -> float | None:
    """Return how long ago a place of `ticks` was, None for -1. A place may lie a little ahead of the clock."""
    if ticks < 0:
        return None
    return max(0.0, (now_ms - EPOCH_MS - ticks / TICKS_PER_MS) / 1000)


def _worker(name: bytes, value: bytes) -> WorkerRecord:
    seen_ms, _, about = value.partition(b"|")
    return WorkerRecord(id=name.decode(), seen_at=from_ms(int(seen_ms)), about=json.loads(about))
