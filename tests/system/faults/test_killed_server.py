"""kill -9 of the database server under load, with its workers and producers left running."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.system.faults.rig import CLAIMING_AGAIN_SECONDS, KEYS, Rig, work
from tests.system.processes import wait_until

PROCESSES = 2
LONG_GAPS = (0.1, 0.3, 1, 2, 5, 10, 20, 32, 60, 90)  # beyond 30 s a worker ends, and its supervisor starts another


def gaps(rig: Rig, soak: bool) -> list[float]:
    """Return for how long the server stays away each time."""
    if soak:
        return rig.random.sample(LONG_GAPS, len(LONG_GAPS))
    return [0.1, rig.random.uniform(0.2, 1), rig.random.uniform(2, 3)]


@pytest.mark.timeout(600)
def test_killing_the_server_loses_no_acknowledged_job_and_workers_claim_again_within_5_s(rig: Rig, soak: bool) -> None:
    supervisor = rig.start_worker("--processes", str(PROCESSES), "--concurrency", "4")
    wait_until(lambda: rig.client.hlen(KEYS.workers) == PROCESSES)
    waits: dict[float, float] = {}

    with rig.producing(*(itertools.repeat(work(0.005)) for _ in range(2))) as producers:
        for gap in gaps(rig, soak):
            time.sleep(rig.random.uniform(0.2, 0.6))
            rig.server.kill()
            time.sleep(gap)
            rig.server.start()
            waits[gap] = max(rig.wait_for_claims(PROCESSES, since=time.monotonic()))
        for producer in producers:
            producer.stop()
    rig.wait_until_done()
    replaced = sum(event.get("action") == "child_died" for event in supervisor.events)
    code = rig.terminate(supervisor)

    history = rig.assert_sound()
    rig.say(
        kills=len(waits),
        acknowledged=len(history.acknowledged),
        lost=0,
        overlapping=0,
        sent_again=sum(producer.repeated for producer in producers),
        ran_again_though_done=sum(count - 1 for count in history.completed.values()),
        workers_replaced=replaced,
        seconds_to_the_last_worker_s_claim={f"{gap:.1f}": f"{wait:.2f}" for gap, wait in waits.items()},
    )
    assert max(waits.values()) <= CLAIMING_AGAIN_SECONDS
    assert code == 0
