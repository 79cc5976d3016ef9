"""The network between the database server and some of its clients is cut, both ways, and heals."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from queueing import NewJob
from tests.system.faults.api import ANSWER_SECONDS, CALLS, statuses
from tests.system.faults.network import network
from tests.system.faults.rig import CLAIMING_AGAIN_SECONDS, KEYS, Rig, work
from tests.system.processes import wait_until

LEASE_SECONDS = 1.0
CALLERS, SLOTS = 8, 4
LATER = NewJob.of("faults.work", {"seconds": 0}, delay_seconds=3600)

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("default::tests.system.faults.network.NotIsolated")]


def mixed(rig: Rig) -> Iterator[NewJob]:
    """Yield jobs of which some run for longer than a lease."""
    while True:
        yield work(rig.random.uniform(1, 1.5) if rig.random.random() < 0.1 else rig.random.uniform(0, 0.05))


def test_jobs_of_workers_that_are_cut_off_run_elsewhere_and_never_under_two_live_leases(rig: Rig, soak: bool) -> None:
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    cuts = [rig.random.uniform(2, 40) for _ in range(6)] if soak else [rig.random.uniform(2, 3)]
    waits: list[float] = []

    with network(rig) as between:
        arguments = ("--processes", "2", "--concurrency", str(SLOTS))
        far = rig.start_worker(*arguments, within=between.within, REDIS_URL=between.url)
        rig.start_worker("--concurrency", str(SLOTS))
        wait_until(lambda: rig.client.hlen(KEYS.workers) == 3)
        with rig.producing(mixed(rig), mixed(rig)) as producers:
            for seconds in cuts:
                rig.wait_for_claims(3, since=time.monotonic())
                between.cut()
                time.sleep(seconds)
                between.heal()
                waits += rig.wait_for_claims(3, since=time.monotonic())
            for producer in producers:
                producer.stop()
        rig.wait_until_done()
        code = rig.terminate(far)

    history = rig.assert_sound()
    moved = [job for job, runs in history.by_job.items() if len({run.pid for run in runs}) > 1]
    rig.say(
        by=between.name,
        cuts=len(cuts),
        longest_cut_seconds=f"{max(cuts):.1f}",
        acknowledged=len(history.acknowledged),
        ran_elsewhere_too=len(moved),
        lost=0,
        overlapping=0,
        longest_wait_for_a_claim_seconds=f"{max(waits):.2f}",
    )
    assert moved
    assert max(waits) <= CLAIMING_AGAIN_SECONDS
    assert code == 0


def test_an_api_that_is_cut_off_answers_503_within_2_s(rig: Rig, soak: bool) -> None:
    watched = rig.enqueue([LATER])[0]

    with network(rig) as between:
        api = rig.start_api(host=between.host, within=between.within, REDIS_URL=between.url)
        api.wait_until_serving()
        with rig.calling(lambda: api, CALLERS, watched) as callers:
            wait_until(lambda: callers.accepted >= CALLERS)
            between.cut()
            began = time.monotonic()
            time.sleep(40 if soak else 3)
            ended = time.monotonic()
            between.heal()
            accepted = callers.accepted
            served_again = wait_until(lambda: callers.accepted >= accepted + CALLERS)

    meanwhile = [answer for answer in callers.answers if began <= answer.began and answer.ended <= ended]
    slowest = max(answer.seconds for answer in callers.answers)
    seen = statuses(meanwhile)
    rig.say(
        by=between.name,
        requests=len(meanwhile),
        slowest_answer_seconds=f"{slowest:.2f}",
        statuses="; ".join(f"{call} {of_call}" for call, of_call in seen.items()),
        accepted=callers.accepted,
        stored_twice=0,
        all_callers_served_again_after_seconds=f"{served_again:.2f}",
    )
    assert slowest <= ANSWER_SECONDS
    assert {call: set(of_call) for call, of_call in seen.items()} == {call: {503} for call in CALLS}
    assert {answer.content_type for answer in meanwhile} == {"application/problem+json"}
    assert set(rig.stored()) == rig.history().acknowledged
