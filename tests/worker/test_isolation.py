"""Suspects, apart: attempts in processes that may die of them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queueing import StoreUnavailable
from tests.worker.rig import SUSPECTS, WAIT_SECONDS, claimed, kill, lease_of
from worker import isolation as module
from worker.errors import AttemptInterrupted, AttemptTimeout, JobCancelled, LeaseLost
from worker.isolation import Cell, CellUnavailable, Isolation
from worker.leases import Lease
from worker.outcomes import Outcome


@pytest.fixture
def isolation() -> Iterator[Isolation]:
    isolation = Isolation(SUSPECTS)
    isolation.start()
    yield isolation
    isolation.close()


@pytest.fixture
def cell(isolation: Isolation) -> Iterator[Cell]:
    cell = Cell(isolation)
    yield cell
    cell.close()


def ignore(lease: Lease) -> None:
    """Extend nothing."""


def lease_for(kind: str, payload: Any = None, **changes: Any) -> Lease:
    return lease_of(claimed(json.dumps(payload).encode(), kind=kind, **changes))


def run(cell: Cell, kind: str, payload: Any = None) -> Outcome:
    """Run one attempt in the cell."""
    return cell.run(lease_for(kind, payload), ignore)


def test_an_attempt_whose_lease_ended_while_its_process_was_made_does_not_begin(cell: Cell) -> None:
    lease = lease_of(claimed(b'"hello"', kind="suspect.echo"), lease_seconds=0)

    assert cell.run(lease, ignore).verdict == "lost"
    assert run(cell, "suspect.echo", "hello").verdict == "succeeded"


class Running:
    """An attempt in a cell, attended by a thread of its own."""

    def __init__(self, cell: Cell, kind: str, payload: Any = None, extend: Callable[[Lease], None] = ignore) -> None:
        self.lease = lease_for(kind, payload)
        self._outcome: Outcome | None = None

        def target() -> None:
            self._outcome = cell.run(self.lease, extend)

        self._thread = threading.Thread(target=target)
        self._thread.start()

    def outcome(self) -> Outcome:
        self._thread.join(WAIT_SECONDS)
        assert self._outcome is not None
        return self._outcome


# How attempts end


def test_a_handler_runs_in_another_process_and_its_result_comes_back(cell: Cell) -> None:
    outcome = cell.run(lease_for("suspect.echo", [1, "ü"], attempt=2, token="18-abcd"), ignore)

    assert outcome.verdict == "succeeded"
    assert json.loads(outcome.result or b"") == {
        "payload": [1, "ü"],
        "attempt": 2,
        "fence": 18,
        "thread": "handler-0",
    }


def test_one_process_runs_one_attempt_after_the_other(cell: Cell) -> None:
    assert run(cell, "suspect.pid").result == run(cell, "suspect.pid").result


def test_the_largest_payload_and_the_largest_result_pass(cell: Cell) -> None:
    outcome = run(cell, "suspect.echo", "x" * 250_000)

    kept = json.loads(outcome.result or b"")
    assert (kept["truncated"], kept["size_bytes"] > 250_000) == (True, True)


@pytest.mark.parametrize(
    ("what", "verdict", "delay_ms", "error"),
    [
        ("value", "failed", None, "ValueError"),
        ("later", "failed", 2_500, "RetryLater"),
        ("never", "dead", None, "GiveUp"),
    ],
)
def test_what_a_handler_raises_has_the_same_verdict_as_on_a_thread(
    cell: Cell, what: str, verdict: str, delay_ms: int | None, error: str
) -> None:
    outcome = run(cell, "suspect.raise", what)

    assert (outcome.verdict, outcome.delay_ms) == (verdict, delay_ms)
    assert outcome.error is not None
    assert outcome.error.type == error


@pytest.mark.parametrize(
    ("kind", "payload", "how"),
    [
        ("suspect.exit", 3, "exit code 3"),
        ("suspect.exit", 0, "exit code 0"),
        ("suspect.signal", "SIGKILL", "signal 9 (SIGKILL)"),
        ("suspect.signal", "SIGRTMIN", "signal 34 (SIGRTMIN)"),
        ("suspect.segfault", None, "signal 11 (SIGSEGV)"),
    ],
)
def test_a_handler_that_kills_its_process_crashes_with_the_reason(
    cell: Cell, kind: str, payload: Any, how: str
) -> None:
    outcome = run(cell, kind, payload)

    assert outcome.verdict == "crashed"
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("Crashed", how)


def test_after_a_crash_the_next_attempt_has_a_new_process(cell: Cell) -> None:
    before = run(cell, "suspect.pid").result
    run(cell, "suspect.exit", 1)

    after = run(cell, "suspect.pid")

    assert after.verdict == "succeeded"
    assert after.result != before


def test_a_crash_hits_no_attempt_in_another_cell(isolation: Isolation, cell: Cell, fifo: Path) -> None:
    neighbour = Cell(isolation)
    running = Running(neighbour, "suspect.wait", str(fifo))
    fifo.read_text()

    run(cell, "suspect.segfault")
    running.lease.interrupt(JobCancelled)

    assert running.outcome().verdict == "cancelled"
    neighbour.close()


def test_a_process_that_died_while_it_had_nothing_to_do_is_replaced(cell: Cell) -> None:
    pid = int(run(cell, "suspect.pid").result or b"")
    os.kill(pid, signal.SIGKILL)
    assert cell._wires is not None
    assert module.wait([cell._wires.life], WAIT_SECONDS)

    assert run(cell, "suspect.echo").verdict == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_sent_to_all_processes_does_not_end_an_attempt(cell: Cell, fifo: Path, number: int) -> None:
    running = Running(cell, "suspect.work", str(fifo))

    os.kill(int(fifo.read_text().split()[0]), number)
    running.lease.interrupt(AttemptTimeout)

    assert running.outcome().error.type == "AttemptTimeout"


# What passes between handler and worker meanwhile


@pytest.mark.parametrize(
    ("error", "verdict"), [(JobCancelled, "cancelled"), (AttemptTimeout, "failed"), (LeaseLost, "lost")]
)
def test_an_interrupt_strikes_in_the_other_process(
    cell: Cell, fifo: Path, error: type[AttemptInterrupted], verdict: str
) -> None:
    running = Running(cell, "suspect.work", str(fifo))
    fifo.read_text()

    assert running.lease.interrupt(error)

    outcome = running.outcome()
    assert (outcome.verdict, outcome.error.type) == (verdict, error.__name__)
    assert "killed" not in outcome.error.message


def test_a_handler_that_waits_learns_at_once_that_its_job_is_cancelled(cell: Cell, fifo: Path) -> None:
    running = Running(cell, "suspect.wait", str(fifo))
    fifo.read_text()
    began = time.monotonic()

    running.lease.interrupt(JobCancelled)

    assert running.outcome().verdict == "cancelled"
    assert time.monotonic() - began < WAIT_SECONDS / 2


def test_the_time_limit_counts_from_the_start_of_the_handler(isolation: Isolation) -> None:
    """Not from the claim: the process has to be made first."""
    lease = lease_for("suspect.echo", timeout_ms=1_000)
    limit = lease.timeout_at
    cell = Cell(isolation)

    cell.run(lease, ignore)

    assert lease.timeout_at > limit
    cell.close()


def test_progress_reaches_the_lease(cell: Cell) -> None:
    lease = lease_for("suspect.progress")

    cell.run(lease, ignore)

    assert json.loads(lease.take_progress() or b"") == {"fraction": 0.5, "note": "half"}


def test_a_handler_may_ask_for_its_lease_to_be_extended(cell: Cell) -> None:
    extended: list[Lease] = []
    lease = lease_for("suspect.extend")

    outcome = cell.run(lease, extended.append)

    assert (outcome.verdict, extended) == ("succeeded", [lease])


@pytest.mark.parametrize(("error", "verdict"), [(LeaseLost(), "lost"), (StoreUnavailable("away"), "failed")])
def test_an_extension_that_fails_raises_in_the_handler(cell: Cell, error: Exception, verdict: str) -> None:
    def refuse(lease: Lease) -> None:
        raise error

    outcome = cell.run(lease_for("suspect.extend"), refuse)

    assert (outcome.verdict, outcome.error.type) == (verdict, type(error).__name__)


# When processes end


def test_a_handler_that_does_not_end_when_interrupted_is_killed_with_what_it_started(
    cell: Cell, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "YIELD_SECONDS", 0.1)
    running = Running(cell, "suspect.stuck", str(fifo))
    with fifo.open() as held_open_by_both:
        held_open_by_both.readline()
        running.lease.interrupt(AttemptTimeout)
        outcome = running.outcome()
        rest = held_open_by_both.read()  # until the last process that may write is gone

    assert (outcome.verdict, rest) == ("failed", "")
    assert (outcome.error.type, "was killed" in outcome.error.message) == ("AttemptTimeout", True)


def test_nothing_is_left_once_it_is_closed(isolation: Isolation, cell: Cell) -> None:
    pids = [int(run(cell, "suspect.pid").result or b""), isolation._pid or 0]

    isolation.close()

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_closing_kills_what_runs_which_then_is_not_reported(isolation: Isolation, cell: Cell, fifo: Path) -> None:
    running = Running(cell, "suspect.stuck", str(fifo))
    with fifo.open() as held_open_by_both:
        held_open_by_both.readline()
        isolation.close()
        held_open_by_both.read()

    assert running.outcome().verdict == "lost"
    with pytest.raises(CellUnavailable):
        run(Cell(isolation), "suspect.echo")


def test_without_its_fork_server_a_cell_ends_and_its_attempt_fails(
    isolation: Isolation, cell: Cell, fifo: Path
) -> None:
    running = Running(cell, "suspect.work", str(fifo))
    fifo.read_text()
    assert not isolation.is_lost

    kill(isolation)

    outcome = running.outcome()
    assert (outcome.verdict, outcome.error.type) == ("failed", "CellLost")
    with pytest.raises(CellUnavailable):
        run(cell, "suspect.echo")
    assert isolation.is_lost
