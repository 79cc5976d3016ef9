"""What the threads of a worker share about an attempt: its lease, and the way to interrupt it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest

from tests.worker.rig import WAIT_SECONDS, claimed, lease_of
from worker.errors import AttemptInterrupted, AttemptTimeout, JobCancelled, LeaseLost
from worker.leases import MAX_RUNTIME_SECONDS, YIELD_SECONDS, Lease, LeaseBook
from worker.outcomes import run_attempt


class Interruptible:
    """A thread that enters a lease and waits, in short slices, to be interrupted or let go."""

    def __init__(self, lease: Lease) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.struck_by: type[BaseException] | None = None
        self._lease = lease
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.entered.wait(WAIT_SECONDS)

    def _run(self) -> None:
        self._lease.enter()
        self.entered.set()
        try:
            for _ in range(int(WAIT_SECONDS * 200)):
                if self.let_go.wait(0.005):
                    break
        except AttemptInterrupted as error:
            self.struck_by = type(error)
        self._lease.leave()

    def join(self) -> None:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("error", [JobCancelled, AttemptTimeout, LeaseLost])
def test_an_interrupt_strikes_between_enter_and_leave(error: type[AttemptInterrupted]) -> None:
    lease = lease_of(claimed())
    handler = Interruptible(lease)

    assert lease.interrupt(error)

    handler.join()
    assert handler.struck_by is error


def test_an_interrupt_before_enter_is_not_possible() -> None:
    assert not lease_of(claimed()).interrupt(JobCancelled)


def test_an_interrupt_after_leave_is_not_possible() -> None:
    lease = lease_of(claimed())
    handler = Interruptible(lease)
    handler.let_go.set()
    handler.join()

    assert not lease.interrupt(JobCancelled)
    assert handler.struck_by is None


def test_an_attempt_is_interrupted_once() -> None:
    lease = lease_of(claimed())
    handler = Interruptible(lease)

    assert lease.interrupt(JobCancelled)
    assert not lease.interrupt(LeaseLost)

    handler.join()
    assert handler.struck_by is JobCancelled


def test_an_attempt_in_another_process_is_interrupted_by_the_way_that_leads_there_once() -> None:
    lease, struck = lease_of(claimed()), []

    def strike(error: type[AttemptInterrupted]) -> bool:
        struck.append(error)
        return True

    lease.enter(strike)

    assert [lease.interrupt(JobCancelled), lease.interrupt(LeaseLost)] == [True, False]
    assert struck == [JobCancelled]
    lease.leave()
    assert not lease.is_running


def test_no_interrupt_ever_leaves_an_attempt_however_they_meet() -> None:
    """Two thousand short attempts under fire: each ends with an outcome, and the thread between them is left alone."""
    current: list[Lease] = [lease_of(claimed(kind="short"))]
    over, verdicts, leaked = threading.Event(), [], []

    def attempts() -> None:
        for _ in range(2_000):
            try:
                lease = lease_of(claimed(kind="short"))
                current[0] = lease
                outcome = run_attempt(lease, {"short": lambda *_: sum(range(200))}, lambda _: None)
                verdicts.append(outcome.verdict)
            except AttemptInterrupted as error:
                leaked.append(error)
        over.set()

    thread = threading.Thread(target=attempts)
    thread.start()
    ends_at = time.monotonic() + WAIT_SECONDS
    while not over.is_set() and time.monotonic() < ends_at:
        current[0].interrupt(JobCancelled)
    thread.join(WAIT_SECONDS)

    assert leaked == []
    assert len(verdicts) == 2_000
    assert set(verdicts) <= {"succeeded", "cancelled"}


TRACED = """
import sys, threading
from tests.worker.rig import claimed, lease_of
from worker.errors import JobCancelled
from worker.outcomes import run_attempt

lease = lease_of(claimed())
outcome = run_attempt(lease, {"echo": lambda *_: [lease.interrupt(JobCancelled), sum(range(9))]}, None)
sys.settrace(lambda *_: None)
outcome.lease.is_held(0)
sys.settrace(None)
print(outcome.verdict)
"""


def test_an_interrupted_attempt_leaves_nothing_behind_that_makes_a_tracer_hang() -> None:
    """Python 3.11 does so while it believes that an interrupt is still to strike."""
    command = [sys.executable, "-c", "import django; django.setup()" + TRACED]

    answer = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)

    assert answer.stdout == "cancelled\n"


def test_a_lease_is_held_until_nine_tenths_of_its_time_from_the_request() -> None:
    lease = Lease(claimed(), lease_seconds=30.0, claimed_at=100.0)

    assert lease.is_held(126.9)
    assert not lease.is_held(127.0)


def test_a_renewed_lease_is_held_from_the_moment_of_that_request() -> None:
    lease = Lease(claimed(), lease_seconds=30.0, claimed_at=100.0)

    lease.renew(110.0)

    assert lease.is_held(136.9)
    assert not lease.is_held(137.0)


def test_a_lost_lease_is_not_held_any_more() -> None:
    lease = lease_of(claimed())

    lease.lose()

    assert not lease.is_held(time.monotonic())


def test_the_time_limit_counts_from_the_start_of_the_attempt() -> None:
    before = time.monotonic()
    lease = lease_of(claimed(timeout_ms=1_500))
    after = time.monotonic()

    assert before + 1.5 <= lease.timeout_at <= after + 1.5
    assert lease_of(claimed()).timeout_at >= after + MAX_RUNTIME_SECONDS


def test_the_time_limit_counts_anew_when_the_handler_begins() -> None:
    """A process for it may have to be made first."""
    lease = lease_of(claimed(timeout_ms=1_500))
    created = lease.timeout_at

    lease.enter(lambda error: True)

    assert created < lease.timeout_at <= time.monotonic() + 1.5


def test_an_attempt_is_stuck_when_it_goes_on_long_after_its_time_limit() -> None:
    lease = lease_of(claimed(timeout_ms=1_500))

    assert not lease.is_stuck(lease.timeout_at + YIELD_SECONDS - 0.1)
    assert lease.is_stuck(lease.timeout_at + YIELD_SECONDS + 0.1)


def test_an_attempt_is_stuck_when_it_goes_on_long_after_its_lease_is_lost() -> None:
    lease = lease_of(claimed())
    lease.lose()

    assert not lease.is_stuck(time.monotonic())
    assert lease.is_stuck(time.monotonic() + YIELD_SECONDS + 0.1)


def test_progress_that_could_not_be_sent_is_kept_unless_there_is_newer() -> None:
    lease = lease_of(claimed())
    lease.return_progress(b"old")
    assert lease.take_progress() == b"old"

    lease.set_progress(0.5, "new")
    lease.return_progress(b"old")

    assert json.loads(lease.take_progress() or b"")["note"] == "new"


def test_progress_is_taken_once_and_the_last_one_counts() -> None:
    lease = lease_of(claimed())
    lease.set_progress(0.25, "a")
    lease.set_progress(0.5, "half")

    assert lease.has_progress
    assert json.loads(lease.take_progress() or b"") == {"fraction": 0.5, "note": "half"}
    assert not lease.has_progress
    assert lease.take_progress() is None


def test_the_book_wakes_its_keeper_only_for_attempts_shorter_than_its_tick() -> None:
    book = LeaseBook()

    book.add(lease_of(claimed()))
    assert not book.changed.is_set()
    book.add(lease_of(claimed(token="18-abcd", timeout_ms=100)))

    assert book.changed.is_set()


def test_two_leases_of_one_job_are_two_entries_and_the_old_one_leaves_alone() -> None:
    """A job whose lease was lost may come back to the same worker while its old handler has not ended yet."""
    book = LeaseBook()
    old, new = lease_of(claimed(token="17-abcd")), lease_of(claimed(token="18-abcd"))
    book.add(old)
    book.add(new)

    assert len(book) == 2
    book.remove(old)

    assert list(book) == [new]


def test_removing_a_lease_twice_is_no_matter() -> None:
    book = LeaseBook()
    lease = lease_of(claimed())
    book.add(lease)

    book.remove(lease)
    book.remove(lease)

    assert len(book) == 0
