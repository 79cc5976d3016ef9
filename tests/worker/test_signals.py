"""Stopping: what TERM and INT ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from tests.worker.rig import WAIT_SECONDS
from worker.signals import StopRequest, install


@pytest.fixture
def installed() -> Iterator[StopRequest]:
    """Install the handlers in this process, and put back what was there."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = StopRequest()
    install(stop)
    yield stop
    for number, previous in before.items():
        signal.signal(number, previous)
    os.close(signal.set_wakeup_fd(-1))  # which ends a thread that listens
    for thread in threading.enumerate():
        if thread.name == "signals":
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
    assert stop._bell is not None
    stop._bell.close()


def test_a_signal_that_the_system_gives_to_another_thread_wakes_the_main_one(installed: StopRequest) -> None:
    """Which waits in C, and would be told of it by nobody."""
    inbox: SimpleQueue[None] = SimpleQueue()
    installed.on_change = lambda: inbox.put(None)
    installed.listen()
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(other.ident or 0, signal.SIGTERM))
    timer.start()

    inbox.get(timeout=WAIT_SECONDS)

    assert installed.requested.is_set()
    ended.set()
    other.join()
    timer.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_stop_in_order_the_second_at_once(
    installed: StopRequest, number: signal.Signals
) -> None:
    signal.raise_signal(number)
    assert installed.requested.is_set()
    assert not installed.at_once.is_set()

    signal.raise_signal(number)
    assert installed.at_once.is_set()
    assert installed.signal_number == number


def test_a_request_may_be_for_at_once() -> None:
    stop = StopRequest()

    stop.request(at_once=True)

    assert stop.requested.is_set()
    assert stop.at_once.is_set()


def test_each_request_is_made_known() -> None:
    told: list[bool] = []
    stop = StopRequest(on_change=lambda: told.append(stop.at_once.is_set()))

    stop.request()
    stop.request()

    assert told == [False, True]


# Interrupt a wait and a request after 1, 2, 3... of their steps with another request, until they are over.
AT_EVERY_STEP = """
import sys
from worker.signals import StopRequest

def interrupted_after(steps):
    stop, left = StopRequest(), steps

    def trace(frame, event, argument):
        nonlocal left
        left -= 1
        if left == 0:
            sys.settrace(None)
            stop.request()
        return trace

    sys.settrace(trace)
    stop.requested.wait(0.001)
    stop.request()
    sys.settrace(None)
    assert stop.requested.is_set()
    return left <= 0

steps = 1
while interrupted_after(steps):
    steps += 1
print(steps)
"""


def test_a_signal_may_come_at_any_step_of_a_request_or_a_wait() -> None:
    """A signal's handler runs between two steps of the main thread, also of those it interrupts itself."""
    command = [sys.executable, "-c", AT_EVERY_STEP]

    answer = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)

    assert int(answer.stdout) > 10
