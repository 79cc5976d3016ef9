"""Jobs that kill their worker, never end, or recurse without end, among jobs that do no harm."""

from __future__ import annotations

import pytest

from queueing import Inspector, NewJob, State
from tests.system.faults.rig import Rig, work

POISON = {
    "faults.exit": ("LeaseExpired", NewJob.of("faults.exit")),
    "faults.segfault": ("LeaseExpired", NewJob.of("faults.segfault")),
    "faults.loop": ("AttemptTimeout", NewJob.of("faults.loop", timeout_seconds=0.5, max_attempts=1)),
    "faults.recurse": ("RecursionError", NewJob.of("faults.recurse", max_attempts=1)),
}


@pytest.mark.timeout(900)
def test_poison_jobs_end_dead_with_the_reason_and_all_others_finish(rig: Rig, soak: bool) -> None:
    """Each process runs one job at a time: a job that shares a process with poison crashes with it."""
    rig.environment["LEASE_SECONDS"] = 3
    of_each = 5 if soak else 1
    jobs = [work(rig.random.uniform(0, 0.02)) for _ in range(400 * of_each)]
    jobs += [job for _, job in POISON.values() for _ in range(of_each)]
    rig.random.shuffle(jobs)
    rig.enqueue(jobs)

    parent = rig.start_worker("--processes", "2", "--concurrency", "1")
    rig.wait_until_done(600)
    crashes = sum(event.get("action") == "child_died" for event in parent.events)
    code = rig.terminate(parent)

    stored = rig.stored()
    reasons: dict[str, set[str]] = {}
    for job_id, state in stored.items():
        job = Inspector(rig.client).job(job_id)
        if state is not State.SUCCEEDED:
            reasons.setdefault(job.kind, set()).add(f"{state}: {job.error.type if job.error else ''}")
    rig.say(jobs=len(jobs), poison=4 * of_each, crashes_of_workers=crashes, ended_otherwise=reasons)
    assert reasons == {kind: {f"dead: {reason}"} for kind, (reason, _) in POISON.items()}
    assert rig.states() == {"succeeded": 400 * of_each, "dead": 4 * of_each}
    assert code == 0
