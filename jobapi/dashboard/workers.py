"""Who works: live workers, those that went silent, and runs that cron or timers start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from jobapi.dashboard import snapshot
from jobapi.dashboard.frame import live_page
from jobapi.dashboard.schedules import schedules_of
from jobapi.dashboard.snapshot import Snapshot
from jobapi.schemas import is_live
from queueing import WorkerRecord

SHOWN_RUNS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A worker in the table, as it last said of itself."""

    id: str
    is_live: bool
    seen_at: datetime
    started_at: datetime | None
    about: dict[str, Any]


def workers(request: HttpRequest) -> HttpResponse:
    """Show all workers."""
    snap = snapshot.take()
    rows = rows_of(snap)
    context = {
        "title": "Workers",
        "now": snap.at,
        "api": reverse("worker-list"),
        "rows": rows,
        "live": sum(row.is_live for row in rows),
        "stale": sum(not row.is_live for row in rows),
        "slots": sum(int(row.about.get("slots", 0)) for row in rows if row.is_live),
        "busy": sum(len(row.about.get("running", ())) for row in rows if row.is_live),
        "schedules": schedules_of(snap),
        "runs": snap.runs[:SHOWN_RUNS],
    }
    return live_page(request, "dashboard/workers.html", context)


def rows_of(snap: Snapshot) -> list[Row]:
    """Return each worker once, live ones first."""
    records = {worker.id: (worker, is_live(worker, stats.at)) for stats in snap.stats for worker in stats.workers}
    rows = [_row(worker, live=live) for worker, live in records.values()]
    return sorted(rows, key=lambda row: (not row.is_live, row.id))


def _row(worker: WorkerRecord, *, live: bool) -> Row:
    return Row(
        id=worker.id,
        is_live=live,
        seen_at=worker.seen_at,
        started_at=_moment(worker.about.get("started_at")),
        about=dict(worker.about),
    )


def _moment(text: object) -> datetime | None:
    """Return when a worker says it started; None when it does not, as those of earlier releases."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
