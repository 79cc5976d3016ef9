from __future__ import annotations

import pytest

from queueing import Broker, Inspector, NewJob
from tests.queueing.states import QUEUE, claim_one


def numbered(broker: Broker, count: int) -> dict[str, int]:
    batch = broker.enqueue_many(QUEUE, [NewJob.of("echo")] * count)
    return {enqueued.id: number for number, enqueued in enumerate(batch, 1)}


def test_each_kth_claim_takes_the_oldest_job(broker: Broker) -> None:
    broker.configure(QUEUE, fair_every=3)
    numbers = numbered(broker, 7)

    claimed = [numbers[claim_one(broker).id] for _ in numbers]

    assert claimed == [7, 6, 1, 5, 4, 2, 3]


def test_a_claim_of_several_jobs_counts_each(broker: Broker) -> None:
    broker.configure(QUEUE, fair_every=3)
    numbers = numbered(broker, 7)

    claimed = [numbers[job.id] for job in broker.claim(QUEUE, "w1", 7).jobs]

    assert claimed == [7, 6, 1, 5, 4, 2, 3]


def test_the_oldest_job_is_found_over_all_priorities(broker: Broker) -> None:
    broker.configure(QUEUE, fair_every=1)
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", priority=priority)).id for priority in (9, 0, 4, 0, 9)]

    claimed = [claim_one(broker).id for _ in ids]

    assert claimed == ids


def test_strict_lifo_is_the_default_and_can_be_set_again(broker: Broker, inspector: Inspector) -> None:
    broker.configure(QUEUE, fair_every=1)
    broker.configure(QUEUE, fair_every=0)
    numbers = numbered(broker, 3)

    claimed = [numbers[claim_one(broker).id] for _ in numbers]

    assert claimed == [3, 2, 1]
    assert inspector.stats(QUEUE).limits.fair_every == inspector.stats("never-used").limits.fair_every == 0


@pytest.mark.parametrize("fair_every", [-1, 1_000_001])
def test_a_value_out_of_range_is_refused(fair_every: int, broker: Broker) -> None:
    with pytest.raises(ValueError, match="fair_every"):
        broker.configure(QUEUE, fair_every=fair_every)
