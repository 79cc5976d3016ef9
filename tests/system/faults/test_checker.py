"""The checker finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.faults import ledger
from tests.system.faults.checker import History, Verdict
from tests.system.faults.ledger import Ledger


def verdict_on(folder: Path, *lines: ledger.Line, stored: tuple[str, ...] = ()) -> Verdict:
    """Judge a history in which each process of `lines` wrote its own ledger."""
    books: dict[int, Ledger] = {}
    for line in lines:
        book = books.setdefault(line.get("pid", 0), Ledger(folder, f"process-{line.get('pid', 0)}"))
        book.write(line["event"], **{name: value for name, value in line.items() if name != "event"})
    for book in books.values():
        book.close()
    return History(folder).verdict(stored)


def submitted(job: str) -> list[ledger.Line]:
    return [{"event": ledger.ATTEMPTED, "job": job, "at": 0.0}, {"event": ledger.ACKNOWLEDGED, "job": job, "at": 0.1}]


def started(pid: int, fence: int, at: float) -> ledger.Line:
    return {"event": ledger.STARTED, "job": "j", "pid": pid, "worker": pid, "attempt": 1, "fence": fence, "at": at}


def ended(pid: int, fence: int, at: float, deadline: float = 100.0) -> ledger.Line:
    return {"event": ledger.ENDED, "job": "j", "pid": pid, "fence": fence, "at": at, "deadline": deadline}


def died(pid: int, at: float) -> ledger.Line:
    return {"event": ledger.DIED, "pid": pid, "at": at}


def test_a_job_that_ran_once_is_all_right(tmp_path: Path) -> None:
    assert not verdict_on(tmp_path, *submitted("j"), started(1, 7, 1.0), ended(1, 7, 2.0))


def test_an_acknowledged_job_that_is_neither_done_nor_stored_is_lost(tmp_path: Path) -> None:
    assert verdict_on(tmp_path, *submitted("j"), started(1, 7, 1.0)).lost == {"j"}


def test_an_acknowledged_job_that_is_still_stored_is_not_lost(tmp_path: Path) -> None:
    assert not verdict_on(tmp_path, *submitted("j"), stored=("j",))


def test_a_job_whose_submission_was_never_answered_may_be_missing(tmp_path: Path) -> None:
    assert not verdict_on(tmp_path, submitted("j")[0])


def test_a_run_of_what_nobody_submitted_is_unexpected(tmp_path: Path) -> None:
    assert verdict_on(tmp_path, started(1, 7, 1.0), ended(1, 7, 2.0)).unexpected == {"j"}


@pytest.mark.parametrize(
    ("first_end", "overlaps"),
    [
        (ended(1, 7, 2.0), True),
        (ended(1, 7, 1.4), False),
        (ended(1, 7, 2.0, deadline=1.4), False),
        (died(1, 2.0), True),
        (died(1, 1.4), False),
    ],
)
def test_two_runs_overlap_while_the_first_goes_on_under_its_lease(
    tmp_path: Path, first_end: ledger.Line, overlaps: bool
) -> None:
    lines = [*submitted("j"), started(1, 7, 1.0), first_end, started(2, 8, 1.5), ended(2, 8, 3.0)]

    assert bool(verdict_on(tmp_path, *lines).overlapping) == overlaps


def test_a_run_in_a_process_of_its_own_ends_with_the_worker_that_started_it(tmp_path: Path) -> None:
    in_a_cell = {**started(3, 7, 1.0), "worker": 1}

    assert not verdict_on(tmp_path, *submitted("j"), in_a_cell, died(1, 1.4), started(2, 8, 1.5), ended(2, 8, 3.0))


def test_a_run_that_never_ended_overlaps_every_later_one(tmp_path: Path) -> None:
    lines = [*submitted("j"), started(1, 7, 1.0), started(2, 8, 9.0), ended(2, 8, 9.5)]

    assert verdict_on(tmp_path, *lines).overlapping


def test_a_later_run_with_a_lower_fence_is_disordered(tmp_path: Path) -> None:
    lines = [*submitted("j"), started(1, 8, 1.0), ended(1, 8, 2.0), started(2, 7, 3.0), ended(2, 7, 4.0)]

    assert verdict_on(tmp_path, *lines).disordered
