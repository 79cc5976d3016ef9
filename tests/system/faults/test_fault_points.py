"""Each fault point of our code, under load: the process ends there without a word, or an exception strikes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from queueing import NewJob
from queueing.fault_points import EXIT_CODE, POINTS
from tests.system.faults.api import Api, Callers
from tests.system.faults.rig import KEYS, Replaced, Rig, work
from tests.system.processes import RunWorker, wait_until

LEASE_SECONDS = 1.0
CALLERS = 4
ENDS = {EXIT_CODE, 1}  # of a process that exits at a point, and of one in which it raises
API_POINT = "after_enqueue"
SHARES = {  # of the passes of each point that fail; a worker claims hundreds of times, but reaps seldom
    "after_claim": 0.04,
    "before_ack": 0.04,
    "after_ack": 0.04,
    "before_extend": 0.3,
    "after_reap": 0.7,
    "before_promote": 0.4,
}


def test_every_fault_point_is_tested() -> None:
    assert {API_POINT, *SHARES} == POINTS


def mixed(rig: Rig) -> Iterator[NewJob]:
    """Yield jobs of which some outlast a third of a lease, and some are due later."""
    while True:
        luck = rig.random.random()
        if luck < 0.03:
            yield work(rig.random.uniform(0.4, 0.8))
        elif luck < 0.1:
            yield NewJob.of("faults.work", {"seconds": 0}, delay_seconds=rig.random.uniform(0, 1))
        else:
            yield work(rig.random.uniform(0, 0.01))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", SHARES)
def test_workers_that_fail_at_a_point_lose_no_job_and_run_none_twice_at_once(rig: Rig, point: str, soak: bool) -> None:
    """Of two workers one exits at the point and the other raises, a third leaves jobs to reap; each is replaced."""
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    least = 2_000 if soak else 200

    def start(fault: str) -> RunWorker:
        return rig.start_worker("--concurrency", "4", FAULTS=seeded(rig, fault))

    faults = [f"{point}=exit:{SHARES[point]}", f"{point}=raise:{SHARES[point]}", "after_claim=exit:0.02"]
    with rig.replacing(*(partial(start, fault) for fault in faults)) as kept:
        with rig.producing(mixed(rig), mixed(rig)) as producers:
            wait_until(lambda: kept.ends.keys() >= ENDS and stored_of(rig) >= least, 300)
            for producer in producers:
                producer.stop()
        rig.wait_until_done()

    history = rig.assert_sound()
    rig.say(point=point, jobs=len(history.acknowledged), ends=dict(kept.ends), lost=0, overlapping=0, **rig.states())
    assert kept.ends.keys() == ENDS
    assert set(rig.stored()) == history.attempted


def seeded(rig: Rig, fault: str) -> str:
    """Return what makes a process fail at other passes than the one before it."""
    return f"{fault},seed={rig.random.randrange(1_000_000)}"


def stored_of(rig: Rig) -> int:
    return int(rig.client.hget(KEYS.meta, "submitted") or 0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", ["exit", "raise"])
def test_an_api_that_fails_after_it_stored_a_job_stores_none_twice(rig: Rig, action: str, soak: bool) -> None:
    """Its clients send each submission again, under its key, until it is accepted."""
    least = 1_000 if soak else 50
    fault = f"{API_POINT}={action}:0.04"
    watched = rig.enqueue([work(0)])[0]

    with (
        rig.replacing(lambda: rig.start_api(FAULTS=seeded(rig, fault))) as kept,
        rig.calling(lambda: kept.running[0], CALLERS, watched) as callers,
    ):
        wait_until(lambda: callers.accepted >= least and failures(kept, callers) >= 1, 300)
    kept.running[0].kill()
    assert rig.start_worker("--drain", "--concurrency", "4").wait(60) == 0

    history = rig.assert_sound()
    rig.say(
        point=API_POINT,
        action=action,
        accepted=callers.accepted,
        failures=failures(kept, callers),
        lost=0,
        stored_twice=len(rig.stored()) - len(history.acknowledged),
    )
    assert set(rig.stored()) == history.acknowledged
    assert set(history.completed.values()) == {1}


def failures(kept: Replaced[Api], callers: Callers) -> int:
    """Return how often the point struck: the process ended, or an exception was answered with 500."""
    return kept.ends.total() + sum(answer.status == 500 for answer in callers.answers)
