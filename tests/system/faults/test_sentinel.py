"""kill -9 of the primary behind Sentinels, under load: a replica takes over, and the killed server becomes one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queueing import Durability, NewJob
from tests.system.faults.api import ANSWER_SECONDS, SUBMIT, Callers, refused_id
from tests.system.faults.rig import KEYS, Rig, work
from tests.system.processes import wait_until
from tests.topologies import DOWN_AFTER_SECONDS, SentinelGroup

WORKERS, CALLERS = 2, 4
SERVED_AGAIN_SECONDS = DOWN_AFTER_SECONDS + 5.0
LEASE_SECONDS = 2
LATER = NewJob.of("faults.work", {"seconds": 0}, delay_seconds=3600)


@pytest.fixture
def group(folder: Path) -> Iterator[SentinelGroup]:
    with SentinelGroup(folder / "servers") as group:
        yield group


@pytest.fixture
def rig(folder: Path, seed: int, group: SentinelGroup) -> Iterator[Rig]:
    rig = Rig(folder, seed, group)
    yield rig
    rig.close()


def accepted_again(callers: Callers) -> float:
    """Wait until each caller has had a job accepted, or nearly; return how many seconds that took."""
    before = callers.accepted
    return wait_until(lambda: callers.accepted >= before + CALLERS)


@pytest.mark.timeout(1200)
def test_killing_the_primary_loses_no_replicated_job_and_everybody_follows(
    rig: Rig, group: SentinelGroup, soak: bool
) -> None:
    (watched,) = rig.enqueue([LATER])
    workers = rig.start_workers(WORKERS, "--concurrency", "4")
    api = rig.start_api()
    api.wait_until_serving()
    away, followed, back = [], [], []

    with (
        rig.producing(
            *(itertools.repeat(work(0.005)) for _ in range(2)), durability=Durability.REPLICATED
        ) as producers,
        rig.calling(lambda: api, CALLERS, watched, durability="replicated") as callers,
    ):
        for _ in range(20 if soak else 2):
            accepted_again(callers)
            primary = group.primary()
            time.sleep(rig.random.uniform(0, 0.5))
            killed_at = time.monotonic()
            primary.kill()
            away.append(accepted_again(callers))
            followed.append(max(rig.wait_for_claims(WORKERS, since=killed_at)))
            primary.start()
            back.append(wait_until(group.is_whole))
        for producer in producers:
            producer.stop()
    wait_until(lambda: rig.client.zcard(KEYS.ready) + rig.client.zcard(KEYS.running) == 0)
    codes = [rig.terminate(worker) for worker in workers]

    history = rig.history()
    verdict = history.verdict(rig.stored())
    submits = [answer for answer in callers.answers if answer.call == SUBMIT]
    rig.say(
        kills=len(away),
        acknowledged=len(history.acknowledged),
        lost=len(verdict.lost),
        sent_again=sum(producer.repeated for producer in producers),
        ran_at_once_under_two_leases=len(verdict.overlapping),
        slowest_answer=f"{max(answer.seconds for answer in callers.answers):.2f}",
        submits_accepted_again_after=f"{max(away):.2f}",
        workers_claimed_again_after=f"{max(followed):.2f}",
        killed_server_a_replica_after=f"{max(back):.2f}",
    )
    assert verdict.lost == set()
    # A primary that dies before it answers may have given the job to a worker; the one sent again is then another
    unnamed = [answer for answer in submits if answer.status == 503 and not refused_id(answer)]
    assert len(verdict.unexpected) <= len(unnamed)
    assert verdict.unexpected.isdisjoint(rig.stored())
    assert verdict.disordered == []
    rig.assert_agreeing()
    assert max(away) <= SERVED_AGAIN_SECONDS
    assert max(answer.seconds for answer in callers.answers) <= ANSWER_SECONDS
    assert {answer.status for answer in submits} <= {201, 503}
    assert codes == [0] * WORKERS
