"""One queue: all its figures, its limits, and what can be done with it."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from jobapi.dashboard import snapshot
from jobapi.dashboard.figures import WINDOWS, Past, alarms, quantile, throughput, waiting, window_of
from jobapi.dashboard.frame import live_page
from jobapi.dashboard.overview import rows_of, shares_of
from queueing import Histogram, QueueStats, State
from queueing.conf import known_queues


def queue(request: HttpRequest, queue: str) -> HttpResponse:
    """Show a queue."""
    if queue not in known_queues():
        raise Http404(f"There is no queue {queue}.")
    snap, window = snapshot.take(), window_of(request.GET.get("window"))
    place = known_queues().index(queue)
    stats, past = snap.stats[place], Past.of(window, snap, queue)
    found = [alarm for alarm in alarms(snap, settings.AGE_TARGET_SECONDS) if alarm.queue == queue]
    context = {
        "title": f"Queue {queue}",
        "queue": queue,
        "now": snap.at,
        "api": reverse("queue-detail", args=[queue]),
        "alarms": found,
        "row": rows_of(snap, {alarm.queue for alarm in found})[place],
        "windows": WINDOWS.values(),
        "window": window,
        "charts": [throughput(past), waiting(past)],
        "shares": shares_of(list(snap.ages[place].counts)),
        "counts": {state.value: stats.counts[state] for state in State},
        "target": settings.AGE_TARGET_SECONDS,
        "totals": sorted(stats.counters.items()),
        "durations": {"Wait until the first attempt": typical(stats.waits), "Run of an attempt": typical(stats.runs)},
        "timeout_seconds": stats.limits.timeout_ms / 1000,
        "retention": [
            (state.value, kept.keep_ms / 1000, kept.keep_count) for state, kept in stats.limits.retention.items()
        ],
        "pause": last_pause(stats),
    }
    return live_page(request, "dashboard/queue.html", context)


def typical(taken: Histogram) -> dict[str, Any]:
    """Return the mean of a histogram, and within which time half and nearly all were."""
    return {
        "count": taken.count,
        "mean": taken.sum_seconds / taken.count if taken.count else None,
        "half": quantile(taken.counts, taken.bounds_seconds, 0.5),
        "most": quantile(taken.counts, taken.bounds_seconds, 0.95),
    }


def last_pause(stats: QueueStats) -> LogEntry | None:
    """Return the record of who paused a queue that is paused; None when that was not done here."""
    if not stats.paused:
        return None
    entries = LogEntry.objects.filter(
        content_type__app_label="dashboard",
        object_id=stats.queue,
        change_message__startswith='{"action": "pause"',
    )
    entry = entries.select_related("user").order_by("-pk").first()
    is_it = entry is not None and json.loads(entry.change_message).get("reason", "") == stats.paused_reason
    return entry if is_it else None
