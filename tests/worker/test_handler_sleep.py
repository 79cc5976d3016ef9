"""The handler `sleep`, on a job whose waits take no time."""

from __future__ import annotations

import math
from typing import Any

import pytest

from worker.errors import GiveUp, JobCancelled
from worker.handlers.sleep import sleep


class Job:
    """Record waits and progress; be cancelled in the wait numbered `cancelled_in`, from 1."""

    def __init__(self, cancelled_in: int = 0) -> None:
        self.waits: list[float] = []
        self.reports: list[float] = []
        self._cancelled_in = cancelled_in

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) == self._cancelled_in

    def progress(self, fraction: float, note: str = "") -> None:
        self.reports.append(fraction)


@pytest.mark.parametrize(("seconds", "slices"), [(0, 0), (0.25, 1), (2.5, 3), (60, 60), (86_400, 86_400)])
def test_sleep_waits_its_seconds_in_slices_of_one_at_most(seconds: float, slices: int) -> None:
    job = Job()

    result = sleep({"seconds": seconds}, job)

    assert result == {"slept_seconds": seconds}
    assert math.fsum(job.waits) == pytest.approx(seconds)
    assert len(job.waits) == slices
    assert all(wait <= 1 for wait in job.waits)


def test_sleep_reports_progress_up_to_one() -> None:
    job = Job()

    sleep({"seconds": 4}, job)

    assert job.reports == [0.25, 0.5, 0.75, 1.0]


def test_sleep_stops_when_the_job_is_cancelled() -> None:
    job = Job(cancelled_in=2)

    with pytest.raises(JobCancelled):
        sleep({"seconds": 4}, job)
    assert job.waits == [1.0, 1.0]
    assert job.reports == [0.25]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        3,
        {"seconds": -1},
        {"seconds": 86_401},
        {"seconds": "3"},
        {"seconds": True},
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"seconds": 1, "minutes": 1},
    ],
)
def test_sleep_gives_up_on_a_bad_payload(payload: Any) -> None:
    job = Job()

    with pytest.raises(GiveUp, match="bad payload"):
        sleep(payload, job)
    assert job.waits == []
