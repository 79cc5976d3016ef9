"""The figures of a queue that grow with time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from redis import Redis

from queueing import (
    AGE_BOUNDS_SECONDS,
    RUN_BOUNDS_SECONDS,
    WAIT_BOUNDS_SECONDS,
    Broker,
    Inspector,
    JobError,
    NewJob,
    Run,
)
from queueing.figures import MAX_MINUTES, MAX_RUNS, SERIES
from queueing.keys import queue_keys
from queueing.scripts import LUA_FOLDER
from tests.queueing.states import QUEUE, claim_one
from tests.queueing.timetravel import MINUTE_MS, let_pass

KEYS = queue_keys(QUEUE)
ECHO = NewJob.of("echo")
ERROR = JobError(type="ValueError", message="no")


def test_the_bounds_are_those_of_the_scripts() -> None:
    for name, bounds in (("wait", WAIT_BOUNDS_SECONDS), ("run", RUN_BOUNDS_SECONDS)):
        text = (LUA_FOLDER / "include" / f"{name}_bounds.lua").read_text()
        assert text.endswith(f"_BOUNDS_MS = {{ {', '.join(f'{bound * 1000:.0f}' for bound in bounds)} }}\n")


def test_a_first_attempt_is_counted_by_how_long_its_job_had_waited(
    broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    broker.enqueue(QUEUE, ECHO)
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)
    broker.enqueue(QUEUE, NewJob.of("echo", priority=9))

    broker.claim(QUEUE, "w", limit=2)

    waits = inspector.stats(QUEUE).waits
    assert dict(zip((*WAIT_BOUNDS_SECONDS, None), waits.counts, strict=True)) == {
        **dict.fromkeys((*WAIT_BOUNDS_SECONDS, None), 0),
        0.1: 1,
        300: 1,
    }
    assert waits.sum_seconds == pytest.approx(120, abs=2)
    assert waits.count == 2


def test_a_later_attempt_is_not_counted_as_waiting(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, ECHO)
    broker.fail(claim_one(broker), ERROR, delay_ms=0)

    claim_one(broker)

    assert inspector.stats(QUEUE).waits.count == 1


def test_attempts_are_counted_by_how_long_they_ran(broker: Broker, inspector: Inspector, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [ECHO] * 3)
    jobs = broker.claim(QUEUE, "w", limit=3).jobs
    broker.ack(jobs[0])
    let_pass(valkey, QUEUE, 4 * MINUTE_MS)

    broker.ack(jobs[1])
    broker.fail(jobs[2], ERROR)

    runs = inspector.stats(QUEUE).runs
    counts = dict(zip((*RUN_BOUNDS_SECONDS, None), runs.counts, strict=True))
    assert counts[300] == 2
    assert sum(runs.counts) == runs.count == 3
    assert runs.sum_seconds == pytest.approx(480, abs=2)


def test_what_is_counted_each_minute_is_that_of_the_scripts() -> None:
    text = (LUA_FOLDER / "include" / "counted.lua").read_text()
    (names,) = re.findall(r"COUNTED = \{(.*?)\}", text, re.DOTALL)
    assert tuple(re.findall(r"'(\w+)'", names)) == SERIES


def test_a_cancelled_attempt_has_not_failed(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, ECHO)
    broker.fail(claim_one(broker), ERROR, outcome="cancelled")

    counters = inspector.stats(QUEUE).counters
    assert (counters["failed"], counters["stopped"], counters["cancelled"]) == (0, 1, 1)


def test_history_has_a_figure_for_each_minute(broker: Broker, inspector: Inspector, valkey: Redis) -> None:
    broker.enqueue_many(QUEUE, [ECHO] * 3)
    broker.ack(claim_one(broker))
    now = broker.server_time_ms("default") // MINUTE_MS
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)
    broker.enqueue(QUEUE, ECHO)

    (history,) = inspector.history([QUEUE], 5)

    assert history.first_minute in (now - 4, now - 3)
    assert sum(history.series["submitted"]) == 4
    assert history.series["submitted"][now - 2 - history.first_minute] == 3
    assert (sum(history.series["started"]), sum(history.series["succeeded"])) == (1, 1)
    assert {len(figures) for figures in history.series.values()} == {5}


def test_a_minute_that_comes_again_counts_on(broker: Broker, valkey: Redis) -> None:
    for count in (3, 1, 1):
        broker.enqueue_many(QUEUE, [ECHO] * count)
        for key in (KEYS.meta, KEYS.minute_prefix + "start"):  # as if the server's clock were set back then
            valkey.hincrby(key, "minute", 1)
    minute = int(valkey.hget(KEYS.meta, "minute") or 0)

    broker.enqueue(QUEUE, ECHO)

    assert valkey.hget(KEYS.minute(minute), "submitted") == b"5"


def test_what_an_older_release_counted_in_this_minute_is_told_too(
    broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    broker.enqueue(QUEUE, ECHO)
    now = broker.server_time_ms("default") // MINUTE_MS
    valkey.hincrby(KEYS.minute(now), "submitted", 5)
    told_now = inspector.history([QUEUE], 3)[0].series["submitted"]

    let_pass(valkey, QUEUE, MINUTE_MS)
    broker.enqueue(QUEUE, ECHO)

    assert sum(told_now) == 6
    assert sum(inspector.history([QUEUE], 4)[0].series["submitted"]) == 7


@pytest.mark.parametrize("text", ["x", "99999999999999999999", "-1"])
def test_a_damaged_minute_costs_its_own_figures_only(
    text: str, broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    broker.enqueue(QUEUE, ECHO)
    valkey.hset(KEYS.meta, "minute", text)

    broker.ack(claim_one(broker))

    (history,) = inspector.history([QUEUE], 3)
    assert (sum(history.series["submitted"]), sum(history.series["succeeded"])) == (0, 1)
    assert inspector.stats(QUEUE).counters["submitted"] == 1


def test_history_of_a_queue_never_used_is_all_zeros_and_a_day_long_at_most(inspector: Inspector) -> None:
    (history,) = inspector.history([QUEUE], 10 * MAX_MINUTES)

    assert {len(figures) for figures in history.series.values()} == {MAX_MINUTES}
    assert not any(any(figures) for figures in history.series.values())


def test_ages_count_ready_jobs_by_how_long_they_wait(broker: Broker, inspector: Inspector, valkey: Redis) -> None:
    for priority in (0, 9):
        broker.enqueue(QUEUE, NewJob.of("echo", priority=priority))
    let_pass(valkey, QUEUE, 2 * MINUTE_MS)
    broker.enqueue(QUEUE, NewJob.of("echo", priority=4))
    let_pass(valkey, QUEUE, 2 * 3_600_000)
    broker.enqueue(QUEUE, NewJob.of("echo", priority=0))

    other, ages = inspector.ages(["another", QUEUE])

    assert ages.counts == (1, 0, 0, 0, 3)
    assert other.counts == (0,) * (len(AGE_BOUNDS_SECONDS) + 1)


def test_the_lease_that_ended_first_tells_for_how_long_it_is_over(
    broker: Broker, inspector: Inspector, valkey: Redis
) -> None:
    broker.enqueue(QUEUE, ECHO)
    claim_one(broker)
    assert inspector.stats(QUEUE).overdue_seconds == 0

    let_pass(valkey, QUEUE, 2 * MINUTE_MS)

    assert inspector.stats(QUEUE).overdue_seconds == pytest.approx(120 - broker.policy.lease_ms / 1000, abs=2)


def run_of(number: int, *queues: str) -> Run:
    return Run(
        worker=f"host:{number}:abcd",
        host="host",
        queues=queues,
        mode="drain",
        interval_seconds=None,
        started_at=datetime(2026, 11, 21, 10, 0, number, tzinfo=UTC),
        ended_at=datetime(2026, 11, 21, 10, 1, number, tzinfo=UTC),
        jobs=number,
        outcome="drained",
    )


def test_a_run_of_several_queues_is_read_once_and_the_latest_first(broker: Broker, inspector: Inspector) -> None:
    first, second = run_of(1, QUEUE, "another"), run_of(2, QUEUE)
    broker.note_run(first)
    broker.note_run(second)

    assert inspector.runs([QUEUE, "another"]) == [second, first]
    assert inspector.runs(["another"]) == [first]
    assert inspector.runs(["never-used"]) == []


def test_only_the_last_runs_are_kept(broker: Broker, valkey: Redis) -> None:
    for number in range(MAX_RUNS + 5):
        broker.note_run(run_of(number % 60, QUEUE))

    assert valkey.llen(KEYS.runs) == MAX_RUNS
