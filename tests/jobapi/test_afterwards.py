"""What is done after a request: in turn, a moment later, and never lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from jobapi import afterwards as module
from jobapi.afterwards import Afterwards


@pytest.fixture
def started() -> Iterator[Afterwards]:
    afterwards = Afterwards()
    afterwards.start()
    yield afterwards
    afterwards.close()


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let work gather until the event is set."""
    end = threading.Event()
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: end.wait(10))
    yield end
    end.set()


def test_until_it_is_started_work_is_done_at_once() -> None:
    done: list[int] = []

    Afterwards().do(done.append, 1)

    assert done == [1]


def test_work_is_done_in_its_order_by_another_thread(started: Afterwards) -> None:
    done: list[tuple[int, str]] = []
    last = threading.Event()

    for number in range(100):
        started.do(lambda number=number: done.append((number, threading.current_thread().name)))
    started.do(last.set)

    assert last.wait(10)
    assert done == [(number, "afterwards") for number in range(100)]


def test_what_waits_is_done_before_one_who_asks_for_it_goes_on(gathering: threading.Event, started: Afterwards) -> None:
    done: list[int] = []
    started.do(done.append, 1)
    started.do(done.append, 2)
    before = done.copy()

    started.catch_up()

    assert (before, done) == ([], [1, 2])


def test_beyond_the_most_that_may_wait_work_is_done_at_once(
    gathering: threading.Event, started: Afterwards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    done: list[int] = []

    for number in range(3):
        started.do(done.append, number)

    assert done == [2]


def test_closing_does_what_is_left_and_what_comes_then_is_done_at_once(started: Afterwards) -> None:
    done: list[int] = []
    started.do(done.append, 1)

    started.close()
    started.do(done.append, 2)

    assert done == [1, 2]


def test_work_that_fails_is_logged_and_the_rest_is_done(started: Afterwards, caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    started.do(int, "no number")
    started.do(done.append, 1)
    started.close()

    assert done == [1]
    assert [(record.levelno, record.__dict__["action"]) for record in caplog.records] == [
        (logging.ERROR, "afterwards_failed")
    ]
