"""Newest first, and at once: what a worker in a process of its own does with what is submitted."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from queueing import Broker, Inspector, Job, NewJob, State
from tests.system.processes import RunWorker, wait_until

Start = Callable[..., RunWorker]
SUBMITS = 20


def milliseconds_to_start(job: Job) -> float:
    """Return how long after its submission the job was claimed, by the server's clock."""
    assert job.started_at is not None
    return (job.started_at - job.created_at).total_seconds() * 1000


def test_an_idle_worker_starts_a_job_when_it_is_submitted_and_not_at_its_next_poll(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    """A worker that asked once a second would take half a second at the median."""
    run_worker()
    wait_until(lambda: inspector.stats("default").workers)

    ids = []
    for _ in range(SUBMITS):
        ids.append(broker.enqueue("default", NewJob.of("echo")).id)
        wait_until(lambda: inspector.job(ids[-1]).state is State.SUCCEEDED, 5)

    waits = [milliseconds_to_start(inspector.job(job_id)) for job_id in ids]
    print(f"submit to start on an idle worker: median {statistics.median(waits):.0f} ms, longest {max(waits):.0f} ms")  # noqa: T201 - a figure for the reader
    assert statistics.median(waits) < 250


def test_a_scheduled_job_starts_when_it_is_due_and_not_at_the_next_poll(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    run_worker()
    wait_until(lambda: inspector.stats("default").workers)

    late = []
    for _ in range(5):
        job_id = broker.enqueue("default", NewJob.of("echo", delay_seconds=0.2)).id
        wait_until(lambda job_id=job_id: inspector.job(job_id).state is State.SUCCEEDED, 5)
        job = inspector.job(job_id)
        assert job.started_at is not None
        late.append((job.started_at - job.run_at).total_seconds() * 1000)

    print(f"due to start on an idle worker: median {statistics.median(late):.0f} ms, longest {max(late):.0f} ms")  # noqa: T201 - a figure for the reader
    assert min(late) >= 0
    assert statistics.median(late) < 250


def test_jobs_submitted_while_paused_run_strictly_newest_first(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    worker = run_worker("--concurrency", "1", "--max-jobs", "50")
    wait_until(lambda: inspector.stats("default").workers)
    broker.pause("default")
    ids = [broker.enqueue("default", NewJob.of("echo", number)).id for number in range(50)]

    broker.resume("default")

    assert worker.wait() == 0
    ran = [event["job_id"] for event in worker.events if event.get("action") == "attempt"]
    assert ran == ids[::-1]


def test_a_newer_job_overtakes_all_that_wait(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    """With one slot busy, what is submitted meanwhile is the next to run."""
    old = [broker.enqueue("default", NewJob.of("sleep", {"seconds": 0.3})).id for _ in range(3)]
    worker = run_worker("--max-jobs", "4")
    wait_until(lambda: inspector.job(old[-1]).state is State.RUNNING)

    new = broker.enqueue("default", NewJob.of("echo")).id

    assert worker.wait() == 0
    ran = [event["job_id"] for event in worker.events if event.get("action") == "attempt"]
    assert ran == [old[2], new, old[1], old[0]]
