from __future__ import annotations

import pytest
from msgspec import structs
from redis import Redis

from queueing import Broker, Extended, Inspector
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
HELD = Extended(held=True, cancel_requested=False)
LOST = Extended(held=False, cancel_requested=False)


def test_an_extended_lease_is_as_long_as_a_new_one(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    full = valkey.zscore(KEYS.running, job.id)
    let_pass(valkey, QUEUE, MINUTE_MS)

    replies = broker.extend([(job, None)])

    assert replies == [HELD]
    assert valkey.zscore(KEYS.running, job.id) >= full
    assert broker.reap(QUEUE) == []


def test_progress_is_kept_where_given(broker: Broker, inspector: Inspector) -> None:
    told, silent = claimed_job(broker), claimed_job(broker)
    broker.extend([(told, b"1"), (silent, b"1")])

    broker.extend([(told, b'{"done":0.5}'), (silent, None)])

    assert inspector.job(told.id).progress == b'{"done":0.5}'
    assert inspector.job(silent.id).progress == b"1"


def test_extend_tells_that_the_job_is_to_be_cancelled(broker: Broker) -> None:
    job, other = claimed_job(broker), claimed_job(broker)
    broker.cancel(job.id)

    replies = broker.extend([(job, None), (other, None)])

    assert replies == [Extended(held=True, cancel_requested=True), HELD]


@pytest.mark.parametrize("token", ["", "garbage"])
def test_extend_with_an_invented_token_changes_nothing(token: str, broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    before = dump(valkey)

    replies = broker.extend([(structs.replace(job, lease_token=token), b"1")])

    after = dump(valkey)
    assert replies == [LOST]
    assert after[KEYS.meta].pop("stale") == b"1"
    assert after == before


def test_extend_with_an_old_token_does_not_prolong_the_new_lease(broker: Broker, valkey: Redis) -> None:
    old = claimed_job(broker)
    broker.release(old)
    new = claim_one(broker)
    let_pass(valkey, QUEUE, MINUTE_MS)

    replies = broker.extend([(old, None)])

    assert replies == [LOST]
    assert [reaped.id for reaped in broker.reap(QUEUE)] == [new.id]


def test_extend_of_a_finished_attempt_is_lost(broker: Broker) -> None:
    acked, failed = claimed_job(broker), claimed_job(broker)
    broker.ack(acked)
    broker.fail(failed, ERROR)

    replies = broker.extend([(acked, None), (failed, None)])

    assert replies == [LOST, LOST]


def test_extend_of_nothing_makes_no_call(broker: Broker, valkey: Redis) -> None:
    assert broker.extend([]) == []
    assert dump(valkey) == {}
