"""kill -9 of workers under load."""

from __future__ import annotations

import time
from statistics import median

import pytest

from queueing import Inspector, Policy, State
from tests.system.faults.checker import Execution, History
from tests.system.faults.rig import Rig, every, is_alive, work

WORKERS, SLOTS = 6, 4
LEASE_SECONDS = 2.0


@pytest.mark.timeout(900)
def test_killing_workers_loses_no_job_and_runs_none_twice_at_once(rig: Rig, soak: bool) -> None:
    """A job whose worker was killed runs in a process of its own next.

    So the short form, which shares its machine with other tests, allows for as long as processes take to start there.
    When the next holder was killed, too, before it could begin, the job has the same time again.
    """
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    began = time.monotonic()
    workers = rig.start_workers(WORKERS, "--concurrency", str(SLOTS))
    allowance = 0.0 if soak else time.monotonic() - began
    jobs = [work(rig.random.uniform(0, 0.05)) for _ in range(100_000 if soak else 5_000)]

    def strike() -> None:
        victim = rig.random.randrange(WORKERS)
        rig.kill(workers[victim])
        workers[victim] = rig.start_worker("--concurrency", str(SLOTS))

    with rig.producing(jobs[::2], jobs[1::2]) as producers:
        kills = every((0.5, 2.0), strike, rig, until=lambda: not is_alive(producers))
    rig.wait_until_done()

    history, stored = rig.assert_sound(), rig.stored()
    dead = {job_id for job_id, state in stored.items() if state is State.DEAD}
    cut = [execution for pid in history.deaths for execution in history.cut_short_by(pid)]
    waits = [wait_after(history, execution) for execution in cut if execution.job not in dead]
    repeated = sum(count - 1 for count in history.completed.values())
    rig.say(
        jobs=len(history.acknowledged),
        kills=kills,
        lost=0,
        overlapping=0,
        cut_short=len(cut),
        ran_again_though_done=repeated,
        dead_after_three_kills=len(dead),
        median_restart_seconds=f"{median(waits):.2f}" if waits else "none",
        longest_restart_seconds=f"{max(waits, default=0):.2f}",
    )
    assert kills > 0
    assert len(history.acknowledged) == len(jobs)
    assert set(stored.values()) <= {State.SUCCEEDED, State.DEAD}
    assert all(outcomes(rig, job_id) == ["lost"] * Policy().max_crashes for job_id in dead)
    assert repeated <= kills * SLOTS
    assert max(waits, default=0) <= LEASE_SECONDS + 3 + allowance


def wait_after(history: History, execution: Execution) -> float:
    """Return for how long a job waited after a kill until it was started again, for each kill that it took."""
    after = history.next_start(execution)
    assert after is not None
    return (after.started_at - execution.ended_at) / (after.attempt - execution.attempt)


def outcomes(rig: Rig, job_id: str) -> list[str]:
    """Return how the attempts of a job ended."""
    return [str(attempt.outcome) for attempt in Inspector(rig.client).job(job_id).attempts]
