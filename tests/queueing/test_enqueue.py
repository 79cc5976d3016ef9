from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, QueueingError, State, StoreUnavailable
from queueing.codec import checksum
from queueing.jobs import EPOCH_MS, TICKS_PER_MS, new_job_id, to_ms
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import QUEUE, claim_one, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
FINISHED = [State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED]
LIVE = [State.SCHEDULED, State.READY, State.RUNNING, State.RETRYING]


def test_a_new_job_is_ready_and_first_in_line(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))

    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))

    assert (enqueued.outcome, enqueued.state, enqueued.position) == ("created", State.READY, 1)


@pytest.mark.parametrize("is_common", [True, False])
def test_a_common_job_and_one_that_takes_the_long_way_leave_the_same(
    is_common: bool, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.delete(KEYS.wake)
    before, job = dump(valkey), NewJob(kind="echo", payload=b"1", tags=("a",), request_id="r")

    enqueued = broker.enqueue(QUEUE, job, job_id=None if is_common else new_job_id(QUEUE))

    after, stamp = dump(valkey), b"%d" % enqueued.stamp
    passing = {key for key in after if key.startswith(KEYS.minute_prefix)}
    (history,) = inspector.history([QUEUE], 5)
    assert after[KEYS.job(enqueued.id)] == {
        "s": b"ready",
        "o": stamp,
        "t": b"%d" % enqueued.created_ms,
        "m": b"5",
        "k": b"echo",
        "p": b"1",
        "c": b"%d" % checksum(b"1"),
        "ri": b"r",
        "g": b'["a"]',
    }
    assert after[KEYS.ready] == before[KEYS.ready] | {enqueued.id: enqueued.stamp}
    assert after[KEYS.meta].pop("minute") >= before[KEYS.meta].pop("minute")
    assert after[KEYS.meta] == before[KEYS.meta] | {"clock": stamp, "submitted": b"2"}
    assert after[KEYS.wake] == [b"1"]
    assert sum(history.series["submitted"]) == 2
    assert after.keys() - passing == {*before, KEYS.wake, KEYS.job(enqueued.id)} - passing
    assert (enqueued.position, enqueued.max_attempts, enqueued.timeout_seconds) == (1, 5, None)


def test_a_job_is_stored_with_all_it_was_given(broker: Broker, inspector: Inspector) -> None:
    job = NewJob(
        kind="mail.send",
        payload=b'{"a" :1}',
        priority=3,
        ttl_seconds=60,
        timeout_seconds=1.5,
        max_attempts=7,
        tags=("a", "b:c"),
    )

    enqueued = broker.enqueue(QUEUE, job)

    stored = inspector.job(enqueued.id)
    assert (stored.queue, stored.kind, stored.payload, stored.priority) == (QUEUE, "mail.send", b'{"a" :1}', 3)
    assert (stored.timeout_seconds, stored.max_attempts, stored.tags) == (1.5, 7, ("a", "b:c"))
    assert stored.created_at == stored.run_at == enqueued.created_at
    assert stored.expires_at == enqueued.created_at + timedelta(seconds=60)
    assert (stored.attempt, stored.attempts, stored.started_at) == (0, (), None)


def test_a_higher_priority_goes_first_whatever_its_age(broker: Broker) -> None:
    urgent = broker.enqueue(QUEUE, NewJob.of("echo", priority=9))

    newer = broker.enqueue(QUEUE, NewJob.of("echo", priority=0))

    assert newer.position == 2
    assert claim_one(broker).id == urgent.id


def test_stamps_rise_strictly_within_a_batch_and_between_calls(broker: Broker) -> None:
    batch = broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 500)

    after = broker.enqueue(QUEUE, NewJob.of("echo"))

    stamps = [enqueued.stamp for enqueued in [*batch, after]]
    assert stamps == sorted(set(stamps))


def test_stamps_go_on_rising_when_the_servers_clock_was_set_back(broker: Broker, valkey: Redis) -> None:
    ahead = broker.enqueue(QUEUE, NewJob.of("echo")).stamp + 60_000 * TICKS_PER_MS
    valkey.hset(KEYS.meta, "clock", ahead)

    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))

    assert enqueued.stamp == ahead + 1
    assert enqueued.position == 1


def test_the_last_of_a_batch_is_claimed_first(broker: Broker) -> None:
    batch = broker.enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])

    claimed = broker.claim(QUEUE, "w1", 3).jobs

    assert [job.id for job in claimed] == [enqueued.id for enqueued in reversed(batch)]


def test_a_batch_of_more_than_a_call_holds_is_stored_in_order(broker: Broker, inspector: Inspector) -> None:
    batch = broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 1_001)

    assert inspector.stats(QUEUE).counts[State.READY] == 1_001
    assert batch[-1].stamp > batch[0].stamp
    assert claim_one(broker).id == batch[-1].id


def test_an_empty_batch_stores_nothing(broker: Broker, valkey: Redis) -> None:
    assert broker.enqueue_many(QUEUE, []) == []
    assert dump(valkey) == {}


def test_a_delayed_job_is_scheduled_at_its_due_time(broker: Broker, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600))

    assert (enqueued.state, enqueued.position) == (State.SCHEDULED, None)
    assert enqueued.run_at == enqueued.created_at + timedelta(seconds=600)
    assert enqueued.stamp == (to_ms(enqueued.run_at) - EPOCH_MS) * TICKS_PER_MS
    assert inspector.job(enqueued.id).run_at == enqueued.run_at


def test_a_job_due_in_the_past_is_ready_at_once_and_the_newest(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))

    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", run_at=datetime(2001, 1, 1, tzinfo=UTC)))

    assert (enqueued.state, enqueued.position) == (State.READY, 1)


def test_a_job_already_due_long_before_1970_is_ready_at_once(broker: Broker) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", run_at=datetime(1, 1, 1, tzinfo=UTC)))

    assert enqueued.state is State.READY


@pytest.mark.parametrize("state", list(State))
def test_repeating_a_call_stores_the_job_once(
    state: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    job_id = job_in(state, broker, valkey)
    before = dump(valkey)

    again = broker.enqueue(QUEUE, NewJob.of("echo", "another"), job_id=job_id)

    assert (again.id, again.outcome, again.state, again.stamp) == (job_id, "exists", state, 0)
    assert dump(valkey) == before


def test_repeating_a_call_tells_when_the_job_is_due(broker: Broker) -> None:
    first = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600))

    again = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600), job_id=first.id)

    assert (again.created_at, again.run_at) == (first.created_at, first.run_at)


def test_an_id_twice_in_a_batch_is_stored_once(broker: Broker, inspector: Inspector) -> None:
    job_id = new_job_id(QUEUE)

    first, second = broker.enqueue_many(QUEUE, [NewJob.of("a"), NewJob.of("b")], job_ids=[job_id, job_id])

    assert (first.outcome, second.outcome) == ("created", "exists")
    assert inspector.job(job_id).kind == "a"
    assert inspector.stats(QUEUE).counters["submitted"] == 1


@pytest.mark.one_server(reason="reads the figures of one server")
@pytest.mark.parametrize(("are_named", "looks"), [(True, 2), (False, 0)])
def test_only_ids_that_the_caller_names_are_looked_up_a_hundred_a_command(
    are_named: bool, looks: int, broker: Broker, valkey: Redis
) -> None:
    job_ids = [new_job_id(QUEUE) for _ in range(150)] if are_named else None
    valkey.config_resetstat()

    enqueued = broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 150, job_ids=job_ids)

    assert {each.outcome for each in enqueued} == {"created"}
    assert valkey.info("commandstats").get("cmdstat_exists", {"calls": 0})["calls"] == looks


@pytest.mark.parametrize("job_id", ["x", "other_" + "0" * 32, "default_" + "0" * 31, "default_" + "0" * 32 + "\n"])
def test_an_id_that_does_not_name_the_queue_is_refused(job_id: str, broker: Broker, valkey: Redis) -> None:
    with pytest.raises(ValueError, match="is no id of a job"):
        broker.enqueue(QUEUE, NewJob.of("echo"), job_id=job_id)

    assert dump(valkey) == {}


@pytest.mark.parametrize("state", LIVE)
def test_a_unique_key_held_by_a_live_job_returns_that_job(state: State, broker: Broker, valkey: Redis) -> None:
    holder = job_in(state, broker, valkey, unique_key="k")
    before = dump(valkey)

    second = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    assert (second.id, second.outcome, second.state) == (holder, "unique", state)
    assert dump(valkey) == before


@pytest.mark.parametrize("state", FINISHED)
def test_a_unique_key_is_free_again_once_its_job_is_finished(state: State, broker: Broker, valkey: Redis) -> None:
    finished = job_in(state, broker, valkey, unique_key="k")

    second = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    assert second.outcome == "created"
    assert second.id != finished


def test_a_unique_job_already_scheduled_tells_when_it_is_due(broker: Broker) -> None:
    first = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k", delay_seconds=600))

    second = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    assert (second.created_at, second.run_at) == (first.created_at, first.run_at)


def test_a_unique_key_twice_in_a_batch_is_stored_once(broker: Broker) -> None:
    first, second = broker.enqueue_many(QUEUE, [NewJob.of("echo", unique_key="k", delay_seconds=60)] * 2)

    assert (first.outcome, second.outcome) == ("created", "unique")
    assert (second.id, second.run_at) == (first.id, first.run_at)


def test_a_unique_key_is_of_one_queue(broker: Broker) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    elsewhere = broker.enqueue("other", NewJob.of("echo", unique_key="k"))

    assert elsewhere.outcome == "created"


def test_a_lock_left_by_a_job_that_is_gone_does_not_block(broker: Broker, valkey: Redis) -> None:
    gone = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))
    valkey.delete(KEYS.job(gone.id))

    second = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))

    assert second.outcome == "created"


def test_jobs_without_a_unique_key_hold_no_lock(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))

    assert not list(valkey.scan_iter(KEYS.unique_prefix + "*"))


def test_the_generation_of_a_queue_is_written_once(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    generation = inspector.stats(QUEUE).generation

    broker.enqueue(QUEUE, NewJob.of("echo"))

    assert generation
    assert inspector.stats(QUEUE).generation == generation


def test_a_damaged_count_of_submissions_is_left_as_it_is(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.hset(KEYS.meta, "submitted", "many")

    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))

    assert enqueued.outcome == "created"
    assert valkey.hget(KEYS.meta, "submitted") == b"many"


@pytest.mark.parametrize("name", ["ready", "scheduled", "deadlines", "wake"])
def test_a_key_of_another_type_refuses_the_jobs_that_need_it_and_nothing_is_stored(
    name: str, broker: Broker, valkey: Redis
) -> None:
    valkey.set(getattr(KEYS, name), "damaged")

    with pytest.raises(QueueingError):
        broker.enqueue_many(QUEUE, [NewJob.of("echo"), NewJob.of("echo", delay_seconds=9, ttl_seconds=99)])

    assert list(valkey.scan_iter("*")) == [getattr(KEYS, name).encode()]


def test_a_call_puts_each_job_where_it_waits(broker: Broker, valkey: Redis) -> None:
    jobs = [NewJob.of("echo"), NewJob.of("echo", delay_seconds=9), NewJob.of("echo", ttl_seconds=99)] * 60

    ids = [enqueued.id for enqueued in broker.enqueue_many(QUEUE, jobs)]

    ready, scheduled = ids[0::3] + ids[2::3], ids[1::3]
    assert set(valkey.zrange(KEYS.ready, 0, -1)) == {job_id.encode() for job_id in ready}
    assert set(valkey.zrange(KEYS.scheduled, 0, -1)) == {job_id.encode() for job_id in scheduled}
    assert set(valkey.zrange(KEYS.deadlines, 0, -1)) == {job_id.encode() for job_id in ids[2::3]}


def test_hints_for_idle_workers_are_at_most_sixteen(broker: Broker, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 40)

    assert valkey.llen(KEYS.wake) == 16


@pytest.mark.one_server(reason="of a cluster one hint waits for one queue")
def test_a_hint_wakes_a_waiting_worker(broker: Broker) -> None:
    dedicated = broker.dedicated()
    broker.enqueue("other", NewJob.of("echo"))

    woken = dedicated.wait_for_hint([QUEUE, "other"], 1)

    dedicated.close()
    assert woken


def test_without_a_job_no_hint_comes(broker: Broker) -> None:
    dedicated = broker.dedicated()

    woken = dedicated.wait_for_hint([QUEUE], 0)

    dedicated.close()
    assert not woken


def test_a_step_behind_a_hint_is_made_as_soon_as_that_comes(broker: Broker) -> None:
    dedicated = broker.dedicated()
    submit = threading.Timer(0.2, broker.enqueue, (QUEUE, NewJob.of("echo")))
    began = time.monotonic()
    submit.start()

    claim = dedicated.make_after_hint(QUEUE, 5, dedicated.claim_step(QUEUE, "w", 1))

    took = time.monotonic() - began
    submit.join()
    dedicated.close()
    assert len(claim.jobs) == 1
    assert 0.2 <= took < 2


def test_a_step_behind_a_hint_is_made_though_none_comes_or_the_server_does_not_know_its_script(
    broker: Broker, valkey: Redis
) -> None:
    dedicated = broker.dedicated()
    for flush in (lambda: None, valkey.script_flush):
        broker.enqueue(QUEUE, NewJob.of("echo"))
        valkey.delete(KEYS.wake)
        flush()

        claim = dedicated.make_after_hint(QUEUE, 0.1, dedicated.claim_step(QUEUE, "w", 1))

        assert len(claim.jobs) == 1
    dedicated.close()


def test_an_error_of_a_step_behind_a_hint_is_its_value(broker: Broker, valkey: Redis) -> None:
    dedicated = broker.dedicated()
    valkey.set(KEYS.ready, "damaged")

    claim = dedicated.make_after_hint(QUEUE, 0.1, dedicated.claim_step(QUEUE, "w", 1))

    dedicated.close()
    assert isinstance(claim, QueueingError)


def test_a_wait_for_a_hint_can_be_interrupted_also_before_it_has_begun(broker: Broker) -> None:
    dedicated, other = broker.dedicated(), broker.dedicated()
    interrupt = threading.Timer(0.2, dedicated.interrupt)
    began = time.monotonic()
    interrupt.start()
    other.interrupt()

    for each in (dedicated, other):
        with pytest.raises(StoreUnavailable):
            each.wait_for_hint([QUEUE], 1.9)

    interrupt.join()
    assert time.monotonic() - began < 1.5
    dedicated.close()
    other.close()


def test_the_job_that_must_expire_before_it_is_due_expires(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600, ttl_seconds=60))
    let_pass(valkey, QUEUE, 20 * MINUTE_MS)

    claim = broker.claim(QUEUE, "w1")

    assert claim.jobs == ()
    assert inspector.job(enqueued.id).state is State.EXPIRED


@pytest.mark.one_server(reason="sets a server's memory")
def test_nothing_is_stored_when_the_server_is_out_of_memory(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    before = dump(valkey)
    valkey.config_set("maxmemory", 1)

    try:
        with pytest.raises(StoreUnavailable):
            broker.enqueue(QUEUE, NewJob.of("echo"))
    finally:
        valkey.config_set("maxmemory", 0)

    assert dump(valkey) == before


def test_a_key_of_a_wrong_type_refuses_the_call_before_the_first_write(broker: Broker, valkey: Redis) -> None:
    valkey.set(KEYS.deadlines, "not a sorted set")
    before = dump(valkey)

    with pytest.raises(QueueingError):
        broker.enqueue_many(QUEUE, [NewJob.of("echo"), NewJob.of("echo", ttl_seconds=1)])

    assert dump(valkey) == before


@pytest.mark.parametrize("name", ["ready", "wake"])
def test_a_key_of_a_wrong_type_refuses_a_single_job_before_the_first_write(
    name: str, broker: Broker, valkey: Redis
) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.set(getattr(KEYS, name), "damaged")
    before = dump(valkey)

    with pytest.raises(QueueingError):
        broker.enqueue(QUEUE, NewJob.of("echo"))

    assert dump(valkey) == before


def test_a_wrong_queue_name_is_refused(broker: Broker, valkey: Redis) -> None:
    with pytest.raises(ValueError, match="no queue name"):
        broker.enqueue("Default", NewJob.of("echo"))

    assert dump(valkey) == {}
