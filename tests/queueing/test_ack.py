from __future__ import annotations

import pytest
from msgspec import structs
from redis import Redis

from queueing import Broker, Inspector, LeaseLost, NewJob, Policy, Retention, State
from queueing.broker import DEFAULT_RETENTION
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def without_stale(client: Redis) -> dict[str, object]:
    state = dump(client)
    state[KEYS.meta].pop("stale", None)
    return state


def keeping(keep_ms: int, keep_count: int) -> Policy:
    kept = Retention(keep_ms=keep_ms, keep_count=keep_count)
    return Policy(retention={**DEFAULT_RETENTION, State.SUCCEEDED: kept})


def test_an_acked_job_has_succeeded_and_keeps_its_result(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    broker.ack(job, b'{"sent":1}')

    stored = inspector.job(job.id)
    assert (stored.state, stored.result, stored.error) == (State.SUCCEEDED, b'{"sent":1}', None)
    assert stored.finished_at is not None
    assert [(attempt.number, attempt.outcome) for attempt in stored.attempts] == [(1, "succeeded")]


def test_a_job_acked_without_a_result_has_none(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    broker.ack(job)

    assert inspector.job(job.id).result is None


def test_a_repeated_ack_changes_nothing(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    broker.ack(job, b"1")
    before = dump(valkey)

    broker.ack(job, b"2")

    assert dump(valkey) == before


def test_ack_with_an_old_token_raises_lease_lost_and_changes_nothing(broker: Broker, valkey: Redis) -> None:
    old = claimed_job(broker)
    broker.release(old)
    claim_one(broker, worker="w2")
    before = without_stale(valkey)

    with pytest.raises(LeaseLost):
        broker.ack(old)

    assert without_stale(valkey) == before


def test_ack_with_another_jobs_token_raises_lease_lost(broker: Broker) -> None:
    mine, other = claimed_job(broker), claimed_job(broker)

    with pytest.raises(LeaseLost):
        broker.ack(structs.replace(mine, lease_token=other.lease_token))


@pytest.mark.parametrize("token", ["", "0", "garbage"])
def test_ack_with_an_invented_token_raises_lease_lost(token: str, broker: Broker) -> None:
    job = claimed_job(broker)

    with pytest.raises(LeaseLost):
        broker.ack(structs.replace(job, lease_token=token))


def test_ack_with_no_token_of_a_job_that_never_ran_raises_lease_lost(broker: Broker) -> None:
    job = claimed_job(broker)
    waiting = broker.enqueue(QUEUE, NewJob.of("echo"))

    with pytest.raises(LeaseLost):
        broker.ack(structs.replace(job, id=waiting.id, lease_token=""))


def test_ack_of_a_reaped_job_raises_lease_lost(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.reap(QUEUE)

    with pytest.raises(LeaseLost):
        broker.ack(job)

    assert inspector.job(job.id).state is State.READY


def test_ack_of_a_failed_attempt_raises_lease_lost(broker: Broker) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR)

    with pytest.raises(LeaseLost):
        broker.ack(job)


def test_ack_of_a_job_that_is_gone_raises_lease_lost(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    valkey.delete(KEYS.job(job.id))

    with pytest.raises(LeaseLost):
        broker.ack(job)


def test_a_late_ack_counts_while_nobody_took_the_job_back(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.ack(job)

    assert inspector.job(job.id).state is State.SUCCEEDED


def test_a_job_that_succeeded_although_it_was_cancelled_has_succeeded(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    broker.cancel(job.id)

    broker.ack(job)

    assert inspector.job(job.id).state is State.SUCCEEDED


def test_several_acks_tell_which_leases_were_held(broker: Broker, inspector: Inspector) -> None:
    kept, lost = claimed_job(broker), claimed_job(broker)
    broker.release(lost)

    replies = broker.exchange([broker.ack_step(QUEUE, [(lost, None), (kept, b"1"), (kept, b"2")])])

    assert replies == [[False, True, True]]
    assert inspector.job(kept.id).result == b"1"
    assert inspector.stats(QUEUE).counters["succeeded"] == 1


def test_acks_and_a_claim_share_a_round_trip(broker: Broker) -> None:
    first = claimed_job(broker)
    next_up = broker.enqueue(QUEUE, NewJob.of("echo"))

    acks, claim = broker.exchange([broker.ack_step(QUEUE, [(first, None)]), broker.claim_step(QUEUE, "w1", 1)])

    assert acks == [True]
    assert [job.id for job in claim.jobs] == [next_up.id]


def test_a_stale_ack_is_counted(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    with pytest.raises(LeaseLost):
        broker.ack(structs.replace(job, lease_token="garbage"))

    assert inspector.stats(QUEUE).counters["stale"] == 1


def test_an_ack_deletes_the_oldest_succeeded_jobs_over_the_count(valkey: Redis, inspector: Inspector) -> None:
    broker = Broker(valkey, keeping(keep_ms=MINUTE_MS, keep_count=2))
    for _ in range(3):
        broker.ack(claimed_job(broker))

    assert inspector.stats(QUEUE).counts[State.SUCCEEDED] == 2
    assert inspector.stats(QUEUE).counters["pruned"] == 1


def test_an_ack_deletes_succeeded_jobs_over_the_age(valkey: Redis, inspector: Inspector) -> None:
    broker = Broker(valkey, keeping(keep_ms=5 * MINUTE_MS, keep_count=100))
    old = claimed_job(broker)
    broker.ack(old)
    let_pass(valkey, QUEUE, 6 * MINUTE_MS)

    new = claimed_job(broker)
    broker.ack(new)

    assert set(dump(valkey)[KEYS.succeeded]) == {new.id}
    assert not valkey.exists(KEYS.job(old.id))
