"""The figures of a queue that grow with time: minute by minute, by how long things took, by how long jobs wait."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from queueing.jobs import from_ms, to_ms

MAX_MINUTES = 1_440
MAX_RUNS = 50

#: Up to where each count of a histogram goes (also in lua/include/*_bounds.lua); one more is for what took longer.
WAIT_BOUNDS_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 21600)
RUN_BOUNDS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900)
AGE_BOUNDS_SECONDS = (10, 60, 300, 3600)

WAIT_BUCKETS = tuple(f"wait_{n}" for n in range(len(WAIT_BOUNDS_SECONDS) + 1))
RUN_BUCKETS = tuple(f"run_{n}" for n in range(len(RUN_BOUNDS_SECONDS) + 1))

#: What is counted each minute.
SERIES = ("submitted", "succeeded", "failed", "dead", "reaped", "expired", "cancelled", *WAIT_BUCKETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many took up to each bound and longer than the one before, at the end beyond the last; and the sum of all."""

    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float

    @property
    def count(self) -> int:
        """How many in all."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHistory:
    """The counters of a queue, one figure a minute from `first_minute` (since 1970 UTC) on; the last minute still runs.

    `series` has SERIES and `started`: jobs that began their first attempt. `wait_0` and so on is the histogram of how
    long these had waited since they were first due.
    """

    queue: str
    first_minute: int
    series: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAges:
    """How many ready jobs have waited up to each of AGE_BOUNDS_SECONDS, and longer than the last."""

    queue: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One drain of a worker that has ended: by cron, by a timer, or one of many at an interval.

    `mode` is drain or interval; `jobs` is how many attempts it ran; `outcome` is drained, limit (its own, on jobs or
    time), stopped, unavailable (the database) or stuck.
    """

    worker: str
    host: str
    queues: tuple[str, ...]
    mode: str
    interval_seconds: float | None
    started_at: datetime
    ended_at: datetime
    jobs: int
    outcome: str

    def to_json(self) -> bytes:
        """Return the run as it is stored."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(
            {**fields, "started_at": to_ms(self.started_at), "ended_at": to_ms(self.ended_at)}, ensure_ascii=False
        ).encode()


def run_from_json(text: bytes) -> Run:
    """Return a run that was stored."""
    fields = json.loads(text)
    return Run(
        **{
            **fields,
            "queues": tuple(fields["queues"]),
            "started_at": from_ms(fields["started_at"]),
            "ended_at": from_ms(fields["ended_at"]),
        }
    )


def histogram_from_meta(name: str, bounds_seconds: tuple[float, ...], meta: Mapping[str, str]) -> Histogram:
    """Return the histogram that the counters of a queue hold under `name`."""
    buckets = range(len(bounds_seconds) + 1)
    return Histogram(
        bounds_seconds=bounds_seconds,
        counts=tuple(int(meta.get(f"{name}_{n}", 0)) for n in buckets),
        sum_seconds=int(meta.get(f"{name}_ms", 0)) / 1000,
    )


def history_from_reply(queue: str, minutes: int, reply: Sequence[Any]) -> QueueHistory:
    """Return what the script `history` said; a minute in which nothing was counted has zeros."""
    first, figures = reply
    counted = [{name: int(n) for name, n in zip(pairs[::2], pairs[1::2], strict=True)} for pairs in figures]
    counted = counted or [{}] * minutes
    series = {name: tuple(minute.get(name.encode(), 0) for minute in counted) for name in SERIES}
    series["started"] = tuple(map(sum, zip(*(series[bucket] for bucket in WAIT_BUCKETS), strict=True)))
    return QueueHistory(queue=queue, first_minute=int(first), series=series)
