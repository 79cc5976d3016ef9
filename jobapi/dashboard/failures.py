"""What fails, and how often: dead and retrying jobs, grouped by kind and by what their errors have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from jobapi.dashboard import snapshot
from jobapi.dashboard.frame import live_page
from jobapi.dashboard.selection import Selection
from jobapi.dashboard.signatures import signature_of
from queueing import Filters, Job, PageMark, QueueStats, State
from queueing.conf import get_inspector, known_queues
from queueing.inspector import MAX_PAGE
from queueing.jobs import to_ms

REACH = 1_000  # jobs of each queue and state that are looked at
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
MAX_GROUPS = 100


@dataclass(slots=True, kw_only=True)
class Group:
    """Jobs of one kind whose errors have one signature."""

    kind: str
    signature: str
    first_at: datetime
    last_at: datetime
    dead: int = 0
    retrying: int = 0
    queues: set[str] = field(default_factory=set)

    @property
    def number(self) -> int:
        """How many jobs there are."""
        return self.dead + self.retrying

    def add(self, job: Job, at: datetime) -> None:
        """Count a job that failed then."""
        self.dead += job.state is State.DEAD
        self.retrying += job.state is State.RETRYING
        self.queues.add(job.queue)
        self.first_at, self.last_at = min(self.first_at, at), max(self.last_at, at)


def failures(request: HttpRequest) -> HttpResponse:
    """Show the groups of a window of time, the largest first."""
    window = request.GET.get("window", "")
    window = window if window in WINDOWS else "24h"
    queue = request.GET.get("queue", "")
    queues = [queue] if queue in known_queues() else known_queues()
    stats = get_inspector().stats_of(queues)
    now = stats[0].at
    since = now - WINDOWS[window]
    name = f"failures:{window}:{','.join(queues)}"
    groups = snapshot.shared(name, list[Group], lambda: grouped(queues, since), fresh_ms=snapshot.FRESH_MS)
    context = {
        "title": "Failures",
        "now": now,
        "window": window,
        "windows": WINDOWS,
        "rows": [_row(group, since, queues) for group in groups[:MAX_GROUPS]],
        "reach": _reach(stats, len(groups)),
        "api": f"{reverse('job-list')}?state=dead",
    }
    return live_page(request, "dashboard/failures.html", context)


def grouped(queues: list[str], since: datetime) -> list[Group]:
    """Return the groups of the jobs that failed since then, the largest first."""
    groups: dict[tuple[str, str], Group] = {}
    for queue in queues:
        for job in (*_dead(queue, since), *_newest(queue, State.RETRYING, Filters())):
            at = _failed_at(job)
            if job.error is None or at is None or at < since:
                continue
            key = (job.kind, signature_of(job.error))
            groups.setdefault(key, Group(kind=key[0], signature=key[1], first_at=at, last_at=at)).add(job, at)
    return sorted(groups.values(), key=lambda group: (-group.number, group.kind, group.signature))


def _dead(queue: str, since: datetime) -> Iterator[Job]:
    return _newest(queue, State.DEAD, Filters(finished_from_ms=to_ms(since)))


def _newest(queue: str, state: State, filters: Filters) -> Iterator[Job]:
    inspector = get_inspector()
    mark: PageMark | None = None
    for _ in range(REACH // MAX_PAGE):
        found = inspector.page(queue, state, limit=MAX_PAGE, after=mark, filters=filters, entire=False)
        yield from found.jobs
        mark = found.next
        if mark is None:
            return


def _failed_at(job: Job) -> datetime | None:
    if job.state is State.DEAD:
        return job.finished_at
    return job.attempts[-1].finished_at if job.attempts else None


def _row(group: Group, since: datetime, queues: list[str]) -> dict[str, Any]:
    queue = queues[0] if len(queues) == 1 else ""
    common = Selection(queue=queue, kind=group.kind, error=group.signature)
    return {
        "group": group,
        "dead_query": _of(common, State.DEAD, to_ms(since)).query(),
        "retrying_query": _of(common, State.RETRYING, None).query(),
    }


def _of(common: Selection, state: State, finished_from_ms: int | None) -> Selection:
    return Selection(
        queue=common.queue,
        states=(state,),
        kind=common.kind,
        error=common.error,
        finished_from_ms=finished_from_ms,
    )


def _reach(stats: list[QueueStats], number: int) -> str:
    sizes = {each.queue: max(each.counts[State.DEAD], each.counts[State.RETRYING]) for each in stats}
    cut = [queue for queue, size in sizes.items() if size > REACH]
    parts = (
        [f"Looked at the newest {REACH:,} dead and retrying jobs of {', '.join(cut)}: there are more."] if cut else []
    )
    if number > MAX_GROUPS:
        parts.append(f"The {MAX_GROUPS} largest of {number:,} groups are shown.")
    return " ".join(parts)
