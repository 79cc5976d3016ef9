"""A worker that the operating system stops for longer than its leases last, and then lets go on."""

from __future__ import annotations

import signal
import time

import pytest

from queueing import Claimed, Inspector, JobError, LeaseLost, State
from queueing.jobs import to_ms
from tests.queueing.dump import dump
from tests.system.faults.rig import KEYS, QUEUE, Rig, work
from tests.system.processes import RunWorker, wait_until

LEASE_SECONDS = 1.0
SLOTS = 4


def held_by(rig: Rig, worker: RunWorker) -> list[Claimed]:
    """Return what a worker holds, with the lease tokens, as it knows it."""
    held = []
    for job_id in (job_id.decode() for job_id in rig.client.zrange(KEYS.running, 0, -1)):
        name, token = rig.client.hmget(KEYS.job(job_id), "w", "tk")
        if int(name.split(b":")[1]) == worker.pid:
            held.append(claimed(rig, job_id, token.decode()))
    return held


def claimed(rig: Rig, job_id: str, token: str) -> Claimed:
    job = Inspector(rig.client).job(job_id)
    return Claimed(
        id=job_id,
        queue=QUEUE,
        kind=job.kind,
        payload=job.payload,
        payload_crc=0,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        timeout_ms=None,
        tags=(),
        created_ms=to_ms(job.created_at),
        lease_token=token,
    )


def refusals(rig: Rig, job: Claimed) -> int:
    """Send every report that the holder of a lost lease could send late; returns how many were refused."""
    refused = 0
    for report in (
        lambda: rig.broker.ack(job, b'"late"'),
        lambda: rig.broker.fail(job, JobError(type="Late", message="")),
        lambda: rig.broker.release(job),
    ):
        with pytest.raises(LeaseLost):
            report()
        refused += 1
    assert [extended.held for extended in rig.broker.extend([(job, b'{"fraction": 1}')])] == [False]
    return refused + 1


def jobs_and_sets(rig: Rig) -> dict[str, object]:
    """Return all but counters and signs of life."""
    passing = (KEYS.meta, KEYS.workers, KEYS.wake)
    held = dump(rig.client)
    return {key: held[key] for key in held if key not in passing and not key.startswith(KEYS.minute_prefix)}


@pytest.mark.timeout(600)
def test_what_a_stopped_worker_reports_late_is_refused_and_fences_rise(rig: Rig, soak: bool) -> None:
    rig.environment["LEASE_SECONDS"] = LEASE_SECONDS
    pair = rig.start_workers(2, "--concurrency", str(SLOTS))
    rounds, refused, stolen_from = 20 if soak else 2, 0, []

    for number in range(rounds):
        victim = pair[number % 2]
        rig.enqueue([work(1.2)] * (2 * SLOTS))
        wait_until(lambda: rig.client.zcard(KEYS.running) == 2 * SLOTS)
        time.sleep(rig.random.uniform(0, 0.5))
        victim.process.send_signal(signal.SIGSTOP)
        held = held_by(rig, victim)
        began = time.monotonic()
        wait_until(lambda held=held: all(rig.client.hget(KEYS.job(job.id), "a") == b"2" for job in held), 10)
        refused += sum(refusals(rig, job) for job in held)  # while the next holder runs it, or has just ended it
        wait_until(lambda began=began: time.monotonic() - began > 3 * LEASE_SECONDS)
        victim.process.send_signal(signal.SIGCONT)
        rig.wait_until_done()
        before = jobs_and_sets(rig)
        refused += sum(refusals(rig, job) for job in held)
        assert jobs_and_sets(rig) == before
        stolen_from += [(victim, job) for job in held]

    for worker in pair:  # so that what was stopped has written down how it ended
        worker.terminate()
        worker.wait()
    history = rig.assert_sound()
    late = [
        event["outcome"]
        for worker, job in stolen_from
        for event in worker.events
        if (event.get("job_id"), event.get("attempt")) == (job.id, 1)
    ]
    rig.say(
        stops=rounds,
        jobs_taken_over=len(stolen_from),
        late_reports_refused=f"{refused} of {8 * len(stolen_from)}",
        late_outcomes=sorted(set(late)),
        fences_out_of_order=0,
    )
    assert len(stolen_from) == rounds * SLOTS
    assert late == ["lost"] * len(stolen_from)
    assert all(len(history.by_job[job.id]) == 2 for _, job in stolen_from)
    assert set(rig.stored().values()) == {State.SUCCEEDED}
