"""TERM at random moments."""

from __future__ import annotations

import time

import pytest

from queueing import State
from tests.system.faults.rig import KEYS, Rig, work
from tests.system.processes import RunWorker, wait_until

GRACE_SECONDS = 0.3
LONG_SECONDS = 0.8


@pytest.mark.timeout(900)
def test_term_at_a_random_moment_exits_0_and_nothing_that_finished_runs_again(rig: Rig, soak: bool) -> None:
    """Some jobs are longer than the grace: these are given back, and run again from their beginning."""
    terms, codes = 100 if soak else 10, []
    rig.environment["LEASE_SECONDS"] = 30  # nothing may be reaped meanwhile: what is given back is there at once
    mix = [
        work(LONG_SECONDS if rig.random.random() < 0.015 else rig.random.uniform(0, 0.02)) for _ in range(60 * terms)
    ]
    ids = rig.enqueue(mix)
    arguments = ("--concurrency", "4", "--grace-seconds", str(GRACE_SECONDS))

    told_at: dict[int, float] = {}

    def terminate(worker: RunWorker) -> None:
        wait_until(lambda: rig.has_shown_itself(worker))  # before that it cannot listen, and has claimed nothing
        time.sleep(rig.random.uniform(0, 0.2))
        told_at[worker.pid] = time.monotonic()
        codes.append(rig.terminate(worker))

    worker = rig.start_worker(*arguments)
    for _ in range(terms):
        after = rig.start_worker(*arguments)  # it starts while the other is told to stop
        terminate(worker)
        worker = after
    terminate(worker)
    given_back = rig.client.hget(KEYS.meta, "released") or b"0"
    assert rig.start_worker("--drain", "--concurrency", "16").wait(120) == 0

    history = rig.assert_sound()
    done = [run for run in history.executions if run.is_complete]
    in_time = {run.job for run in done if run.ended_at < told_at.get(run.pid, time.monotonic()) + GRACE_SECONDS}
    times = history.completed
    twice = {job_id for job_id in in_time if times[job_id] > 1}
    rig.say(
        jobs=len(ids), terms=len(codes), exit_codes=set(codes), given_back=int(given_back), finished_twice=len(twice)
    )
    assert set(codes) == {0}
    assert twice == set()
    assert set(times) == set(ids)
    assert set(rig.stored().values()) == {State.SUCCEEDED}
