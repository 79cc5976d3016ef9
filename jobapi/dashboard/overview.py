"""The overview: all queues at a glance, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from jobapi.dashboard import snapshot
from jobapi.dashboard.charts import bar, spark
from jobapi.dashboard.figures import HOUR, WINDOWS, Past, alarms, throughput, waiting, window_of
from jobapi.dashboard.frame import live_page
from jobapi.dashboard.snapshot import Snapshot
from jobapi.dashboard.words import age
from queueing import AGE_BOUNDS_SECONDS, QueueStats, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A queue in the table."""

    stats: QueueStats
    spark: str
    spark_text: str
    per_minute: int
    failed_share: float | None
    workers: int
    is_late: bool
    condition: str  # paused, alarm or fine


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many ready jobs have waited for so long."""

    words: str
    count: int
    width: str
    is_late: bool


def overview(request: HttpRequest) -> HttpResponse:
    """Show the figures of all queues."""
    snap, window = snapshot.take(), window_of(request.GET.get("window"))
    past = Past.of(window, snap)
    found = alarms(snap, settings.AGE_TARGET_SECONDS)
    context = {
        "title": "Overview",
        "now": snap.at,
        "api": reverse("queue-list"),
        "alarms": found,
        "windows": WINDOWS.values(),
        "window": window,
        "charts": [throughput(past), waiting(past)],
        "rows": rows_of(snap, {alarm.queue for alarm in found}),
        "shares": shares_of([sum(counts) for counts in zip(*(ages.counts for ages in snap.ages), strict=True)]),
        **cards_of(snap),
    }
    return live_page(request, "dashboard/overview.html", context)


def cards_of(snap: Snapshot) -> dict[str, Any]:
    """Return the sums over all queues."""
    oldest = [stats.oldest_ready_age_seconds for stats in snap.stats if stats.oldest_ready_age_seconds is not None]
    newest = [stats.newest_ready_age_seconds for stats in snap.stats if stats.newest_ready_age_seconds is not None]
    return {
        "counts": {state.value: sum(stats.counts[state] for stats in snap.stats) for state in State},
        "submitted": sum(stats.last_minute.get("submitted", 0) for stats in snap.stats),
        "slots": sum(int(worker.about.get("slots", 0)) for worker in snap.live_workers()),
        "workers": len(snap.live_workers()),
        "oldest": max(oldest, default=None),
        "newest": min(newest, default=None),
        "target": settings.AGE_TARGET_SECONDS,
    }


def rows_of(snap: Snapshot, alarmed: set[str]) -> list[Row]:
    """Return the table of queues."""
    return [_row(snap, stats, is_alarmed=stats.queue in alarmed) for stats in snap.stats]


def _row(snap: Snapshot, stats: QueueStats, *, is_alarmed: bool) -> Row:
    past = Past.of(HOUR, snap, stats.queue)
    ended = [sum(both) for both in zip(past.series("succeeded"), past.series("failed"), strict=True)]
    return Row(
        stats=stats,
        spark=spark(ended),
        spark_text=f"{sum(ended):,} attempts ended in the last hour",
        per_minute=stats.last_minute.get("succeeded", 0),
        failed_share=past.failed_share(),
        workers=len(snap.live_workers(stats.queue)),
        is_late=(stats.oldest_ready_age_seconds or 0) > settings.AGE_TARGET_SECONDS,
        condition="paused" if stats.paused else "alarm" if is_alarmed else "fine",
    )


def shares_of(counts: list[int]) -> list[Share]:
    """Return the distribution of waiting ages."""
    counts = counts or [0] * (len(AGE_BOUNDS_SECONDS) + 1)
    names = [*(f"up to {age(bound)}" for bound in AGE_BOUNDS_SECONDS), f"over {age(AGE_BOUNDS_SECONDS[-1])}"]
    begins = [0, *AGE_BOUNDS_SECONDS]
    most = max(counts)
    return [
        Share(words=name, count=count, width=bar(count, most), is_late=begin >= settings.AGE_TARGET_SECONDS)
        for name, begin, count in zip(names, begins, counts, strict=True)
    ]
