"""The guard against jumps of the database server's clock."""

from __future__ import annotations

import pytest

from worker.clock import SLACK_MS, ClockGuard

LEASE_MS = 30_000
START = 1_800_000_000_000


def test_clocks_that_run_alike_let_reaping_go_on() -> None:
    guard = ClockGuard(hold_ms=LEASE_MS)

    answers = [guard.latest_ms(START + tick * 1000, tick * 1000) for tick in range(60)]

    assert answers == [START + tick * 1000 + SLACK_MS for tick in range(60)]


@pytest.mark.parametrize("jump_ms", [60_000, -60_000])
def test_after_a_jump_nothing_is_reaped_for_the_time_of_a_lease(jump_ms: int) -> None:
    guard = ClockGuard(hold_ms=LEASE_MS)
    guard.latest_ms(START, 0)

    held = [guard.latest_ms(START + jump_ms + after, after) for after in range(1000, LEASE_MS + 1000, 1000)]
    then = guard.latest_ms(START + jump_ms + LEASE_MS + 1000, LEASE_MS + 1000)

    assert held == [None] * 30
    assert then == START + jump_ms + LEASE_MS + 1000 + SLACK_MS


def test_a_second_jump_holds_again() -> None:
    guard = ClockGuard(hold_ms=LEASE_MS)
    guard.latest_ms(START, 0)
    guard.latest_ms(START + 60_000, 1000)

    guard.latest_ms(START + 1000, 20_000)

    assert guard.latest_ms(START + 13_000, 32_000) is None
    assert guard.latest_ms(START + 31_500, 50_500) is not None


def test_a_slow_round_trip_is_no_jump() -> None:
    guard = ClockGuard(hold_ms=LEASE_MS)
    guard.latest_ms(START, 0)

    assert guard.latest_ms(START + 1000 + SLACK_MS, 1000) is not None


def test_after_a_long_pause_a_small_drift_is_no_jump() -> None:
    guard = ClockGuard(hold_ms=LEASE_MS)
    guard.latest_ms(START, 0)

    assert guard.latest_ms(START + 600_000 + 20_000, 600_000) is not None
