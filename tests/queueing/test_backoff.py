from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing import Backoff

limits = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)).map(sorted)


def backoff(bounds: list[int]) -> Backoff:
    return Backoff(base_ms=bounds[0], max_ms=bounds[1])


@given(limits, st.integers(1, 1_000), st.integers())
def test_each_delay_lies_between_zero_and_the_ceiling(bounds: list[int], attempt: int, seed: int) -> None:
    delay_ms = backoff(bounds).delay_ms(attempt, random.Random(seed))

    assert 0 <= delay_ms <= backoff(bounds).ceiling_ms(attempt) <= bounds[1]


@given(limits, st.integers(1, 1_000))
def test_the_ceiling_never_falls_from_attempt_to_attempt(bounds: list[int], attempt: int) -> None:
    assert backoff(bounds).ceiling_ms(attempt) <= backoff(bounds).ceiling_ms(attempt + 1)


def test_the_ceiling_doubles_up_to_its_limit() -> None:
    ceilings = [Backoff(base_ms=100, max_ms=1_000).ceiling_ms(attempt) for attempt in range(1, 7)]

    assert ceilings == [100, 200, 400, 800, 1_000, 1_000]


@pytest.mark.parametrize("attempt", [64, 65, 66, 1_000, 10**9])
def test_a_late_attempt_waits_for_the_limit_and_overflows_nothing(attempt: int) -> None:
    assert Backoff().ceiling_ms(attempt) == Backoff().max_ms


def test_delays_are_spread_evenly_over_the_whole_range() -> None:
    source = random.Random(1)

    delays = [Backoff(base_ms=1_000, max_ms=1_000).delay_ms(1, source) for _ in range(4_000)]

    quarters = [sum(250 * n <= delay < 250 * (n + 1) for delay in delays) for n in range(4)]
    assert all(900 < count < 1_100 for count in quarters)
    assert (min(delays), max(delays)) == (0, 1_000)


def test_no_backoff_is_possible() -> None:
    assert Backoff(base_ms=0, max_ms=0).delay_ms(1_000) == 0


def test_the_default_draws_differ() -> None:
    assert len({Backoff().delay_ms(10) for _ in range(20)}) > 1


@pytest.mark.parametrize(("base_ms", "max_ms"), [(-1, 1), (2, 1)])
def test_limits_that_contradict_each_other_are_refused(base_ms: int, max_ms: int) -> None:
    with pytest.raises(ValueError, match="base_ms"):
        Backoff(base_ms=base_ms, max_ms=max_ms)
