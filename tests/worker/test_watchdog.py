"""The watchdog over the consumer."""

from __future__ import annotations

import threading
import time

from worker.watchdog import EXIT_STUCK, Watchdog


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
