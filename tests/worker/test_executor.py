"""The threads that run handlers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from queueing import Claimed
from tests.worker.rig import SUSPECTS, WAIT_SECONDS, Gate, claimed, kill
from worker import executor as module
from worker.context import JobContext
from worker.executor import CAREFUL_SECONDS, Executor
from worker.isolation import Cell
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
def make_executor(gate: Gate, outcomes: SimpleQueue[Outcome]) -> Iterator[Callable[[int], Executor]]:
    handlers = {"gate": gate, "unlucky": unlucky, "name": thread_name, **SUSPECTS}
    executors = []

    def make(concurrency: int) -> Executor:
        executor = Executor(
            concurrency=concurrency,
            handlers=handlers,
            leases=LeaseBook(),
            report=outcomes.put,
            extend=lambda lease: None,
        )
        executor.start()
        executors.append(executor)
        return executor

    yield make
    gate.opened.set()
    for executor in executors:
        executor.stop()
        for thread in executor.threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
        executor.end_isolated()


@pytest.fixture
def executor(make_executor: Callable[[int], Executor]) -> Executor:
    return make_executor(2)


def submit(executor: Executor, number: int, kind: str = "gate", **changes: Any) -> None:
    """Run a job with this number in its id and token."""
    submit_all(executor, [claimed(kind=kind, id=f"default_{number:032x}", token=f"{number}-abcd", **changes)])


def submit_all(executor: Executor, jobs: list[Claimed]) -> None:
    executor.submit(jobs, lease_seconds=30, claimed_at=time.monotonic())


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
    assert all(thread.is_alive() for thread in executor.threads)


def test_handlers_run_on_threads_named_after_them(executor: Executor, outcomes: SimpleQueue[Outcome]) -> None:
    submit(executor, 1, "name")

    assert outcomes.get(timeout=WAIT_SECONDS).result in (b'"handler-0"', b'"handler-1"')


def test_stopping_lets_what_runs_end(executor: Executor, gate: Gate, outcomes: SimpleQueue[Outcome]) -> None:
    submit(executor, 1)
    gate.next_started()

    executor.stop()
    gate.opened.set()

    assert outcomes.get(timeout=WAIT_SECONDS).verdict == "succeeded"


# Suspects


def test_a_job_that_never_crashed_runs_on_a_thread(executor: Executor, outcomes: SimpleQueue[Outcome]) -> None:
    submit(executor, 1, "suspect.pid")

    assert pid_of(outcomes) == os.getpid()


def test_a_suspect_runs_in_a_process_of_its_own_and_so_does_what_was_claimed_with_it(
    executor: Executor, outcomes: SimpleQueue[Outcome]
) -> None:
    """Else an unknown one among these could end the process that watches over the suspect."""
    jobs = [claimed(kind="suspect.pid", token=f"{number}-abcd", crashes=number) for number in (0, 1)]

    submit_all(executor, jobs)

    pids = {pid_of(outcomes), pid_of(outcomes), os.getpid()}
    assert len(pids) == 3


def test_for_a_minute_after_a_suspect_every_job_runs_apart_and_then_on_a_thread_again(
    make_executor: Callable[[int], Executor], outcomes: SimpleQueue[Outcome]
) -> None:
    executor = make_executor(1)
    submit(executor, 1, "suspect.pid", crashes=1)
    suspect = outcomes.get(timeout=WAIT_SECONDS)
    executor.settle(suspect.lease)

    submit(executor, 2, "suspect.pid")
    apart = pid_of(outcomes)
    executor._careful_until -= CAREFUL_SECONDS
    submit(executor, 3, "suspect.pid")

    assert (b"%d" % apart, pid_of(outcomes)) == (suspect.result, os.getpid())


def test_while_a_suspect_runs_every_job_runs_apart_however_long_that_takes(
    executor: Executor, outcomes: SimpleQueue[Outcome]
) -> None:
    submit(executor, 1, "suspect.pid", crashes=1)
    outcomes.get(timeout=WAIT_SECONDS)  # and is not settled: to the queue it still runs

    executor._careful_until = 0.0
    submit(executor, 2, "suspect.pid")

    assert pid_of(outcomes) != os.getpid()


def test_a_crash_makes_careful_as_well(
    make_executor: Callable[[int], Executor], outcomes: SimpleQueue[Outcome]
) -> None:
    executor = make_executor(1)
    submit(executor, 1, "suspect.segfault", crashes=1)
    executor._careful_until = 0.0
    outcome = outcomes.get(timeout=WAIT_SECONDS)
    executor.settle(outcome.lease)

    submit(executor, 2, "suspect.pid")

    assert outcome.verdict == "crashed"
    assert pid_of(outcomes) != os.getpid()


def test_a_slot_with_nothing_to_do_gives_up_its_process(
    executor: Executor, outcomes: SimpleQueue[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CAREFUL_SECONDS", 0.05)
    closed = threading.Event()
    close = Cell.close
    monkeypatch.setattr(Cell, "close", lambda cell: (close(cell), closed.set()))
    submit(executor, 1, "suspect.pid", crashes=1)
    pid = pid_of(outcomes)

    assert closed.wait(WAIT_SECONDS)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_when_no_process_can_be_made_a_suspect_waits_and_all_others_run_on_threads(
    executor: Executor, outcomes: SimpleQueue[Outcome]
) -> None:
    assert not executor.is_crippled
    kill(executor._isolation)

    submit_all(executor, [claimed(kind="suspect.pid", token=f"{number}-abcd", crashes=number) for number in (0, 1)])

    ended = [outcomes.get(timeout=WAIT_SECONDS), outcomes.get(timeout=WAIT_SECONDS)]
    harmless, suspect = sorted(ended, key=lambda outcome: outcome.lease.job.crashes)
    assert json.loads(harmless.result or b"") == os.getpid()
    assert (suspect.verdict, suspect.delay_ms) == ("failed", 30_000)
    assert suspect.error is not None
    assert suspect.error.type == "CellUnavailable"
    assert executor.is_crippled


def test_once_the_processes_are_ended_nothing_that_should_run_apart_runs(
    executor: Executor, outcomes: SimpleQueue[Outcome]
) -> None:
    executor.end_isolated()

    submit(executor, 1, "suspect.pid", crashes=1)

    assert outcomes.get(timeout=WAIT_SECONDS).verdict == "lost"


def pid_of(outcomes: SimpleQueue[Outcome]) -> int:
    """Return the process in which the next attempt ended."""
    return int(outcomes.get(timeout=WAIT_SECONDS).result or b"")
