"""The watchdog over the consumer."""

from __future__ import annotations

import threading
import time

import pytest

from worker.watchdog import EXIT_BROKEN, EXIT_STUCK, Watchdog


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what a process would print of errors that end threads."""
    deaths: list[object] = []
    monkeypatch.setattr(threading, "excepthook", deaths.append)
    return deaths


def test_it_ends_the_process_when_no_claim_went_through_for_too_long() -> None:
    codes: list[int] = []
    watchdog = Watchdog(limit_seconds=30, bite=codes.append)

    bitten = watchdog.run_once(time.monotonic() + 31)

    assert bitten
    assert codes == [EXIT_STUCK]


def test_it_does_nothing_while_the_worker_works() -> None:
    codes: list[int] = []
    watchdog = Watchdog(limit_seconds=30, bite=codes.append)
    watchdog.pat()

    bitten = watchdog.run_once(time.monotonic() + 29)

    assert not bitten
    assert codes == []


def test_its_thread_bites_by_itself() -> None:
    bitten = threading.Event()
    watchdog = Watchdog(limit_seconds=0, bite=lambda _code: bitten.set())

    watchdog.start()

    assert bitten.wait(10)


def test_a_stopped_watchdog_does_not_bite() -> None:
    codes: list[int] = []
    watchdog = Watchdog(limit_seconds=0, bite=codes.append)
    watchdog.stop()

    watchdog.start()
    watchdog._thread.join(10)

    assert codes == []


def test_it_ends_the_process_in_the_moment_a_thread_that_it_watches_dies_of_an_error(heard: list[object]) -> None:
    """No look of its own may lie between: a lease goes on running out meanwhile."""
    codes: list[int] = []
    watchdog = Watchdog(bite=codes.append)
    keeper = threading.Thread(target=lambda: 1 / 0, name="lease-keeper")
    watchdog.start([keeper])

    keeper.start()
    keeper.join()

    watchdog.stop()
    assert len(heard) == 1
    assert codes == [EXIT_BROKEN]


def test_an_error_in_a_thread_of_a_handlers_own_is_left_to_it(heard: list[object]) -> None:
    codes: list[int] = []
    watchdog = Watchdog(bite=codes.append)
    watchdog.start([])

    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

    watchdog.stop()
    assert len(heard) == 1
    assert codes == []


def test_it_ends_the_process_when_a_thread_that_it_watches_has_died() -> None:
    codes: list[int] = []
    bitten = threading.Event()
    watchdog = Watchdog(bite=lambda code: (codes.append(code), bitten.set()))
    keeper = threading.Thread(target=lambda: None, name="lease-keeper")
    keeper.start()
    keeper.join()

    watchdog.start([keeper])

    assert bitten.wait(10)
    assert codes == [EXIT_BROKEN]


def test_threads_that_end_when_it_was_stopped_end_in_order() -> None:
    codes: list[int] = []
    watchdog = Watchdog(limit_seconds=30, bite=codes.append)
    keeper = threading.Thread(target=lambda: None)
    watchdog.start([keeper])
    watchdog.stop()

    assert not watchdog.run_once(time.monotonic())
    assert codes == []
