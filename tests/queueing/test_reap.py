from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector, LeaseLost, NewJob, Policy, Reaped, State, connect
from queueing.keys import queue_keys
from tests.queueing.states import QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_a_job_whose_lease_ran_out_goes_back_to_its_old_place(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job = claimed_job(broker)
    above = broker.enqueue(QUEUE, NewJob.of("above"))
    let_pass(valkey, QUEUE, MINUTE_MS)

    reaped = broker.reap(QUEUE)

    assert reaped == [Reaped(id=job.id, state=State.READY, attempt=1)]
    assert (inspector.job(above.id).position, inspector.job(job.id).position) == (1, 2)


def test_a_lost_attempt_counts_and_is_in_the_history(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.reap(QUEUE)

    (attempt,) = inspector.job(job.id).attempts
    assert (attempt.number, attempt.outcome, attempt.error.type) == (1, "lost", "LeaseExpired")
    assert claim_one(broker).attempt == 2


def test_a_lease_that_holds_is_left_alone(broker: Broker) -> None:
    claimed_job(broker)

    assert broker.reap(QUEUE) == []


@pytest.mark.parametrize("verb", ["ack", "release"])
def test_the_token_of_a_lost_lease_is_worth_nothing(verb: str, broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.reap(QUEUE)

    with pytest.raises(LeaseLost):
        getattr(broker, verb)(job)


def test_a_job_that_lost_too_many_leases_is_dead(valkey: Redis, inspector: Inspector) -> None:
    broker = Broker(valkey, Policy(max_crashes=2))
    job = claimed_job(broker, max_attempts=100, unique_key="k")
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.reap(QUEUE)
    claim_one(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)

    (reaped,) = broker.reap(QUEUE)

    assert reaped.state is inspector.job(job.id).state is State.DEAD
    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))


def test_a_job_that_lost_the_lease_of_its_last_attempt_is_dead(broker: Broker, valkey: Redis) -> None:
    claimed_job(broker, max_attempts=1)
    let_pass(valkey, QUEUE, MINUTE_MS)

    (reaped,) = broker.reap(QUEUE)

    assert reaped.state is State.DEAD


def test_a_reap_takes_no_more_than_its_limit(broker: Broker, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3)
    broker.claim(QUEUE, "w1", 3)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert [len(broker.reap(QUEUE, 2)), len(broker.reap(QUEUE, 2)), len(broker.reap(QUEUE, 2))] == [2, 1, 0]


def test_a_reaped_job_may_still_expire(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker, ttl_seconds=60)
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.reap(QUEUE)

    broker.expire(QUEUE)

    assert inspector.job(job.id).state is State.EXPIRED


def test_a_running_id_without_a_record_is_dropped_and_not_counted(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job = claimed_job(broker)
    valkey.delete(KEYS.job(job.id))
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.reap(QUEUE) == []
    assert not valkey.exists(KEYS.running)
    assert inspector.stats(QUEUE).counters["reaped"] == 0


def test_reaped_jobs_wake_idle_workers(broker: Broker, valkey: Redis) -> None:
    claimed_job(broker)
    valkey.delete(KEYS.wake)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.reap(QUEUE)

    assert valkey.llen(KEYS.wake) == 1


def test_only_leases_that_ended_between_two_moments_are_taken_back(broker: Broker, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4)
    early, first, last, late = (job.id for job in broker.claim(QUEUE, "w1", 4).jobs)
    valkey.zadd(KEYS.running, {early: 99, first: 100, last: 200, late: 201})

    reaped = broker.reap(QUEUE, from_ms=100, to_ms=200.0)

    assert {job.id for job in reaped} == {first, last}


def test_a_lease_with_too_much_time_left_is_cut_and_others_are_left_alone(broker: Broker, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3)
    held, long, endless = (job.id for job in broker.claim(QUEUE, "w1", 3).jobs)
    now_ms = broker.server_time_ms(QUEUE)
    valkey.zadd(KEYS.running, {held: now_ms + 20_000, long: now_ms + 60_000, endless: float("inf")})

    assert broker.reap(QUEUE, longest_ms=30_000) == []

    left = {job_id.decode(): ends - now_ms for job_id, ends in valkey.zrange(KEYS.running, 0, -1, withscores=True)}
    assert left[held] == 20_000
    assert 30_000 <= left[long] == left[endless] < 40_000


@pytest.mark.one_server(reason="names the server's socket")
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_ends_of_leases_are_told_in_their_order(valkey: Redis, protocol: int) -> None:
    client = connect(f"unix://{valkey.connection_pool.connection_kwargs['path']}?protocol={protocol}")
    broker = Broker(client)
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3)
    jobs = broker.claim(QUEUE, "w1", 3).jobs
    valkey.zadd(KEYS.running, {job.id: score for job, score in zip(jobs, (7, 5.5, 8), strict=True)})

    for one in (broker, broker.dedicated()):
        assert one.lease_ends(QUEUE, 8) == [5.5, 7.0]
        assert one.lease_ends(QUEUE, 9, limit=1) == [5.5]
        assert one.lease_ends(QUEUE, 5) == []
        one.close()
    client.close()
