"""Handlers that do next to nothing."""

from __future__ import annotations

from benchmarks import marks
from worker.context import JobContext
from worker.registry import handler


@handler("bench.noop")
def noop(_payload: object, _job: JobContext) -> None:
    """Do nothing but count."""
    marks.count()


@handler("bench.stamp")
def stamp(payload: float, _job: JobContext) -> None:
    """Note how long the job has waited."""
    marks.stamp(payload)
