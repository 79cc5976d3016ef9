"""Jobs that kill their process, never end, recurse without end or take all memory, among jobs that do no harm."""

from __future__ import annotations

from collections import defaultdict
from itertools import cycle, islice

import pytest

from queueing import Attempt, Inspector, NewJob
from tests.system.faults.rig import Rig, work

REASONS = {
    "faults.exit": "Crashed: exit code 9",
    "faults.segfault": "Crashed: signal 11 (SIGSEGV)",
    "faults.loop": "AttemptTimeout",
    "faults.recurse": "RecursionError",
    "faults.hoard": "MemoryError",
}
LIMIT_MB = 1024


def poison(count: int) -> list[NewJob]:
    """Return poison of every kind, as many of each; what kills its process may try that more often than it can."""
    options = {
        "faults.exit": {"max_attempts": 5},
        "faults.segfault": {"max_attempts": 5},
        "faults.loop": {"max_attempts": 2, "timeout_seconds": 0.25},
        "faults.recurse": {"max_attempts": 2},
        "faults.hoard": {"max_attempts": 2},
    }
    return [NewJob.of(kind, **options[kind]) for kind in islice(cycle(options), count)]


def run(rig: Rig, jobs: list[NewJob], concurrency: int) -> list[str]:
    """Let two processes do the jobs, and return their ids."""
    ids = rig.enqueue(jobs)
    arguments = ["--processes", "2", "--concurrency", str(concurrency), "--memory-limit-mb", str(LIMIT_MB)]
    parent = rig.start_worker(*arguments)
    rig.wait_until_done(1_200)
    assert rig.terminate(parent) == 0
    return ids


def seconds_of(rig: Rig, ids: list[str]) -> float:
    """Return how long it took to complete these jobs, from the first start on."""
    executions = [execution for execution in rig.history().executions if execution.job in set(ids)]
    ends = [execution.ended_at for execution in executions if execution.is_complete]
    return max(ends) - min(execution.started_at for execution in executions)


def ends_of(rig: Rig, ids: list[str]) -> dict[str, set[str]]:
    """Return for each kind in which states its jobs are, and why: an attempt that others cut short tells nothing."""
    ends: dict[str, set[str]] = defaultdict(set)
    for job_id in ids:
        job = Inspector(rig.client).job(job_id)
        telling = [attempt for attempt in job.attempts if attempt.outcome != "lost"] or job.attempts
        ends[job.kind] |= {f"{job.state} {reason_of(attempt)}".rstrip() for attempt in telling}
    return ends


def reason_of(attempt: Attempt) -> str:
    """Return why an attempt failed, empty if it did not."""
    if attempt.error is None:
        return ""
    return f"Crashed: {attempt.error.message}" if attempt.error.type == "Crashed" else attempt.error.type


@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_percent_of_poison_ends_dead_and_costs_the_others_little(rig: Rig, soak: bool, concurrency: int) -> None:
    """Only the long form judges the cost: in the short one the first crash, a restart and a lease, is most of it."""
    rig.environment["LEASE_SECONDS"] = 3 if soak else 1
    harmless = [work(rig.random.uniform(0, 0.1)) for _ in range(10_000 if soak else 100 + 30 * concurrency)]
    mix = [*harmless, *poison(100 if soak else 5)]
    rig.random.shuffle(mix)
    baseline = seconds_of(rig, run(rig, harmless, concurrency)) if soak else 0.0

    ids = run(rig, mix, concurrency)

    seconds = seconds_of(rig, [job_id for job_id, job in zip(ids, mix, strict=True) if job.kind == "faults.work"])
    restarts = sum(event.get("action") == "child_died" for event in rig.workers[-1].events)
    figures = {"baseline_seconds": f"{baseline:.1f}", "ratio": f"{baseline / seconds:.2f}"} if soak else {}
    rig.say(concurrency=concurrency, jobs=len(mix), restarts=restarts, seconds=f"{seconds:.1f}", **figures)
    assert ends_of(rig, ids) == {"faults.work": {"succeeded"}} | {kind: {f"dead {REASONS[kind]}"} for kind in REASONS}
    rig.assert_sound()
    assert not soak or baseline / seconds >= 0.7


def test_a_second_crash_hits_no_other_job(rig: Rig) -> None:
    """All eight lose their lease with the first process; then each has one of its own."""
    rig.environment["LEASE_SECONDS"] = 2
    jobs = [*[work(1.5)] * 7, NewJob.of("faults.exit")]

    ids = run(rig, jobs, concurrency=8)

    attempts = [Inspector(rig.client).job(job_id).attempts for job_id in ids]
    outcomes = [[attempt.outcome for attempt in of_one] for of_one in attempts]
    rig.say(outcomes=outcomes)
    assert outcomes == [["lost", "succeeded"]] * 7 + [["lost", "failed", "failed"]]
    assert ends_of(rig, ids)["faults.exit"] == {"dead Crashed: exit code 9"}
