"""A claim whose reply was lost, sent once more."""

from __future__ import annotations

from redis import Redis

from queueing import Broker, Claim, Inspector, NewJob, State, new_claim_nonce

QUEUE = "default"


def claim(broker: Broker, nonce: str, limit: int = 2, *, again: bool = False) -> Claim:
    step = broker.claim_step(QUEUE, "w1", limit, nonce=nonce, again=again)
    (made,) = broker.exchange([step])
    assert isinstance(made, Claim)
    return made


def test_the_same_jobs_come_again_with_the_same_tokens_and_count_no_attempt(broker: Broker) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(5)])
    nonce = new_claim_nonce()
    lost = claim(broker, nonce)

    found = claim(broker, nonce, again=True)

    assert sorted(found.jobs, key=lambda job: job.id) == sorted(lost.jobs, key=lambda job: job.id)
    assert [job.attempt for job in found.jobs] == [1, 1]


def test_a_claim_that_was_never_made_is_made(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))

    found = claim(broker, new_claim_nonce(), again=True)

    assert len(found.jobs) == 1


def test_jobs_that_others_hold_are_not_given(broker: Broker) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(2)])
    claim(broker, new_claim_nonce())

    assert claim(broker, new_claim_nonce(), again=True).jobs == ()


def test_a_job_that_was_reaped_meanwhile_is_claimed_anew(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_id = broker.enqueue(QUEUE, NewJob.of("echo")).id
    nonce = new_claim_nonce()
    claim(broker, nonce)
    valkey.zadd("jobs:{default}:running", {job_id: 1})
    broker.reap(QUEUE)

    (job,) = claim(broker, nonce, again=True).jobs

    assert job.attempt == 2
    assert inspector.job(job_id).state is State.RUNNING


def test_they_come_again_though_the_queue_was_paused_meanwhile(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    nonce = new_claim_nonce()
    claim(broker, nonce)
    broker.pause(QUEUE)

    assert len(claim(broker, nonce, again=True).jobs) == 1
