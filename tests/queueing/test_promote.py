from __future__ import annotations

from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def test_due_jobs_are_made_ready_and_others_stay(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    due = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    later = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600))
    let_pass(valkey, QUEUE, MINUTE_MS)

    promoted = broker.promote(QUEUE)

    assert promoted == 1
    assert inspector.job(due.id).state is State.READY
    assert inspector.job(later.id).state is State.SCHEDULED


def test_a_promoted_job_has_the_place_of_its_due_time(broker: Broker, valkey: Redis) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60, priority=2))
    let_pass(valkey, QUEUE, 3 * MINUTE_MS)

    broker.promote(QUEUE)

    assert valkey.zscore(KEYS.ready, enqueued.id) == 2 * 2**49 + enqueued.stamp - 3 * MINUTE_MS * 100


def test_a_retrying_job_goes_back_to_its_old_place(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR, delay_ms=30_000)
    above = broker.enqueue(QUEUE, NewJob.of("echo"))
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.promote(QUEUE)

    counts = inspector.stats(QUEUE).counts
    assert (counts[State.RETRYING], counts[State.SCHEDULED], counts[State.READY]) == (0, 0, 2)
    assert (inspector.job(above.id).position, inspector.job(job.id).position) == (1, 2)


def test_of_many_due_jobs_the_newest_are_promoted_first(broker: Broker, valkey: Redis) -> None:
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=n)).id for n in (10, 20, 30)]
    let_pass(valkey, QUEUE, MINUTE_MS)

    promoted = broker.promote(QUEUE, 2)

    assert promoted == 2
    assert set(dump(valkey)[KEYS.ready]) == set(ids[1:])


def test_a_scheduled_id_without_a_record_is_dropped(broker: Broker, valkey: Redis) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    valkey.delete(KEYS.job(enqueued.id))
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.promote(QUEUE) == 0
    assert not valkey.exists(KEYS.scheduled, KEYS.ready)


def test_a_promoted_job_wakes_an_idle_worker(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    valkey.delete(KEYS.wake)
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.promote(QUEUE)

    assert valkey.llen(KEYS.wake) == 1


def test_with_nothing_due_nobody_is_woken(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    before = dump(valkey)

    assert broker.promote(QUEUE) == 0
    assert dump(valkey) == before


def test_a_paused_queue_promotes(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    broker.pause(QUEUE)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert broker.promote(QUEUE) == 1
