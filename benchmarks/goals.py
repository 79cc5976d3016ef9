"""What is to be reached, and how far it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound of one ratio; `is_floor` when more is better."""

    key: str
    what: str
    bound: float
    is_floor: bool = True

    def text(self) -> str:
        """Return the goal as tables show it."""
        return f"{'≥' if self.is_floor else '≤'} {self.bound:g}"

    def verdict(self, reached: float | None) -> str:
        """Say whether it is reached."""
        if reached is None:
            return "not measured"
        return "yes" if (reached >= self.bound if self.is_floor else reached <= self.bound) else "no"


def _least(key: str, bound: float, what: str) -> Goal:
    return Goal(key=key, bound=bound, what=what)


def _most(key: str, bound: float, what: str) -> Goal:
    return Goal(key=key, bound=bound, what=what, is_floor=False)


GOALS = (
    _least("drain_c1_vs_raw", 0.8, "no-op jobs/s of one worker at concurrency 1, of the raw loop's"),
    _least("drain_c1_vs_dramatiq", 3, "the same, of Dramatiq's with 8 threads"),
    _least("drain_c1_vs_celery", 10, "the same, of Celery's prefork -c 2"),
    _least("drain_c16_vs_raw", 2, "no-op jobs/s at concurrency 16, of the raw loop's"),
    _least("drain_c16_vs_bullmq", 1, "the same, of BullMQ's at concurrency 10"),
    _least("enqueue_one_vs_raw", 0.9, "`Broker.enqueue`, of the raw script's"),
    _least("enqueue_bulk_vs_raw", 0.8, "`Broker.enqueue_many` in hundreds, of the raw script's in hundreds"),
    _least("submit_vs_bare_view", 0.6, "POST /jobs, of a bare Django view's that calls the same script"),
    _least("submit_vs_drf_celery", 3, "POST /jobs, of a DRF serializer's with Celery's `delay`"),
    _least("bulk_submit_vs_raw", 0.6, "jobs/s by POST /jobs/bulk, of the raw script's in thousands"),
    _most("idle_p50_vs_raw", 1.3, "submit to start on an idle worker, median, of the raw loop's"),
    _most("idle_p99_vs_raw", 2, "the same, 99th percentile"),
    _most("bytes_per_job", 450, "bytes of the server's memory for a ready job with 100 bytes of payload"),
    _most("depth_1m_vs_100", 1.25, "the operation that suffers most from 1,000,000 ready jobs, of its cost at 100"),
    _most("worker_rss_mib", 60, "MiB of memory of an idle worker process"),
    _most("soak_growth_percent", 5, "growth under load of the one that grows most: worker, API or server, %"),
)


def rows(ratios: Mapping[str, float | None]) -> list[list[str]]:
    """Return a row for each goal: what it is of, the goal, what was reached and whether that suffices."""
    return [
        [f"`{goal.key}`", goal.what, goal.text(), number(ratios.get(goal.key)), goal.verdict(ratios.get(goal.key))]
        for goal in GOALS
    ]


def number(value: float | None) -> str:
    """Return a figure with as many digits as it deserves."""
    return "-" if value is None else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
