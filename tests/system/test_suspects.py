"""Jobs that crashed before, in real processes: what becomes of theirs when the worker ends, and of their memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from tests.system.processes import RunWorker, is_running, wait_until
from tests.worker.rig import suspected
from worker.memory import least_limit_mb

Start = Callable[..., RunWorker]


@pytest.fixture
def start(run_worker: Start) -> Start:
    """Start a worker that knows the handlers of `tests.worker.suspects`."""
    return lambda *arguments: run_worker(*arguments, DJANGO_SETTINGS_MODULE="tests.worker.suspects.settings")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def processes_of(fifo: Path) -> list[int]:
    """Return the process that a suspect runs in and the one that made it, once it runs."""
    return [int(pid) for pid in fifo.read_text().split()]


def test_a_killed_worker_takes_the_processes_of_its_suspects_along(
    start: Start, broker: Broker, valkey: Redis, fifo: Path
) -> None:
    suspected(valkey, broker.enqueue("default", NewJob.of("suspect.work", str(fifo))).id)
    worker = start()
    pids = processes_of(fifo)

    worker.kill()

    wait_until(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize("arguments", [[], ["--processes", "2"]], ids=["alone", "supervised"])
def test_a_stopped_worker_gives_a_suspect_back_and_leaves_no_process(
    start: Start, broker: Broker, valkey: Redis, inspector: Inspector, fifo: Path, arguments: list[str]
) -> None:
    job_id = suspected(valkey, broker.enqueue("default", NewJob.of("suspect.work", str(fifo))).id)
    worker = start("--grace-seconds", "0.2", *arguments)
    pids = processes_of(fifo)

    worker.terminate()

    assert worker.wait() == 0
    assert not any(is_running(pid) for pid in pids)
    assert (inspector.job(job_id).state, inspector.job(job_id).attempt) == (State.READY, 0)


def test_a_stop_signal_to_every_process_lets_a_suspect_finish(
    start: Start, broker: Broker, valkey: Redis, inspector: Inspector, fifo: Path
) -> None:
    """Service managers do so (KillMode=control-group)."""
    new = NewJob.of("suspect.work", str(fifo), timeout_seconds=2, max_attempts=2)
    job_id = suspected(valkey, broker.enqueue("default", new).id)
    worker = start()
    pids = processes_of(fifo)

    for pid in (worker.pid, *pids):
        os.kill(pid, signal.SIGTERM)

    assert worker.wait() == 0
    assert inspector.job(job_id).error.type == "AttemptTimeout"
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize("crashes", [0, 1], ids=["on a thread", "apart"])
def test_what_needs_more_memory_than_the_limit_fails_and_its_neighbour_succeeds(
    start: Start, broker: Broker, valkey: Redis, inspector: Inspector, crashes: int
) -> None:
    new = NewJob.of("suspect.hoard", 2 * 1024**3, max_attempts=1)
    hoard, modest = (broker.enqueue("default", job).id for job in (new, NewJob.of("suspect.hoard", 50_000_000)))
    if crashes:
        suspected(valkey, hoard)

    worker = start("--drain", "--concurrency", "2", "--memory-limit-mb", "320")

    assert worker.wait() == 0
    assert (inspector.job(hoard).state, inspector.job(hoard).error.type) == (State.DEAD, "MemoryError")
    assert (inspector.job(modest).state, inspector.job(modest).result) == (State.SUCCEEDED, b"50000000")


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_worker_can_live_with_the_least_limit(
    start: Start, broker: Broker, inspector: Inspector, concurrency: int
) -> None:
    broker.enqueue_many("default", [NewJob.of("suspect.pid")] * 50)
    limit = str(least_limit_mb(concurrency))

    worker = start("--drain", "--concurrency", str(concurrency), "--memory-limit-mb", limit)

    assert worker.wait() == 0
    assert inspector.stats("default").counts[State.SUCCEEDED] == 50


def test_a_limit_of_the_settings_that_is_too_low_is_a_wrong_configuration(run_worker: Start) -> None:
    worker = run_worker("--drain", MEMORY_LIMIT_MB=20)

    assert worker.wait() == 78
    assert "MEMORY_LIMIT_MB: 20 is too little" in worker.output
