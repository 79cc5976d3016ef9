from __future__ import annotations

from datetime import UTC, datetime, timedelta

from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from queueing.keys import queue_keys
from tests.queueing.states import QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_a_paused_queue_gives_no_jobs(broker: Broker, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.pause(QUEUE)

    claim = broker.claim(QUEUE, "w1")

    assert (claim.jobs, claim.paused) == ((), True)
    assert inspector.job(enqueued.id).state is State.READY


def test_a_paused_queue_accepts_jobs(broker: Broker) -> None:
    broker.pause(QUEUE)

    assert broker.enqueue(QUEUE, NewJob.of("echo")).outcome == "created"


def test_what_runs_when_a_queue_is_paused_goes_on(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    broker.pause(QUEUE)

    assert broker.extend([(job, None)])[0].held
    broker.ack(job)

    assert inspector.job(job.id).state is State.SUCCEEDED


def test_a_pause_tells_why_and_until_when(broker: Broker, inspector: Inspector) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    broker.pause(QUEUE, reason="the printer burns", until=until)

    stats = inspector.stats(QUEUE)

    assert (stats.paused, stats.paused_reason, stats.paused_until) == (True, "the printer burns", until)


def test_a_pause_without_an_end_replaces_one_with(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    broker.pause(QUEUE, until=datetime.now(UTC) + timedelta(seconds=30))
    broker.pause(QUEUE)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert inspector.stats(QUEUE).paused
    assert broker.claim(QUEUE, "w1").paused


def test_a_pause_that_is_over_is_shown_as_none(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    broker.pause(QUEUE, reason="soon over", until=datetime.now(UTC) + timedelta(seconds=30))
    let_pass(valkey, QUEUE, MINUTE_MS)

    stats = inspector.stats(QUEUE)

    assert (stats.paused, stats.paused_reason, stats.paused_until) == (False, "", None)


def test_a_resumed_queue_gives_jobs_again(broker: Broker, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.pause(QUEUE, reason="why")

    was_paused = broker.resume(QUEUE)

    assert was_paused
    assert claim_one(broker).id == enqueued.id
    assert not inspector.stats(QUEUE).paused


def test_resuming_a_queue_that_was_not_paused_tells_so(broker: Broker) -> None:
    assert broker.resume(QUEUE) is False


def test_a_resume_wakes_an_idle_worker(broker: Broker, valkey: Redis) -> None:
    broker.pause(QUEUE)

    broker.resume(QUEUE)

    assert valkey.llen(KEYS.wake) == 1


def test_a_pause_is_of_one_queue(broker: Broker) -> None:
    broker.enqueue("other", NewJob.of("echo"))

    broker.pause(QUEUE)

    assert len(broker.claim("other", "w1").jobs) == 1
