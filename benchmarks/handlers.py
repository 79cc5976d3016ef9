"""Handlers that do next to nothing."""

from __future__ import annotations

import time
from typing import Any

from worker.context import JobContext
from worker.registry import handler


@handler("bench.noop")
def noop(_payload: Any, _job: JobContext) -> None:
    """Do nothing."""


@handler("bench.stamp")
def stamp(_payload: Any, _job: JobContext) -> float:
    """Return when the handler started: seconds since 1970, the clock of this machine."""
    return time.time()
