"""Leases that are over, told from leases that a jump of the database server's clock has passed."""

from __future__ import annotations

import logging

import pytest

from queueing.broker import LONGEST_LEASE_MS
from worker.clock import SLACK_MS, LeaseWatch, Window

LEASE_MS = 30_000
START = 1_800_000_000_000


def looked(watch: LeaseWatch, server_ms: int, our_ms: int) -> Window:
    """Look at the server's clock without delay, and reap the whole window."""
    window = watch.look(server_ms, our_ms, our_ms)
    watch.note_reaped(window)
    return window


@pytest.fixture
def watch() -> LeaseWatch:
    """Give a watch that has looked every second for a minute, up to START."""
    watch = LeaseWatch(lease_ms=LEASE_MS)
    for seconds in range(-60, 1):
        looked(watch, START + seconds * 1000, seconds * 1000)
    return watch


def test_what_ran_out_since_the_last_look_is_over(watch: LeaseWatch) -> None:
    window = looked(watch, START + 1000, 1000)

    assert window == Window(from_ms=START + 1, to_ms=START + 1000, longest_ms=LONGEST_LEASE_MS)


def test_at_first_only_leases_that_began_after_the_first_look_are_over_by_the_clock() -> None:
    watch = LeaseWatch(lease_ms=LEASE_MS)

    windows = [looked(watch, START + seconds * 1000, seconds * 1000) for seconds in range(31)]

    assert {window.from_ms for window in windows} == {START + LEASE_MS}
    assert windows[-1].to_ms == START + LEASE_MS


@pytest.mark.parametrize("jump_ms", [60_000, -60_000, SLACK_MS + 1, -SLACK_MS - 1])
def test_after_a_jump_only_leases_that_began_after_it_are_over_by_the_clock(watch: LeaseWatch, jump_ms: int) -> None:
    now = START + 1000 + jump_ms

    windows = [looked(watch, now + seconds * 1000, 1000 + seconds * 1000) for seconds in range(31)]

    assert {window.from_ms for window in windows} == {now + LEASE_MS}


def test_after_a_jump_back_what_a_lease_may_have_left_is_a_lease_until_that_is_seen_to(watch: LeaseWatch) -> None:
    failed = watch.look(START - 59_000, 1000, 1000)
    again = looked(watch, START - 58_000, 2000)
    then = looked(watch, START - 57_000, 3000)

    assert [window.longest_ms for window in (failed, again, then)] == [LEASE_MS, LEASE_MS, LONGEST_LEASE_MS]


def test_a_jump_is_told_of_once(watch: LeaseWatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for seconds in range(1, 5):
            looked(watch, START + 60_000 + seconds * 1000, seconds * 1000)

    assert [record.getMessage() for record in caplog.records] == ["the database server's clock jumped by +60.0 s"]


def test_a_slow_answer_is_no_jump(watch: LeaseWatch) -> None:
    late = watch.look(START + 6000, 1000, 6000)
    early = watch.look(START + 7000, 7000, 12_000)

    assert (late.from_ms, early.from_ms) == (START + 1, START + 1)


def test_a_clock_that_drifts_by_2_s_a_minute_does_not_jump(watch: LeaseWatch) -> None:
    windows = [looked(watch, START + seconds * 1033, seconds * 1000) for seconds in range(1, 61)]

    assert windows[-1].from_ms == windows[-2].to_ms + 1


def test_a_quarter_of_a_short_lease_is_a_jump() -> None:
    watch = LeaseWatch(lease_ms=400)
    for our_ms in range(0, 1000, 100):
        looked(watch, START + our_ms, our_ms)

    assert looked(watch, START + 1101, 1000).from_ms == START + 1101 + 400


def test_a_lease_that_ended_before_the_window_is_over_once_it_was_the_same_for_a_lease(watch: LeaseWatch) -> None:
    over = {seconds: watch.over([START - 7.0], seconds * 1000) for seconds in range(1, 33)}

    assert [seconds for seconds, ends in over.items() if ends] == [31, 32]
    assert over[31] == [START - 7.0]


def test_a_lease_that_was_extended_meanwhile_is_watched_anew(watch: LeaseWatch) -> None:
    watch.over([5.0, 6.0], 0)
    watch.over([5.0], 20_000)

    assert watch.over([5.0, 6.0], 40_000) == [5.0]


def test_a_watch_waits_while_it_sees_a_lease_that_seems_to_have_run_out(watch: LeaseWatch) -> None:
    waits = []
    for ends in ([], [START - 1.0], [START + 1.0]):
        watch.over(ends, 0)
        waits.append(watch.is_waiting)

    assert waits == [False, True, False]
