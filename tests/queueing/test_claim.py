from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, PayloadCorrupt, Policy, State
from queueing.broker import MAX_CLAIM
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_the_newest_ready_job_is_claimed_first(broker: Broker) -> None:
    ids = [broker.enqueue(QUEUE, NewJob.of("echo")).id for _ in range(4)]

    claimed = [claim_one(broker).id for _ in ids]

    assert claimed == ids[::-1]


def test_several_jobs_are_claimed_in_the_order_of_service(broker: Broker) -> None:
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", priority=priority)).id for priority in (5, 0, 9, 5, 0)]

    claimed = broker.claim(QUEUE, "w1", 5).jobs

    assert [job.id for job in claimed] == [ids[2], ids[3], ids[0], ids[4], ids[1]]
    assert [job.fence for job in claimed] == sorted({job.fence for job in claimed})


def test_a_claimed_job_comes_with_all_a_worker_needs(broker: Broker) -> None:
    new = NewJob(kind="k", payload=b'[1, "\xc3\xa9"]', max_attempts=3, timeout_seconds=2, tags=("t",))
    enqueued = broker.enqueue(QUEUE, new)

    job = claim_one(broker)

    assert (job.id, job.queue, job.kind, job.payload) == (enqueued.id, QUEUE, "k", new.payload)
    assert (job.attempt, job.max_attempts, job.timeout_ms, job.tags) == (1, 3, 2_000, ("t",))
    assert (job.created_at, job.value()) == (enqueued.created_at, [1, "é"])


def test_a_claimed_job_is_running_under_a_lease(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker)

    stored = inspector.job(job.id)
    lease_ms = valkey.zscore(KEYS.running, job.id) - stored.started_at.timestamp() * 1000
    assert (stored.state, stored.attempt, stored.position) == (State.RUNNING, 1, None)
    assert [(attempt.outcome, attempt.worker) for attempt in stored.attempts] == [("running", "w1")]
    assert lease_ms == pytest.approx(broker.policy.lease_ms)


def test_a_claim_of_an_empty_queue_returns_nothing_and_changes_nothing(broker: Broker, valkey: Redis) -> None:
    claim = broker.claim(QUEUE, "w1", 5)

    assert (claim.jobs, claim.due_in_ms, claim.paused, claim.stamp) == ((), None, False, 0)
    assert dump(valkey) == {}


def test_an_empty_claim_bears_the_stamp_of_the_last_operation(broker: Broker) -> None:
    fence = claimed_job(broker).fence

    claim = broker.claim(QUEUE, "w1")

    assert claim.stamp == fence


def test_a_claim_takes_no_more_than_its_limit(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 5)

    claim = broker.claim(QUEUE, "w1", 2)

    assert len(claim.jobs) == 2
    assert inspector.stats(QUEUE).counts[State.READY] == 3


def test_a_claim_takes_fifty_jobs_at_most(broker: Broker) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 60)

    claim = broker.claim(QUEUE, "w1", 1_000)

    assert len(claim.jobs) == MAX_CLAIM == 50


def test_a_claim_of_none_promotes_what_is_due_and_takes_nothing(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    let_pass(valkey, QUEUE, MINUTE_MS)

    claim = broker.claim(QUEUE, "w1", 0)

    assert claim.jobs == ()
    assert inspector.job(enqueued.id).state is State.READY


def test_a_due_job_is_claimed_without_a_promote(broker: Broker, valkey: Redis) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert claim_one(broker).id == enqueued.id


def test_a_due_job_takes_the_place_of_its_due_time(broker: Broker, valkey: Redis) -> None:
    before = broker.enqueue(QUEUE, NewJob.of("echo"))
    scheduled = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)
    after = broker.enqueue(QUEUE, NewJob.of("echo"))

    claimed = broker.claim(QUEUE, "w1", 3).jobs

    assert [job.id for job in claimed] == [after.id, scheduled.id, before.id]


def test_a_claim_tells_how_long_until_the_next_job_is_due(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=3_600))
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600))

    claim = broker.claim(QUEUE, "w1")

    assert claim.jobs == ()
    assert 590_000 < claim.due_in_ms <= 600_000


def test_a_late_job_is_expired_and_the_next_one_taken(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    good = broker.enqueue(QUEUE, NewJob.of("echo"))
    late = broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=30))
    let_pass(valkey, QUEUE, MINUTE_MS)

    job = claim_one(broker)

    assert job.id == good.id
    assert inspector.job(late.id).state is State.EXPIRED
    assert valkey.zcard(KEYS.deadlines) == 0


def test_a_pile_of_late_jobs_does_not_hide_the_good_one_below(broker: Broker, valkey: Redis) -> None:
    good = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.enqueue_many(QUEUE, [NewJob.of("echo", ttl_seconds=30)] * 200)
    let_pass(valkey, QUEUE, MINUTE_MS)

    job = claim_one(broker)

    assert job.id == good.id


def test_a_claim_that_ends_among_late_jobs_asks_to_be_repeated_at_once(broker: Broker, valkey: Redis) -> None:
    good = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.enqueue_many(QUEUE, [NewJob.of("echo", ttl_seconds=30)] * 1_500)
    let_pass(valkey, QUEUE, MINUTE_MS)

    first = broker.claim(QUEUE, "w1")
    second = broker.claim(QUEUE, "w1")

    assert (first.jobs, first.due_in_ms) == ((), 0)
    assert [job.id for job in second.jobs] == [good.id]


def test_a_ready_id_without_a_record_is_dropped_and_the_next_one_taken(broker: Broker, valkey: Redis) -> None:
    good = broker.enqueue(QUEUE, NewJob.of("echo"))
    ghost = broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.delete(KEYS.job(ghost.id))

    job = claim_one(broker)

    assert job.id == good.id
    assert valkey.zcard(KEYS.ready) == 0


def test_tokens_never_repeat(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    tokens = set()

    for _ in range(5):
        job = claim_one(broker)
        tokens.add(job.lease_token)
        broker.release(job)

    assert len(tokens) == 5


def test_the_fence_rises_with_each_claim_even_when_the_clock_was_set_back(broker: Broker, valkey: Redis) -> None:
    first = claimed_job(broker)
    valkey.hset(KEYS.meta, "clock", first.fence + 10**9)

    second = claimed_job(broker)

    assert second.fence > first.fence + 10**9


def test_a_failed_job_keeps_its_place(broker: Broker) -> None:
    old = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.fail(claim_one(broker), ERROR, delay_ms=0)
    new = broker.enqueue(QUEUE, NewJob.of("echo"))

    claimed = broker.claim(QUEUE, "w1", 2).jobs

    assert [job.id for job in claimed] == [new.id, old.id]
    assert [job.attempt for job in claimed] == [1, 2]


def test_a_damaged_payload_is_noticed(broker: Broker, valkey: Redis) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", "right"))
    valkey.hset(KEYS.job(enqueued.id), "p", b'"wrong"')

    job = claim_one(broker)

    with pytest.raises(PayloadCorrupt):
        job.value()


def test_the_lease_is_as_long_as_the_policy_says(valkey: Redis) -> None:
    broker = Broker(valkey, Policy(lease_ms=90_000))
    job = claimed_job(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)

    reaped_early = broker.reap(QUEUE)
    let_pass(valkey, QUEUE, MINUTE_MS)
    reaped = broker.reap(QUEUE)

    assert reaped_early == []
    assert [one.id for one in reaped] == [job.id]


def test_claims_go_on_when_the_server_is_out_of_memory(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.config_set("maxmemory", 1)

    try:
        job = claim_one(broker)
        broker.ack(job, b"1")
    finally:
        valkey.config_set("maxmemory", 0)

    assert Inspector(valkey).job(job.id).state is State.SUCCEEDED


def test_a_pause_that_is_over_ends_with_the_next_claim(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.pause(QUEUE, until=datetime.now(UTC) + timedelta(seconds=30))
    let_pass(valkey, QUEUE, MINUTE_MS)

    job = claim_one(broker)

    assert job.id == enqueued.id
    assert not valkey.hexists(KEYS.meta, "paused")
