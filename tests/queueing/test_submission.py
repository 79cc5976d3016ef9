"""A submission that is made more than once."""

from __future__ import annotations

import threading

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobError, NewJob, State, Submission, SubmissionMismatch
from queueing.keys import queue_keys, submission_digest
from tests.queueing.states import QUEUE, claim_one

ONCE = Submission(key="client /jobs k1", fingerprint="f1")


def job(fingerprint: str = "f1", **options: object) -> NewJob:
    return NewJob.of("echo", 1, submission=Submission("client /jobs k1", fingerprint), **options)


def test_the_second_time_the_first_job_is_answered_and_nothing_is_stored(broker: Broker, inspector: Inspector) -> None:
    first = broker.enqueue(QUEUE, job())

    second = broker.enqueue(QUEUE, job())

    assert (first.outcome, second.outcome) == ("created", "replayed")
    assert (second.id, second.state) == (first.id, State.READY)
    assert inspector.stats(QUEUE).counters["submitted"] == 1


def test_it_is_answered_in_the_state_it_is_in_by_then(broker: Broker) -> None:
    first = broker.enqueue(QUEUE, job())
    broker.fail(claim_one(broker), JobError(type="Boom", message=""), outcome="dead")

    second = broker.enqueue(QUEUE, job())

    assert (second.id, second.state) == (first.id, State.DEAD)


def test_the_key_with_another_fingerprint_is_refused(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, job())

    with pytest.raises(SubmissionMismatch):
        broker.enqueue(QUEUE, job("f2"))

    assert inspector.stats(QUEUE).counters["submitted"] == 1


def test_after_the_job_was_deleted_it_is_still_not_made_again(broker: Broker) -> None:
    first = broker.enqueue(QUEUE, job())
    broker.purge(QUEUE)

    second = broker.enqueue(QUEUE, job())

    assert (second.outcome, second.id, second.state) == ("replayed", first.id, None)


def test_one_batch_makes_it_once(broker: Broker) -> None:
    first, second = broker.enqueue_many(QUEUE, [job(), job()])

    assert (first.outcome, second.outcome, second.id) == ("created", "replayed", first.id)


def test_a_submission_that_found_a_unique_key_taken_is_answered_the_same_job_later(broker: Broker) -> None:
    holder = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="u"))
    broker.enqueue(QUEUE, job(unique_key="u"))
    broker.cancel(holder.id)

    again = broker.enqueue(QUEUE, job(unique_key="u"))

    assert (again.outcome, again.id, again.state) == ("replayed", holder.id, State.CANCELLED)


def test_it_is_forgotten_after_a_day(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, job())

    left_ms = valkey.pttl(queue_keys(QUEUE).idempotency_prefix + submission_digest(ONCE.key))

    assert 86_390_000 < left_ms <= 86_400_000


def test_of_many_at_once_one_makes_it(broker: Broker, inspector: Inspector) -> None:
    ids: list[str] = []
    ready = threading.Barrier(8)

    def submit() -> None:
        ready.wait(10)
        ids.append(broker.enqueue(QUEUE, job()).id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert inspector.stats(QUEUE).counts[State.READY] == 1
