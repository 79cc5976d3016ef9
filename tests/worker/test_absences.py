"""What a consumer knows of queues it cannot reach."""

from __future__ import annotations

import time

import pytest

from worker.absences import LONGEST_RETRY_SECONDS, Absences

QUEUES = ["a", "b", "c"]


def wait_for_the_next_try(absences: Absences) -> None:
    time.sleep(absences.pause_seconds())


def test_at_first_all_are_there() -> None:
    absences = Absences(QUEUES, apart=True)

    assert absences.begin_turn() == QUEUES
    assert (absences.since, absences.are_all, absences.pause_seconds()) == (None, False, float("inf"))


def test_one_that_is_away_is_left_out_until_it_is_to_be_tried_again() -> None:
    absences = Absences(QUEUES, apart=True)
    absences.note("a")

    assert absences.begin_turn() == ["b", "c"]
    wait_for_the_next_try(absences)
    assert absences.begin_turn() == QUEUES


def test_one_that_answers_is_there_again() -> None:
    absences = Absences(QUEUES, apart=True)
    absences.note("a")
    absences.begin_turn()
    absences.clear("a")

    assert absences.begin_turn() == QUEUES
    assert absences.since is None


def test_when_all_are_away_the_one_to_be_tried_first_is_asked() -> None:
    absences = Absences(QUEUES, apart=True)
    for queue in ("b", "a", "a", "c"):
        absences.begin_turn()
        absences.note(queue)
    first = absences.begin_turn()

    assert absences.are_all
    assert len(first) == 1
    assert first != ["a"]  # which failed twice


def test_where_one_server_has_all_queues_they_are_away_together_and_always_asked() -> None:
    absences = Absences(QUEUES, apart=False)
    assert absences.note("b") == 1

    assert absences.are_all
    assert absences.begin_turn() == QUEUES
    absences.clear("c")
    assert not absences.are_all


def test_a_turn_counts_once_whatever_else_is_heard_in_it() -> None:
    absences = Absences(QUEUES, apart=False)

    assert [absences.note("a"), absences.note("a")] == [1, 0]
    absences.clear("a")
    assert absences.are_all
    absences.begin_turn()
    assert absences.note("b") == 2


def test_it_is_away_since_it_was_first_noted() -> None:
    absences = Absences(QUEUES, apart=True)
    absences.note("b")
    since = absences.since
    absences.begin_turn()
    absences.note("b")
    absences.note("a")

    assert absences.since == since


@pytest.mark.parametrize("turns", [1, 5, 50, 5_000])
def test_tries_become_rarer_to_a_limit(turns: int) -> None:
    absences = Absences(QUEUES, apart=True)
    for _ in range(turns):
        absences.begin_turn()
        absences.note("a")

    assert 0.05 < absences.pause_seconds() <= min(LONGEST_RETRY_SECONDS, 0.1 * 2 ** min(turns, 10))


def test_a_try_that_took_long_is_not_made_again_at_once_where_other_queues_wait_for_it() -> None:
    absences = Absences(QUEUES, apart=True)
    absences.note("a", took_seconds=1.5)

    assert 1.4 < absences.pause_seconds() <= 1.5
    absences = Absences(QUEUES, apart=False)
    absences.note("a", took_seconds=1.5)
    assert absences.pause_seconds() <= 0.2
