"""kill -9 of workers under load."""

from __future__ import annotations

import pytest

from queueing import State
from tests.system.faults.rig import Rig, every, is_alive, work

WORKERS, SLOTS = 3, 4
LEASE_SECONDS = 2.0


@pytest.mark.timeout(900)
def test_killing_workers_loses_no_job_and_runs_none_twice_at_once(rig: Rig, soak: bool) -> None:
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    workers = rig.start_workers(WORKERS, "--concurrency", str(SLOTS))
    jobs = [work(rig.random.uniform(0, 0.025)) for _ in range(100_000 if soak else 5_000)]

    def strike() -> None:
        victim = rig.random.randrange(WORKERS)
        rig.kill(workers[victim])
        workers[victim] = rig.start_worker("--concurrency", str(SLOTS))

    with rig.producing(jobs[::2], jobs[1::2]) as producers:
        kills = every((0.5, 2.0), strike, rig, until=lambda: not is_alive(producers))
    rig.wait_until_done()

    history = rig.assert_sound()
    cut = [execution for pid in history.deaths for execution in history.cut_short_by(pid)]
    waits = [history.seconds_to_next_start(execution) for execution in cut]
    repeated = sum(count - 1 for count in history.completed.values())
    rig.say(
        jobs=len(history.acknowledged),
        kills=kills,
        lost=0,
        overlapping=0,
        cut_short=len(cut),
        ran_again_though_done=repeated,
        longest_restart_seconds=f"{max(waits, default=0):.2f}",
    )
    assert kills > 0
    assert len(history.acknowledged) == len(jobs)
    assert set(rig.stored().values()) <= {State.SUCCEEDED}
    assert repeated <= kills * SLOTS
    assert max(waits, default=0) <= LEASE_SECONDS + 3
