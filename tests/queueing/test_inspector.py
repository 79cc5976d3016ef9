from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, NewJob, Page, PageMark, State
from queueing.inspector import COUNTERS
from queueing.keys import queue_keys
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, claimed_job, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)


def ids_of(page: Page) -> list[str]:
    return [job.id for job in page.jobs]


def all_pages(inspector: Inspector, state: State, limit: int) -> list[list[str]]:
    """Return the ids of each page, following the marks."""
    page = inspector.page(QUEUE, state, limit=limit)
    pages = [ids_of(page)]
    while page.next:
        page = inspector.page(QUEUE, state, limit=limit, after=page.next)
        pages.append(ids_of(page))
    return pages


def tied_ids(broker: Broker, count: int) -> list[str]:
    """Finish jobs in one call, so that their scores are equal; returns them in the order of a page."""
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * count)
    claimed = broker.claim(QUEUE, "w1", count).jobs
    broker.exchange([broker.ack_step(QUEUE, [(job, None) for job in claimed])])
    return sorted((job.id for job in claimed), reverse=True)


@pytest.mark.parametrize("state", list(State))
def test_a_job_is_found_in_each_state(state: State, broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    job_id = job_in(state, broker, valkey)

    job = inspector.job(job_id)

    assert (job.id, job.queue, job.state) == (job_id, QUEUE, state)
    assert (job.finished_at is not None) == state.is_finished
    assert (job.position is not None) == (state is State.READY)


@pytest.mark.parametrize("job_id", [f"{QUEUE}_{0:032x}", "nonsense", "", "x}:y{_" + "0" * 32])
def test_a_job_that_is_not_there_is_not_found(job_id: str, inspector: Inspector) -> None:
    with pytest.raises(JobNotFound):
        inspector.job(job_id)


def test_a_scheduled_job_says_when_it_runs(broker: Broker, inspector: Inspector) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=600))

    job = inspector.job(enqueued.id)

    assert job.run_at == job.created_at + timedelta(seconds=600)


def test_a_retrying_job_says_when_its_next_attempt_runs(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR, delay_ms=60_000)

    stored = inspector.job(job.id)

    assert stored.run_at == stored.attempts[-1].finished_at + timedelta(seconds=60)


def test_a_job_that_was_scheduled_still_says_when_it_was_first_due(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60))
    let_pass(valkey, QUEUE, 5 * MINUTE_MS)
    broker.ack(claim_one(broker))

    job = inspector.job(enqueued.id)

    assert job.run_at == job.created_at + timedelta(seconds=60)


def test_the_error_of_a_job_is_the_last_one_until_it_succeeds(broker: Broker, inspector: Inspector) -> None:
    job = claimed_job(broker)
    broker.fail(job, ERROR, delay_ms=0)
    failed = inspector.job(job.id).error
    broker.ack(claim_one(broker))

    succeeded = inspector.job(job.id)

    assert failed == ERROR
    assert succeeded.error is None
    assert [attempt.outcome for attempt in succeeded.attempts] == ["failed", "succeeded"]


def test_the_position_counts_from_the_job_claimed_next(broker: Broker, inspector: Inspector) -> None:
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", priority=priority)).id for priority in (0, 0, 9)]

    positions = [inspector.job(job_id).position for job_id in ids]

    assert positions == [3, 2, 1]


def test_a_page_of_ready_jobs_is_in_the_order_of_service(broker: Broker, inspector: Inspector) -> None:
    for priority in (0, 5, 0, 9, 5):
        broker.enqueue(QUEUE, NewJob.of("echo", priority=priority))

    page = inspector.page(QUEUE, State.READY)

    assert [job.position for job in page.jobs] == [1, 2, 3, 4, 5]
    assert ids_of(page) == [job.id for job in broker.claim(QUEUE, "w1", 5).jobs]


@pytest.mark.parametrize("state", list(State))
def test_a_page_holds_the_jobs_of_its_state_only(
    state: State, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    made = [one for one in State if one is not State.READY]
    ids = {one: job_in(one, broker, valkey) for one in [*made, State.READY]}

    page = inspector.page(QUEUE, state)

    assert ids_of(page) == [ids[state]]
    assert page.next is None


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_follow_each_other_without_gap_or_repeat(limit: int, broker: Broker, inspector: Inspector) -> None:
    ids = [enqueued.id for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 7)]

    pages = all_pages(inspector, State.READY, limit)

    assert [job_id for page in pages for job_id in page] == ids[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_over_equal_scores_follow_each_other(limit: int, broker: Broker, inspector: Inspector) -> None:
    ids = tied_ids(broker, 7)

    pages = all_pages(inspector, State.SUCCEEDED, limit)

    assert [job_id for page in pages for job_id in page] == ids


def test_positions_go_on_over_pages(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 5)
    first = inspector.page(QUEUE, State.READY, limit=3)

    second = inspector.page(QUEUE, State.READY, limit=3, after=first.next)

    assert [job.position for job in second.jobs] == [4, 5]


def test_a_page_goes_on_although_the_job_at_its_mark_left(broker: Broker, inspector: Inspector) -> None:
    ids = [enqueued.id for enqueued in broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 6)][::-1]
    first = inspector.page(QUEUE, State.READY, limit=3)
    broker.cancel(ids[2])

    second = inspector.page(QUEUE, State.READY, limit=3, after=first.next)

    assert ids_of(second) == ids[3:]


@pytest.mark.parametrize("gone", [[1], [0, 1], [1, 2], [0, 1, 2, 3, 4]])
def test_a_page_goes_on_among_equal_scores_although_jobs_around_its_mark_left(
    gone: list[int], broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    ids = tied_ids(broker, 9)
    first = inspector.page(QUEUE, State.SUCCEEDED, limit=2)
    for n in gone:
        valkey.zrem(KEYS.succeeded, ids[n])

    second = inspector.page(QUEUE, State.SUCCEEDED, limit=2, after=first.next)

    left = [job_id for n, job_id in enumerate(ids) if n >= 2 and n not in gone]
    assert ids_of(second) == left[:2]


def test_pages_of_running_jobs_come_to_an_end_although_leases_are_extended(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4)
    jobs = broker.claim(QUEUE, "w1", 4).jobs
    first = inspector.page(QUEUE, State.RUNNING, limit=2)
    let_pass(valkey, QUEUE, MINUTE_MS)
    marked = [job for job in jobs if job.id == first.next.id]
    broker.extend([(job, None) for job in marked])
    mark = PageMark(score=str(int(first.next.score) - MINUTE_MS), id=first.next.id)

    second = inspector.page(QUEUE, State.RUNNING, limit=2, after=mark)

    assert set(ids_of(first)).isdisjoint(ids_of(second))
    assert len(second.jobs) == 2


def test_a_page_skips_ids_without_a_record(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    good = broker.enqueue(QUEUE, NewJob.of("echo"))
    ghost = broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.delete(KEYS.job(ghost.id))

    assert ids_of(inspector.page(QUEUE, State.READY)) == [good.id]


@pytest.mark.parametrize(("limit", "held"), [(0, 1), (-5, 1), (100, 100), (5_000, 100)])
def test_the_size_of_a_page_is_bounded(limit: int, held: int, broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 101)

    page = inspector.page(QUEUE, State.READY, limit=limit)

    assert len(page.jobs) == held


def test_stats_count_the_jobs_of_each_state(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    for state in (one for one in State if one is not State.READY):
        job_in(state, broker, valkey)
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 2)

    counts = inspector.stats(QUEUE).counts

    assert counts == {**dict.fromkeys(State, 1), State.READY: 2}


def test_stats_of_a_queue_never_used_are_zero(inspector: Inspector) -> None:
    stats = inspector.stats(QUEUE)

    assert stats.counts == dict.fromkeys(State, 0)
    assert stats.counters == dict.fromkeys(COUNTERS, 0)
    assert (stats.oldest_ready_age_seconds, stats.newest_ready_age_seconds) == (None, None)
    assert (stats.paused, stats.generation, stats.clock, stats.workers) == (False, None, 0, ())


def test_the_oldest_and_newest_ages_are_over_all_priorities(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    for priority in (4, 9, 0, 4):
        broker.enqueue(QUEUE, NewJob.of("echo", priority=priority))
        let_pass(valkey, QUEUE, MINUTE_MS)

    stats = inspector.stats(QUEUE)

    assert stats.oldest_ready_age_seconds == pytest.approx(240, abs=5)
    assert stats.newest_ready_age_seconds == pytest.approx(60, abs=5)


def test_an_age_is_never_negative(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    ahead = broker.enqueue(QUEUE, NewJob.of("echo")).stamp + 10**7
    valkey.hset(KEYS.meta, "clock", ahead)
    broker.enqueue(QUEUE, NewJob.of("echo"))

    assert inspector.stats(QUEUE).newest_ready_age_seconds == 0


def test_the_counters_of_the_last_full_minute_are_told(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 3)
    let_pass(valkey, QUEUE, MINUTE_MS)

    assert inspector.stats(QUEUE).last_minute == {"submitted": 3}


def test_the_counters_of_a_minute_are_kept_for_25_hours(broker: Broker, valkey: Redis) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo"))
    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    (key,) = valkey.scan_iter(KEYS.minute_prefix + "[0-9]*")

    assert 89_000 < valkey.ttl(key) <= 90_000


def test_live_keys_have_no_time_to_live(broker: Broker, valkey: Redis) -> None:
    for state in State:
        if state is not State.READY:
            job_in(state, broker, valkey, unique_key=f"k-{state}")

    limited = {key.decode() for key in valkey.scan_iter() if valkey.ttl(key) != -1}

    assert {key for key in limited if not key.startswith(KEYS.minute_prefix)} == set()


def test_stats_of_several_queues_come_in_the_order_asked_for(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue("b", NewJob.of("echo"))

    stats = inspector.stats_of(["b", "a"])

    assert [(one.queue, one.counts[State.READY]) for one in stats] == [("b", 1), ("a", 0)]


def test_a_worker_is_known_by_its_last_sign_of_life(broker: Broker, inspector: Inspector) -> None:
    broker.beat(QUEUE, "w2", b'{"slots":1}', 60_000)
    broker.beat(QUEUE, "w1", b'{"slots":8}', 60_000)
    broker.beat(QUEUE, "w1", b'{"slots":9}', 60_000)

    stats = inspector.stats(QUEUE)

    assert [(worker.id, worker.about) for worker in stats.workers] == [("w1", {"slots": 9}), ("w2", {"slots": 1})]
    assert all(timedelta(0) <= stats.at - worker.seen_at < timedelta(seconds=5) for worker in stats.workers)


def test_a_worker_that_says_goodbye_is_forgotten(broker: Broker, inspector: Inspector) -> None:
    broker.beat(QUEUE, "w1", b"{}", 60_000)

    broker.beat(QUEUE, "w1", b"", 60_000)

    assert inspector.stats(QUEUE).workers == ()


def test_a_worker_that_fell_silent_is_forgotten_by_the_next_beat(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    broker.beat(QUEUE, "silent", b"{}", 60_000)
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)

    broker.beat(QUEUE, "w1", b"{}", 60_000)

    assert [worker.id for worker in inspector.stats(QUEUE).workers] == ["w1"]


def test_reading_changes_nothing(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    ids = [job_in(state, broker, valkey) for state in State if state is not State.READY]
    before = dump(valkey)

    for state, job_id in zip(State, ids, strict=False):
        inspector.job(job_id)
        inspector.page(QUEUE, state)
    inspector.stats(QUEUE)

    assert dump(valkey) == before


@pytest.mark.parametrize("queue", ["", "A", "a}:b{", "a\n", "-a", "a" * 64])
def test_a_wrong_queue_name_is_refused(queue: str, inspector: Inspector) -> None:
    with pytest.raises(ValueError, match="no queue name"):
        inspector.stats(queue)
    with pytest.raises(ValueError, match="no queue name"):
        inspector.page(queue, State.READY)
