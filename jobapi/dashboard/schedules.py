"""Workers that are started by cron or timers: when they ran, and when the next run is expected."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from jobapi.dashboard.snapshot import Snapshot
from queueing import Run

LEAST_RUNS = 3  # two intervals; one alone may be chance
PATIENCE = timedelta(minutes=1)  # a run may be late by this, or by half of its interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The runs of one host on the same queues. `state` is running, on time, missed, or unknown while they are few."""

    host: str
    queues: tuple[str, ...]
    mode: str
    last: Run
    runs: int
    interval_seconds: float | None
    next_at: datetime | None
    state: str


def schedules_of(snap: Snapshot) -> list[Schedule]:
    """Return what the runs of the past tell, the latest first."""
    found: dict[tuple[str, tuple[str, ...], str], list[Run]] = defaultdict(list)
    for run in snap.runs:
        found[run.host, run.queues, run.mode].append(run)
    abouts = [worker.about for worker in snap.live_workers()]
    running = {(about.get("host"), tuple(about.get("queues", ())), about.get("mode")) for about in abouts}
    return [_schedule(runs, snap.at, is_running=key in running) for key, runs in found.items()]


def _schedule(runs: list[Run], now: datetime, *, is_running: bool) -> Schedule:
    last, interval = runs[0], _interval_seconds(runs)
    next_at = last.started_at + timedelta(seconds=interval) if interval else None
    return Schedule(
        host=last.host,
        queues=last.queues,
        mode=last.mode,
        last=last,
        runs=len(runs),
        interval_seconds=interval,
        next_at=next_at,
        state="running" if is_running else _state(next_at, interval or 0, now),
    )


def _interval_seconds(runs: list[Run]) -> float | None:
    """Return how long it usually is from one start to the next."""
    if runs[0].interval_seconds:
        return runs[0].interval_seconds
    starts = sorted(run.started_at for run in runs)
    if len(starts) < LEAST_RUNS:
        return None
    return median((later - earlier).total_seconds() for earlier, later in pairwise(starts)) or None


def _state(next_at: datetime | None, interval_seconds: float, now: datetime) -> str:
    if next_at is None:
        return "unknown"
    return "missed" if now > next_at + max(PATIENCE, timedelta(seconds=interval_seconds / 2)) else "on time"
