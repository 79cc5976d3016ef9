"""kill -9 of the database server under load, with its workers and producers left running."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.system.faults.rig import Rig, work
from tests.system.processes import RunWorker, wait_until

CLAIMING_AGAIN_SECONDS = 5.0


def gaps(rig: Rig, soak: bool) -> list[float]:
    """Return for how long the server stays away each time."""
    if soak:
        return [0.1, 0.3, 1, 2, 3, 5, 10, 30, 60, 90]
    return [0.1, rig.random.uniform(0.2, 1), rig.random.uniform(2, 3)]


def first_start(rig: Rig, worker: RunWorker, after: float) -> float | None:
    """Return when a worker started a job for the first time after some moment."""
    starts = [run.started_at for run in rig.history().executions if run.pid == worker.pid and run.started_at > after]
    return min(starts, default=None)


@pytest.mark.timeout(600)
def test_killing_the_server_loses_no_acknowledged_job_and_workers_claim_again_within_5_s(rig: Rig, soak: bool) -> None:
    workers = rig.start_workers(2, "--concurrency", "4")
    waits: list[float] = []

    with rig.producing(*(itertools.repeat(work(0.005)) for _ in range(2))) as producers:
        for gap in gaps(rig, soak):
            time.sleep(rig.random.uniform(0.2, 0.6))
            rig.server.kill()
            time.sleep(gap)
            rig.server.start()
            back_at = time.monotonic()
            for worker in workers:
                wait_until(lambda: first_start(rig, worker, back_at) is not None, 15)  # noqa: B023 - called at once
                waits.append((first_start(rig, worker, back_at) or 0) - back_at)
        for producer in producers:
            producer.stop()
    rig.wait_until_done()

    history = rig.assert_sound()
    rig.say(
        kills=len(waits) // 2,
        acknowledged=len(history.acknowledged),
        lost=0,
        overlapping=0,
        sent_again=sum(producer.repeated for producer in producers),
        ran_again_though_done=sum(count - 1 for count in history.completed.values()),
        longest_wait_for_a_claim_seconds=f"{max(waits):.2f}",
    )
    assert max(waits) <= CLAIMING_AGAIN_SECONDS
    assert [worker.process.poll() for worker in workers] == [None, None]
