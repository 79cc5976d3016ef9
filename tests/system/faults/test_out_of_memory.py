"""The database server at its memory limit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from queueing import Broker, JobError, NewJob, Policy, State, StoreUnavailable
from queueing.audit import audit_queue
from queueing.errors import StoreFull
from tests.queueing.dump import dump
from tests.system.faults.rig import KEYS, QUEUE, Rig, work
from tests.system.processes import wait_until

JOBS = 50
ERROR = JobError(type="Boom", message="x" * 500)


@pytest.fixture
def full(rig: Rig) -> Iterator[Rig]:
    """Give a server that is full while the test says so."""
    yield rig
    rig.client.config_set("maxmemory", 0)


def fill_up(rig: Rig) -> None:
    """Let the server have less memory than it uses."""
    rig.client.config_set("maxmemory", rig.client.info("memory")["used_memory"] // 2)


def test_what_finishes_jobs_works_on_a_full_server_and_nothing_new_is_stored(full: Rig) -> None:
    broker = Broker(full.client, Policy(lease_ms=300))
    broker.enqueue_many(QUEUE, [NewJob.of("echo", "x" * 1000)] * (6 * JOBS))
    claims = [broker.claim(QUEUE, "host:1:a", JOBS).jobs for _ in range(5)]
    unaware = Broker(full.client)  # it read the server's memory just before
    unaware.enqueue(QUEUE, NewJob.of("echo"))
    fill_up(full)
    before = dump(full.client)

    with pytest.raises(StoreUnavailable):
        unaware.enqueue(QUEUE, NewJob.of("echo"))
    with pytest.raises(StoreFull):
        Broker(full.client).enqueue(QUEUE, NewJob.of("echo"))
    assert dump(full.client) == before

    to_ack, to_fail, to_extend, to_release, to_reap = claims
    extended = broker.extend([(job, b'{"fraction": 0.5}') for job in to_extend])
    acked = broker.exchange([broker.ack_step(QUEUE, [(job, b'"done"') for job in to_ack])])[0]
    failed = {broker.fail(job, ERROR, delay_ms=60_000) for job in to_fail}
    released = {broker.release(job) for job in to_release}
    claimed = broker.claim(QUEUE, "host:1:b", JOBS).jobs
    broker.beat(QUEUE, "host:1:a", b"{}", 30_000)
    wait_until(lambda: full.client.zcount(KEYS.running, 0, broker.server_time_ms("default")) >= len(to_reap), 5)
    reaped = broker.reap(QUEUE, 3 * JOBS)
    promoted, expired = broker.promote(QUEUE), broker.expire(QUEUE)

    assert all(lease.held for lease in extended)
    assert acked == [True] * JOBS
    assert failed == {State.RETRYING}
    assert released == {State.READY}
    assert len(claimed) == JOBS
    assert {job.id for job in to_reap} <= {job.id for job in reaped} | {job.id for job in claimed}
    assert (promoted, expired) == (0, 0)
    assert list(audit_queue(full.client, QUEUE)) == []
    full.say(acked=JOBS, failed=JOBS, extended=JOBS, released=JOBS, claimed=JOBS, reaped=len(reaped), stored=0)


def test_workers_finish_what_a_full_server_holds_and_submitting_works_again_afterwards(full: Rig) -> None:
    full.enqueue([work(0.01)] * 300)
    fill_up(full)

    assert full.start_worker("--drain", "--concurrency", "4").wait(30) == 0
    full.client.config_set("maxmemory", 0)
    began = time.monotonic()
    wait_until(full.accepts, 5)

    history = full.assert_sound()
    full.say(finished_while_full=len(history.completed), accepted_after_seconds=f"{time.monotonic() - began:.2f}")
    assert full.states() == {"succeeded": 300, "ready": 1}
    assert set(history.completed.values()) == {1}
