from __future__ import annotations

import pytest

from queueing import Broker, Inspector, InvalidLimit, Limits, NewJob, Retention, State
from queueing.jobs import DEFAULT_MAX_ATTEMPTS
from tests.queueing.states import QUEUE, claim_one


def test_a_queue_that_nobody_configured_has_the_default_limits(inspector: Inspector) -> None:
    assert inspector.stats("never-used").limits == Limits()


def test_limits_are_kept_and_those_not_given_stay(broker: Broker, inspector: Inspector) -> None:
    kept = Retention(keep_ms=1_000, keep_count=3)

    broker.configure(QUEUE, fair_every=4, max_depth=7, overflow="drop_oldest")
    broker.configure(QUEUE, max_attempts=2, timeout_ms=1_500, retention={State.DEAD: kept})

    limits = inspector.stats(QUEUE).limits
    assert limits == Limits(
        fair_every=4,
        max_depth=7,
        overflow="drop_oldest",
        max_attempts=2,
        timeout_ms=1_500,
        retention={**Limits().retention, State.DEAD: kept},
    )


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"max_depth": -1}, "max_depth"),
        ({"overflow": "explode"}, "overflow"),
        ({"retention": {State.READY: Retention(keep_ms=1, keep_count=1)}}, "retention"),
        ({"retention": {State.DEAD: Retention(keep_ms=-1, keep_count=1)}}, "retention.dead.keep_ms"),
    ],
)
def test_an_impossible_limit_is_refused_by_name_and_nothing_is_changed(
    limits: dict[str, object], field: str, broker: Broker, inspector: Inspector
) -> None:
    with pytest.raises(InvalidLimit) as raised:
        broker.configure(QUEUE, **({"fair_every": 3} | limits))  # type: ignore[arg-type]

    assert raised.value.field == field
    assert inspector.stats(QUEUE).limits == Limits()


def test_a_job_that_names_no_attempts_and_no_timeout_gets_those_of_its_queue(
    broker: Broker, inspector: Inspector
) -> None:
    broker.configure(QUEUE, max_attempts=2, timeout_ms=1_500)

    plain = broker.enqueue(QUEUE, NewJob.of("echo"))
    own = broker.enqueue(QUEUE, NewJob.of("echo", max_attempts=7, timeout_seconds=9))

    assert (plain.max_attempts, plain.timeout_seconds) == (2, 1.5)
    assert (own.max_attempts, own.timeout_seconds) == (7, 9.0)
    jobs = [inspector.job(enqueued.id) for enqueued in (plain, own)]
    assert [(job.max_attempts, job.timeout_seconds) for job in jobs] == [(2, 1.5), (7, 9.0)]
    assert claim_one(broker).timeout_ms == 9_000


def test_without_limits_of_its_queue_a_job_has_the_usual_attempts_and_no_timeout(
    broker: Broker, inspector: Inspector
) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))

    job = inspector.job(enqueued.id)
    assert (job.max_attempts, job.timeout_seconds) == (DEFAULT_MAX_ATTEMPTS, None)
    assert (enqueued.max_attempts, enqueued.timeout_seconds) == (DEFAULT_MAX_ATTEMPTS, None)


def test_a_timeout_of_0_ends_the_one_the_queue_had(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, timeout_ms=1_500)
    broker.configure(QUEUE, timeout_ms=0)

    assert inspector.job(broker.enqueue(QUEUE, NewJob.of("echo")).id).timeout_seconds is None


def test_succeeded_jobs_past_the_count_of_their_queue_are_deleted_with_the_next_ack(
    broker: Broker, inspector: Inspector
) -> None:
    broker.configure(QUEUE, retention={State.SUCCEEDED: Retention(keep_ms=60_000, keep_count=2)})
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 5)

    for _ in range(5):
        broker.ack(claim_one(broker))

    assert inspector.stats(QUEUE).counts[State.SUCCEEDED] == 2


def test_prune_follows_the_retention_of_the_queue(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, retention={State.CANCELLED: Retention(keep_ms=60_000, keep_count=1)})
    for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4):
        broker.cancel(enqueued.id)

    assert broker.prune(QUEUE) == 3
    assert inspector.stats(QUEUE).counts[State.CANCELLED] == 1
