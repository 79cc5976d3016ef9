from __future__ import annotations

import pytest
from msgspec import structs
from redis import Redis

from queueing import Backoff, Broker, Inspector, JobError, LeaseLost, NewJob, Policy, State
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_a_failed_job_with_attempts_left_waits_for_the_next(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job = claimed_job(broker)

    state = broker.fail(job, ERROR, delay_ms=60_000)

    stored = inspector.job(job.id)
    assert state is stored.state is State.RETRYING
    assert valkey.zscore(KEYS.scheduled, job.id) == stored.run_at.timestamp() * 1000
    assert (stored.run_at - stored.attempts[0].finished_at).total_seconds() == 60


def test_the_history_tells_of_each_failed_attempt(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", max_attempts=2))
    error = JobError(type="ValueError", message="a | b", traceback="line 1\nline 2")
    broker.fail(claim_one(broker, worker="w1"), ERROR, delay_ms=0)
    job = claim_one(broker, worker="w2")
    broker.fail(job, error)

    attempts = inspector.job(job.id).attempts

    assert [(one.number, one.worker, one.outcome) for one in attempts] == [(1, "w1", "failed"), (2, "w2", "failed")]
    assert [one.error for one in attempts] == [ERROR, error]
    assert all(one.finished_at >= one.started_at for one in attempts)


def test_the_history_keeps_the_last_twenty_attempts(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", max_attempts=25))
    for _ in range(23):
        job = claim_one(broker)
        broker.fail(job, ERROR, delay_ms=0)

    attempts = inspector.job(job.id).attempts

    assert [attempt.number for attempt in attempts] == list(range(4, 24))


def test_a_job_is_dead_after_its_last_attempt(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker, max_attempts=1)

    state = broker.fail(job, ERROR)

    assert state is State.DEAD
    assert inspector.job(job.id).error == ERROR


def test_a_job_given_up_is_dead_at_once(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    state = broker.fail(job, ERROR, outcome="dead")

    assert state is State.DEAD
    assert [attempt.outcome for attempt in inspector.job(job.id).attempts] == ["dead"]


def test_a_job_that_crashed_is_tried_again_and_counts_it(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)

    state = broker.fail(job, ERROR, delay_ms=0, outcome="crashed")

    assert state is State.RETRYING
    assert [(one.outcome, one.error) for one in inspector.job(job.id).attempts] == [("failed", ERROR)]
    assert (job.crashes, claim_one(broker).crashes) == (0, 1)


def test_a_job_that_crashed_too_often_is_dead_whatever_attempts_are_left(valkey: Redis, inspector: Inspector) -> None:
    """It does not matter whether a crash was reported or let the lease run out."""
    broker = Broker(valkey, Policy(max_crashes=2))
    job = claimed_job(broker, max_attempts=100)
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.reap(QUEUE)

    state = broker.fail(claim_one(broker), ERROR, outcome="crashed")

    assert state is inspector.job(job.id).state is State.DEAD
    assert inspector.job(job.id).error == ERROR


def test_a_crash_reported_twice_counts_once(broker: Broker) -> None:
    job = claimed_job(broker)

    for _ in range(3):
        broker.fail(job, ERROR, delay_ms=0, outcome="crashed")

    assert claim_one(broker).crashes == 1


def test_a_job_whose_handler_was_cancelled_is_cancelled(broker: Broker) -> None:
    job = claimed_job(broker)

    assert broker.fail(job, ERROR, outcome="cancelled") is State.CANCELLED


def test_a_failed_job_that_is_to_be_cancelled_is_cancelled(broker: Broker) -> None:
    job = claimed_job(broker)
    broker.cancel(job.id)

    assert broker.fail(job, ERROR) is State.CANCELLED


def test_a_failed_job_past_its_time_to_live_expires(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker, ttl_seconds=30)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.fail(job, ERROR) is State.EXPIRED
    assert not valkey.exists(KEYS.deadlines)


def test_a_retrying_job_may_still_expire(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker, ttl_seconds=60)
    broker.fail(job, ERROR, delay_ms=600_000)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.expire(QUEUE)

    assert Inspector(valkey).job(job.id).state is State.EXPIRED
    assert Inspector(valkey).stats(QUEUE).counts[State.RETRYING] == 0


@pytest.mark.parametrize(("outcome", "state"), [("failed", "retrying"), ("dead", "dead"), ("cancelled", "cancelled")])
def test_a_repeated_fail_returns_the_state_and_changes_nothing(
    outcome: str, state: str, broker: Broker, valkey: Redis
) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR, delay_ms=60_000, outcome=outcome)
    before = dump(valkey)

    again = broker.fail(job, ERROR, delay_ms=60_000, outcome=outcome)

    assert again == state
    assert dump(valkey) == before


def test_fail_with_an_old_token_raises_lease_lost_and_changes_nothing(broker: Broker, valkey: Redis) -> None:
    old = claimed_job(broker)
    broker.release(old)
    claim_one(broker, worker="w2")
    before = dump(valkey)

    with pytest.raises(LeaseLost):
        broker.fail(old, ERROR)

    after = dump(valkey)
    assert after[KEYS.meta].pop("stale") == b"1"
    assert after == before


def test_fail_after_an_ack_raises_lease_lost(broker: Broker) -> None:
    job = claimed_job(broker)
    broker.ack(job)

    with pytest.raises(LeaseLost):
        broker.fail(job, ERROR)


def test_fail_with_an_invented_token_raises_lease_lost(broker: Broker) -> None:
    job = claimed_job(broker)

    with pytest.raises(LeaseLost) as raised:
        broker.fail(structs.replace(job, lease_token="garbage"), ERROR)

    assert raised.value.job_id == job.id


def test_without_a_delay_the_backoff_of_the_policy_is_drawn(valkey: Redis, inspector: Inspector) -> None:
    broker = Broker(valkey, Policy(backoff=Backoff(base_ms=100_000, max_ms=100_000)))
    job = claimed_job(broker)

    broker.fail(job, ERROR)

    stored = inspector.job(job.id)
    assert 0 <= (stored.run_at - stored.attempts[0].finished_at).total_seconds() <= 100


def test_a_long_error_is_cut_and_the_end_of_its_traceback_kept(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    error = JobError(type="T" * 500, message="m" * 5_000, traceback="t" * 9_000 + "end")

    broker.fail(job, error)

    kept = inspector.job(job.id).error
    assert (len(kept.type), len(kept.message), len(kept.traceback)) == (200, 1_000, 4_000)
    assert kept.traceback.endswith("end")


def test_an_error_with_odd_characters_is_kept(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    error = JobError(type="E", message="\U0001f600 \0 | \u2028 \N{SNOWMAN}")

    broker.fail(job, error)

    assert inspector.job(job.id).error == error


def test_counters_tell_of_failures_and_retries(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", max_attempts=2))
    broker.fail(claim_one(broker), ERROR, delay_ms=0)
    broker.fail(claim_one(broker), ERROR, delay_ms=0)

    counters = inspector.stats(QUEUE).counters

    assert (counters["failed"], counters["retried"], counters["dead"]) == (2, 1, 1)
