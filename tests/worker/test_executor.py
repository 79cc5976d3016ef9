"""The threads that run handlers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from tests.worker.rig import WAIT_SECONDS, Gate, claimed
from worker.context import JobContext
from worker.executor import Executor
from worker.leases import LeaseBook
from worker.outcomes import Outcome


def unlucky(payload: Any, job: JobContext) -> None:
    """Try to take the thread down."""
    raise SystemExit(1)


def thread_name(payload: Any, job: JobContext) -> str:
    """Return the name of the thread it runs on."""
    return threading.current_thread().name


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def outcomes() -> SimpleQueue[Outcome]:
    return SimpleQueue()


@pytest.fixture
def executor(gate: Gate, outcomes: SimpleQueue[Outcome]) -> Iterator[Executor]:
    handlers = {"gate": gate, "unlucky": unlucky, "name": thread_name}
    executor = Executor(
        concurrency=2, handlers=handlers, leases=LeaseBook(), report=outcomes.put, extend=lambda lease: None
    )
    executor.start()
    yield executor
    gate.opened.set()
    executor.stop()
    for thread in executor._threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def submit(executor: Executor, number: int, kind: str = "gate") -> None:
    """Run a job with this number in its id and token."""
    job = claimed(kind=kind, id=f"default_{number:032x}", token=f"{number}-abcd")
    executor.submit(job, lease_seconds=30, claimed_at=time.monotonic())


def test_as_many_attempts_run_at_once_as_there_are_threads(executor: Executor, gate: Gate) -> None:
    submit(executor, 1)
    submit(executor, 2)

    assert len({gate.next_started(), gate.next_started()}) == 2
    assert executor.free == 0


def test_a_slot_is_free_again_when_settled_and_not_before(
    executor: Executor, gate: Gate, outcomes: SimpleQueue[Outcome]
) -> None:
    gate.opened.set()
    submit(executor, 1)

    outcome = outcomes.get(timeout=WAIT_SECONDS)
    assert executor.free == 1
    executor.settle(outcome.lease)

    assert executor.free == 2


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_cannot_end_its_thread(executor: Executor, outcomes: SimpleQueue[Outcome]) -> None:
    for number in range(10):
        submit(executor, number, "unlucky")

    verdicts = [outcomes.get(timeout=WAIT_SECONDS).verdict for _ in range(10)]

    assert verdicts == ["failed"] * 10
    assert all(thread.is_alive() for thread in executor._threads)


def test_handlers_run_on_threads_named_after_them(executor: Executor, outcomes: SimpleQueue[Outcome]) -> None:
    submit(executor, 1, "name")

    assert outcomes.get(timeout=WAIT_SECONDS).result in (b'"handler-0"', b'"handler-1"')


def test_stopping_lets_what_runs_end(executor: Executor, gate: Gate, outcomes: SimpleQueue[Outcome]) -> None:
    submit(executor, 1)
    gate.next_started()

    executor.stop()
    gate.opened.set()

    assert outcomes.get(timeout=WAIT_SECONDS).verdict == "succeeded"
