"""A queue that may hold only so many waiting jobs."""

from __future__ import annotations

import pytest

from queueing import Broker, Inspector, NewJob, QueueFull, State
from tests.queueing.states import QUEUE, claim_one


def test_a_job_over_the_limit_is_refused_and_not_stored(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, max_depth=2)
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 2)

    with pytest.raises(QueueFull):
        broker.enqueue(QUEUE, NewJob.of("echo"))

    assert inspector.stats(QUEUE).counters["submitted"] == 2


def test_of_a_batch_what_fits_is_stored(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=3)

    outcomes = [enqueued.outcome for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 5)]

    assert outcomes == ["created"] * 3 + ["full"] * 2


def test_scheduled_jobs_wait_too_and_running_ones_do_not(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=2)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    with pytest.raises(QueueFull):
        broker.enqueue(QUEUE, NewJob.of("echo"))

    claim_one(broker)

    assert broker.enqueue(QUEUE, NewJob.of("echo")).outcome == "created"


def test_a_refused_job_leaves_its_unique_key_free(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=1)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    with pytest.raises(QueueFull):
        broker.enqueue(QUEUE, NewJob.of("echo", unique_key="u"))

    broker.configure(QUEUE, max_depth=0)

    assert broker.enqueue(QUEUE, NewJob.of("echo", unique_key="u")).outcome == "created"


def test_drop_oldest_expires_the_oldest_ready_job_for_a_new_one(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, max_depth=2, overflow="drop_oldest")
    oldest, older, newest = (broker.enqueue(QUEUE, NewJob.of("echo", n)).id for n in range(3))

    states = [inspector.job(job_id).state for job_id in (oldest, older, newest)]

    assert states == [State.EXPIRED, State.READY, State.READY]


def test_drop_oldest_gives_up_the_unique_key_of_what_it_drops(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=1, overflow="drop_oldest")
    broker.enqueue(QUEUE, NewJob.of("echo", unique_key="u"))
    broker.enqueue(QUEUE, NewJob.of("echo"))

    assert broker.enqueue(QUEUE, NewJob.of("echo", unique_key="u")).outcome == "created"


def test_drop_oldest_refuses_what_would_only_drop_its_own_batch(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=2, overflow="drop_oldest")
    broker.enqueue(QUEUE, NewJob.of("echo"))

    outcomes = [enqueued.outcome for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4)]

    assert outcomes == ["created", "created", "full", "full"]


def test_a_scheduled_job_drops_none(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=1, overflow="drop_oldest")
    broker.enqueue(QUEUE, NewJob.of("echo"))

    with pytest.raises(QueueFull):
        broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))


def test_the_figures_show_the_limit(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, max_depth=7, overflow="drop_oldest")

    stats = inspector.stats(QUEUE)

    assert (stats.limits.max_depth, stats.limits.overflow) == (7, "drop_oldest")


def test_the_position_of_a_new_job_does_not_count_the_one_that_it_dropped(broker: Broker) -> None:
    broker.configure(QUEUE, max_depth=1, overflow="drop_oldest")
    broker.enqueue(QUEUE, NewJob.of("echo", priority=9))

    assert broker.enqueue(QUEUE, NewJob.of("echo")).position == 1
