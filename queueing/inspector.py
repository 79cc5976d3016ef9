"""The read side of the queue: jobs, pages of jobs, and the figures of a queue. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from queueing import scripts
from queueing.connections import Client, link_to
from queueing.errors import JobNotFound, QueueingError
from queueing.figures import (
    AGE_BOUNDS_SECONDS,
    MAX_MINUTES,
    MAX_RUNS,
    RUN_BOUNDS_SECONDS,
    WAIT_BOUNDS_SECONDS,
    Histogram,
    QueueHistory,
    Run,
    WaitingAges,
    histogram_from_meta,
    history_from_reply,
    run_from_json,
)
from queueing.jobs import (
    EPOCH_MS,
    FINISHED_STATES,
    TICKS_PER_MS,
    Job,
    State,
    from_ms,
    is_queue_name,
    job_from_record,
    queue_of,
)
from queueing.keys import QueueKeys, queue_keys
from queueing.limits import Limits
from queueing.scripts import Call

MAX_PAGE = 100
MAX_LOOKS = 1_000  # a page looks at this many jobs at most in one step, which takes the server about 2 ms
MAX_STEPS = 20  # of one listing: when few jobs match, a page is short or empty, and has a next one


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
    minute, which are rates a minute. `waits` counts by how long jobs waited for their first attempt, `runs` by how
    long attempts ran; `overdue_seconds` is for how long the lease that ended first is over, 0 when none is.
    """

    queue: str
    at: datetime
    counts: Mapping[State, int]
    oldest_ready_age_seconds: float | None
    newest_ready_age_seconds: float | None
    paused: bool
    paused_reason: str
    paused_until: datetime | None
    limits: Limits
    generation: str | None
    clock: int
    counters: Mapping[str, int]
    last_minute: Mapping[str, int]
    workers: tuple[WorkerRecord, ...]
    waits: Histogram
    runs: Histogram
    overdue_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMark:
    """Where a page ended: the score and id of the last job it looked at."""

    score: str
    id: str

    @property
    def place(self) -> tuple[float, str]:
        """What pages are ordered by, descending."""
        return float(self.score), self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs of one state in order, and where the next page begins (None at the end)."""

    jobs: tuple[Job, ...]
    next: PageMark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which jobs a page shows. Times are ms since 1970, `_from` inclusive and `_until` exclusive; None is any."""

    kind: str = ""
    tag: str = ""
    owner: str = ""
    created_from_ms: int | None = None
    created_until_ms: int | None = None
    finished_from_ms: int | None = None
    finished_until_ms: int | None = None

    @property
    def finished_only(self) -> bool:
        """Whether no job matches that has not finished."""
        return self.finished_from_ms is not None or self.finished_until_ms is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingMark:
    """Where a page of a listing ended: its group of states, and the place in there (None at its beginning)."""

    group: int
    after: PageMark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of jobs of several queues and states, and where the next one begins (None at the end)."""

    jobs: tuple[Job, ...]
    next: ListingMark | None


class Inspector:
    """Read jobs and queues; `client` may be connected to a replica. Raises StoreUnavailable as the broker does."""

    def __init__(self, client: Client) -> None:
        self._link = link_to(client)

    def job(self, job_id: str) -> Job:
        """Return a job as it is now; raises JobNotFound."""
        queue = queue_of(job_id)
        if queue is None:
            raise JobNotFound(job_id)
        record, due_ms, position = scripts.run(self._link, Call("job", queue_keys(queue), (job_id,)))
        if not record:
            raise JobNotFound(job_id)
        return job_from_record(job_id, _pairs(record), due_ms=int(float(due_ms)), position=position or None)

    def page(
        self,
        queue: str,
        state: State,
        *,
        limit: int = 50,
        after: PageMark | None = None,
        filters: Filters | None = None,
        entire: bool = True,
    ) -> Page:
        """Return jobs of a queue in one state: ready ones in the order of service, others the latest first.

        No job is met twice while it stays where it is; one that leaves and comes back may be. MAX_LOOKS jobs are looked
        at: a page may hold fewer than `limit` and still have a next one. Unless `entire`, payload, result and all
        attempts but the last are left out.
        """
        window = _Window(states=(state,), limit=min(max(limit, 1), MAX_PAGE), filters=filters, entire=entire)
        found, mark = _read_page(scripts.run(self._link, window.call(queue, after)), state)
        return Page(jobs=tuple(job for _, job in found), next=mark)

    def listing(
        self,
        queues: Sequence[str],
        states: Collection[State],
        *,
        limit: int = 50,
        after: ListingMark | None = None,
        filters: Filters | None = None,
        entire: bool = False,
        steps: int = MAX_STEPS,
    ) -> Listing:
        """Return jobs of several queues and states; payload and result are left out unless `entire`.

        One group of states follows the other (GROUPS); in a group the jobs of all queues are merged, ready ones by
        priority and newest first, others the latest first. A page is short when many jobs do not match: `steps` times
        at most it looks at MAX_LOOKS jobs of each queue without coming to the end of a group.
        """
        limit = min(max(limit, 1), MAX_PAGE)
        jobs: list[Job] = []
        wanted = set(states) & FINISHED_STATES if filters and filters.finished_only else set(states)
        mark: ListingMark | None = after or ListingMark(group=0, after=None)
        while steps > 0:
            mark = _skip_groups(mark, wanted)
            if mark is None or len(jobs) == limit:
                break
            window = _Window(
                states=tuple(state for state in GROUPS[mark.group] if state in wanted),
                limit=limit - len(jobs),
                filters=filters,
                entire=entire,
            )
            found, place = self._merged(queues, window, mark.after)
            jobs += found
            steps -= place is not None
            mark = ListingMark(group=mark.group if place else mark.group + 1, after=place)
        return Listing(jobs=tuple(jobs), next=_skip_groups(mark, wanted))

    def _merged(
        self, queues: Sequence[str], window: _Window, after: PageMark | None
    ) -> tuple[list[Job], PageMark | None]:
        """Return the jobs of one group that come next, over all queues, and the place up to which that is all."""
        replies = scripts.run_many(self._link, [window.call(queue, after) for queue in queues])
        found: list[tuple[PageMark, Job]] = []
        ends: list[PageMark] = []
        for reply in replies:
            if isinstance(reply, QueueingError):
                raise reply
            rows, end = _read_page(reply, window.states[0])
            found += rows
            ends += [end] if end else []
        found.sort(key=lambda row: row[0].place, reverse=True)
        horizon = max(ends, key=lambda end: end.place, default=None)  # below it not every queue was looked at
        sure = [row for row in found if horizon is None or row[0].place >= horizon.place]
        if len(sure) > window.limit or (len(sure) == window.limit and len(found) > len(sure)):
            sure = sure[: window.limit]
            horizon = sure[-1][0]
        return [job for _, job in sure], horizon

    def stats(self, queue: str) -> QueueStats:
        """Return the figures of a queue; one that was never used has zeros."""
        return self.stats_of([queue])[0]

    def stats_of(self, queues: Sequence[str]) -> list[QueueStats]:
        """Return the figures of several queues in one round trip."""
        return [_read_stats(queue, reply) for queue, reply in self._ask("stats", queues)]

    def history(self, queues: Sequence[str], minutes: int) -> list[QueueHistory]:
        """Return the counters of the last minutes (MAX_MINUTES at most) of several queues in one round trip."""
        minutes = min(max(minutes, 1), MAX_MINUTES)
        return [history_from_reply(queue, minutes, reply) for queue, reply in self._ask("history", queues, minutes)]

    def ages(self, queues: Sequence[str]) -> list[WaitingAges]:
        """Return by how long their ready jobs have waited, for several queues in one round trip."""
        bounds_ms = [bound * 1000 for bound in AGE_BOUNDS_SECONDS]
        return [WaitingAges(queue=queue, counts=tuple(reply)) for queue, reply in self._ask("ages", queues, *bounds_ms)]

    def runs(self, queues: Sequence[str]) -> list[Run]:
        """Return the last runs of workers that drain these queues and end, the latest first; MAX_RUNS a queue."""
        kept = {text for _, reply in self._ask("runs", queues, MAX_RUNS) for text in reply}
        return sorted(map(run_from_json, kept), key=lambda run: run.ended_at, reverse=True)

    def _ask(self, name: str, queues: Sequence[str], *arguments: int) -> list[tuple[str, Any]]:
        """Run a script on several queues in one round trip; returns each queue with its reply."""
        replies = scripts.run_many(self._link, [Call(name, _keys(queue), arguments) for queue in queues])
        for reply in replies:
            if isinstance(reply, QueueingError):
                raise reply
        return list(zip(queues, replies, strict=True))


def _keys(queue: str) -> QueueKeys:
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is no queue name")
    return queue_keys(queue)


def _pairs(flat: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return name, value pairs of a reply as a dict."""
    if isinstance(flat, Mapping):
        return dict(flat)
    return dict(zip(flat[::2], flat[1::2], strict=True))


#: The states of a listing in its order; those of a group share a set or are in it alone.
GROUPS: tuple[tuple[State, ...], ...] = (
    (State.RUNNING,),
    (State.READY,),
    (State.SCHEDULED, State.RETRYING),
    (State.DEAD,),
    (State.CANCELLED,),
    (State.EXPIRED,),
    (State.SUCCEEDED,),
)


def _skip_groups(mark: ListingMark | None, wanted: Collection[State]) -> ListingMark | None:
    """Return the mark, or the beginning of the next group with a wanted state; None when there is none."""
    if mark is None:
        return None
    for number in range(mark.group, len(GROUPS)):
        if any(state in wanted for state in GROUPS[number]):
            return mark if number == mark.group else ListingMark(group=number, after=None)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """What a page of one set is to show. `states` share a set; one of them is shown, or all."""

    states: tuple[State, ...]
    limit: int
    filters: Filters | None
    entire: bool

    def call(self, queue: str, after: PageMark | None) -> Call:
        """Return the call that reads the page of a queue."""
        keys, filters = _keys(queue), self.filters or Filters()
        shares = self.states[0] in (State.SCHEDULED, State.RETRYING)
        mark = (after.score, after.id) if after else (_text(filters.finished_until_ms), "")
        is_sifted = filters != Filters() or (shares and len(self.states) == 1)
        arguments = (
            self.limit,
            MAX_LOOKS if is_sifted else self.limit,
            *mark,
            "-inf" if filters.finished_from_ms is None else filters.finished_from_ms,
            self.states[0].value if shares and len(self.states) == 1 else "",
            filters.kind,
            filters.tag,
            filters.owner,
            _text(filters.created_from_ms),
            _text(filters.created_until_ms),
            int(self.entire),
        )
        return Call("page", keys, arguments, source=keys.scheduled if shares else getattr(keys, self.states[0].value))


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _read_page(reply: list[Any], state: State) -> tuple[list[tuple[PageMark, Job]], PageMark | None]:
    """Return the jobs of a page with their places, and where it ended (None at the end of the set)."""
    rows, score, job_id = reply
    found = [(PageMark(score=row[1].decode(), id=row[0].decode()), _job_of_page(row, state)) for row in rows]
    return found, PageMark(score=score.decode(), id=job_id.decode()) if score else None


def _job_of_page(row: list[Any], state: State) -> Job:
    job_id, score, rank, flat = row
    due_ms = int(float(score)) if state in (State.SCHEDULED, State.RETRYING) else 0
    position = rank + 1 if state is State.READY else None
    return job_from_record(job_id.decode(), _pairs(flat), due_ms=due_ms, position=position)


def _read_stats(queue: str, reply: list[Any]) -> QueueStats:
    now_ms, counts, oldest, newest, meta_pairs, minute_pairs, worker_pairs, overdue_ms = reply
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
        limits=Limits.from_meta(meta),
        generation=meta.get("generation"),
        clock=int(meta.get("clock", 0)),
        counters={name: counters.get(name, 0) for name in COUNTERS},
        last_minute={name.decode(): int(value) for name, value in _pairs(minute_pairs).items()},
        workers=tuple(_worker(name, value) for name, value in sorted(_pairs(worker_pairs).items())),
        waits=histogram_from_meta("wait", WAIT_BOUNDS_SECONDS, meta),
        runs=histogram_from_meta("run", RUN_BOUNDS_SECONDS, meta),
        overdue_seconds=int(overdue_ms) / 1000,
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
    "stopped",
    "released",
    "reaped",
    "requeued",
    "purged",
    "pruned",
    "deleted",
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
