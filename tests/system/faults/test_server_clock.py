"""The clock of the database server jumps and drifts, while leases end by it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from queueing import NewJob, State
from tests.system.faults.rig import KEYS, Rig, work
from tests.system.faults.servers import ClockServer
from tests.system.processes import wait_until

LEASE_SECONDS = 2.0
JOB_SECONDS = 3 * LEASE_SECONDS
JOBS, SLOTS = 8, 8  # of two workers: half of their slots are free for what is taken back too early
BACK_SECONDS = 60
OTHER = "other"  # a queue that no worker serves


@pytest.fixture
def clock(folder: Path) -> ClockServer:
    """Give the server whose clock can be set."""
    return ClockServer(folder)


@pytest.fixture
def rig(folder: Path, seed: int, clock: ClockServer) -> Iterator[Rig]:
    """Give a rig on that server, running."""
    rig = Rig(folder, seed)
    rig.server = clock
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    try:
        clock.start()
        yield rig
    finally:
        rig.close()


def clocks(rig: Rig, soak: bool) -> list[float]:
    """Return how far ahead the clock is from each moment to the next."""
    flapping = [60.0, -60.0] * 3
    drifting = [second / 30 for second in range(60)]  # 2 s a minute
    if not soak:
        return [60.0, 0.0, -60.0, *flapping, 0.0]
    jumps = [rig.random.choice([-3600.0, -60.0, -3.0, 0.0, 3.0, 60.0, 3600.0]) for _ in range(100)]
    return [60.0, 0.0, -60.0, 0.0, *flapping * 3, *drifting, *jumps, 0.0]


def top_up(rig: Rig) -> None:
    """Let as many jobs be there as are to run at once."""
    missing = JOBS - rig.client.zcard(KEYS.running) - rig.client.zcard(KEYS.ready)
    rig.enqueue([work(JOB_SECONDS)] * max(0, missing))


def next_fence(rig: Rig) -> int:
    """Claim a job that no worker takes, and return its fence."""
    rig.broker.enqueue(OTHER, NewJob.of("echo"))
    return rig.broker.claim(OTHER, "host:1:a").jobs[0].fence


@pytest.mark.timeout(900)
def test_no_live_lease_is_taken_back_however_the_clock_jumps(rig: Rig, clock: ClockServer, soak: bool) -> None:
    """Neither by a worker that sees the jump nor by one that starts just after it; and fences go on rising."""
    rig.start_workers(2, "--concurrency", str(SLOTS))
    fences, settings = [next_fence(rig)], clocks(rig, soak)

    for number, ahead_seconds in enumerate(settings):
        top_up(rig)
        wait_until(lambda: rig.client.zcard(KEYS.ready) == 0)
        time.sleep(rig.random.uniform(0.2, 1))
        clock.set_clock(ahead_seconds)
        if number in (0, 2) or rig.random.random() < 0.1:
            rig.start_worker("--max-seconds", "5")
        fences.append(next_fence(rig))
    rig.wait_until_done()

    history = rig.assert_sound()
    rig.say(
        settings=len(settings),
        workers=len(rig.workers),
        jobs=len(history.acknowledged),
        reaped=int(rig.client.hget(KEYS.meta, "reaped") or 0),
        fences_out_of_order=sum(later <= earlier for earlier, later in pairwise(fences)),
    )
    assert rig.client.hget(KEYS.meta, "reaped") is None
    assert [execution.attempt for execution in history.executions] == [1] * len(history.acknowledged)
    assert all(earlier < later for earlier, later in pairwise(fences))


def waits_after_a_death_with_a_jump_back(rig: Rig, clock: ClockServer) -> list[float]:
    """Kill a worker and put the clock back; returns how long each of its jobs waited for its next start."""
    clock.set_clock(0)
    victim = rig.start_worker("--concurrency", "4")
    rig.enqueue([work(5 * LEASE_SECONDS)] * 4)
    wait_until(lambda: rig.client.zcard(KEYS.running) == 4)
    other = rig.start_worker("--concurrency", "4")
    wait_until(lambda: rig.has_shown_itself(other))
    time.sleep(rig.random.uniform(1.3, 2.3))  # in which the other looks at the clock

    clock.set_clock(-BACK_SECONDS)
    rig.kill(victim)

    def waits() -> list[float]:
        history = rig.history()
        return [history.seconds_to_next_start(execution) for execution in history.cut_short_by(victim.pid)]

    wait_until(lambda: max(waits(), default=0) < math.inf)
    return waits()


@pytest.mark.timeout(300)
def test_a_job_whose_worker_dies_as_the_clock_is_put_back_does_not_wait_for_the_clock_to_catch_up(
    rig: Rig, clock: ClockServer, soak: bool
) -> None:
    """It waits for about two leases; and its next fence is higher, though the clock shows an earlier time."""
    waits = waits_after_a_death_with_a_jump_back(rig, clock)
    for _ in range(9 if soak else 0):
        rig.wait_until_done()
        assert rig.terminate(rig.workers[-1]) == 0
        waits += waits_after_a_death_with_a_jump_back(rig, clock)

    history = rig.assert_sound()
    rig.say(jobs=len(history.acknowledged), cut_short=len(waits), longest_restart_seconds=f"{max(waits):.2f}")
    assert len(waits) == len(history.acknowledged)
    assert max(waits) < BACK_SECONDS / 4


@pytest.mark.timeout(120)
def test_scheduled_jobs_wait_until_they_are_due_by_the_servers_clock(rig: Rig, clock: ClockServer, soak: bool) -> None:
    rig.start_workers(1, "--concurrency", "4")
    delays = [rig.random.uniform(0, 100) for _ in range(500 if soak else 50)]
    ids = rig.enqueue([NewJob.of("faults.work", {"seconds": 0}, delay_seconds=delay) for delay in delays])
    done_at = []

    for ahead_seconds in (0, 30, 0, 60, -60, 60, 110):
        clock.set_clock(ahead_seconds)
        time.sleep(rig.random.uniform(0.3, 1))
        done_at.append(rig.client.zcard(KEYS.succeeded))
    rig.wait_until_done()

    records = [rig.client.hmget(KEYS.job(job_id), "d", "st") for job_id in ids]
    early = sum(int(started_ms) < int(due_ms) for due_ms, started_ms in records)
    rig.say(jobs=len(ids), done_after_each_setting=done_at, before_due=early)
    assert early == 0
    assert done_at[0] < done_at[1] < done_at[3] < done_at[6]
    assert set(rig.stored().values()) == {State.SUCCEEDED}
