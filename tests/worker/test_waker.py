"""Waiting for work without asking for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from redis import Redis

from queueing import Broker, NewJob
from tests.faults import Fault, Faults, FaultyBroker
from tests.system.processes import wait_until
from tests.worker.rig import WAIT_SECONDS
from worker.waker import Waker


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def woken() -> SimpleQueue[float]:
    """Return the moments at which the waker woke the consumer."""
    return SimpleQueue()


@pytest.fixture
def waker(valkey: Redis, faults: Faults, woken: SimpleQueue[float]) -> Iterator[Waker]:
    waker = Waker(FaultyBroker(valkey, faults=faults), ["default", "other"], wake=lambda: woken.put(time.monotonic()))
    waker.start()
    yield waker
    waker.stop(timeout_seconds=WAIT_SECONDS)
    assert "waker" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("queue", ["default", "other"])
def test_a_submitted_job_wakes(waker: Waker, woken: SimpleQueue[float], broker: Broker, queue: str) -> None:
    waker.arm(1.0)

    submitted_at = time.monotonic()
    broker.enqueue(queue, NewJob.of("echo"))

    assert woken.get(timeout=WAIT_SECONDS) - submitted_at < 0.9


def test_a_job_submitted_before_is_not_missed(waker: Waker, woken: SimpleQueue[float], broker: Broker) -> None:
    broker.enqueue("default", NewJob.of("echo"))

    armed_at = time.monotonic()
    waker.arm(1.0)

    assert woken.get(timeout=WAIT_SECONDS) - armed_at < 0.9


def test_it_wakes_when_the_time_is_over(waker: Waker, woken: SimpleQueue[float]) -> None:
    armed_at = time.monotonic()
    waker.arm(0.05)

    assert 0.04 < woken.get(timeout=WAIT_SECONDS) - armed_at < 0.9


def test_it_wakes_after_a_second_however_long_it_was_told_to_wait(waker: Waker, woken: SimpleQueue[float]) -> None:
    armed_at = time.monotonic()
    waker.arm(60)

    assert 0.9 < woken.get(timeout=WAIT_SECONDS) - armed_at < 2


def test_it_wakes_when_the_database_cannot_be_reached_and_works_again_later(
    waker: Waker, woken: SimpleQueue[float], faults: Faults, broker: Broker
) -> None:
    faults.plan(Fault.REFUSE)
    waker.arm(1.0)
    woken.get(timeout=WAIT_SECONDS)

    waker.arm(1.0)
    submitted_at = time.monotonic()
    broker.enqueue("default", NewJob.of("echo"))

    assert woken.get(timeout=WAIT_SECONDS) - submitted_at < 0.9


def test_a_connection_of_its_own_that_cannot_be_had_does_not_make_the_consumer_spin(
    waker: Waker, woken: SimpleQueue[float], faults: Faults
) -> None:
    """The consumer's connection may work all the while, as when the server takes no more clients."""
    faults.down = Fault.REFUSE
    began = time.monotonic()
    for _ in range(3):
        waker.arm(1.0)
        woken.get(timeout=WAIT_SECONDS)

    assert time.monotonic() - began > 0.2
    faults.down = None


def test_while_armed_it_is_not_armed_again(waker: Waker, woken: SimpleQueue[float], faults: Faults) -> None:
    reached = threading.Event()
    faults.on_trip = lambda verbs: reached.set()
    waker.arm(0.1)
    assert reached.wait(WAIT_SECONDS)
    waker.arm(0.1)

    woken.get(timeout=WAIT_SECONDS)

    assert faults.trips == [["blpop"]]


@pytest.fixture
def direct(valkey: Redis, faults: Faults) -> Iterator[Waker]:
    waker = Waker(FaultyBroker(valkey, faults=faults), ["default", "other"], wake=pytest.fail, by_caller=True)
    waker.start()
    yield waker
    waker.stop()


def test_a_direct_one_has_no_thread(direct: Waker) -> None:
    assert direct.is_direct
    assert "waker" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("queue", ["default", "other"])
def test_who_waits_by_itself_goes_on_at_a_hint(direct: Waker, broker: Broker, queue: str) -> None:
    timer = threading.Timer(0.1, broker.enqueue, (queue, NewJob.of("echo")))
    timer.start()

    assert 0.05 < seconds_of(lambda: direct.wait(1.0)) < 0.9
    timer.join()


def test_who_waits_by_itself_goes_on_when_the_time_is_over(direct: Waker) -> None:
    assert 0.04 < seconds_of(lambda: direct.wait(0.05)) < 0.9
    assert 0.9 < seconds_of(lambda: direct.wait(60)) < 2


def test_who_waits_by_itself_does_not_spin_while_the_database_cannot_be_reached(direct: Waker, faults: Faults) -> None:
    faults.plan(Fault.REFUSE, Fault.REFUSE)

    assert seconds_of(lambda: direct.wait(1.0)) + seconds_of(lambda: direct.wait(1.0)) > 0.2


def test_who_waits_by_itself_goes_on_at_once_after_the_stop(direct: Waker, faults: Faults) -> None:
    direct.stop()

    assert seconds_of(lambda: direct.wait(1.0)) < 0.9
    assert faults.trips == []


def test_a_stop_while_somebody_waits_closes_the_connection_when_that_ends(
    direct: Waker, faults: Faults, valkey: Redis
) -> None:
    direct.wait(0.01)
    with_it = len(valkey.client_list())
    faults.on_trip = lambda verbs: direct.stop()

    direct.wait(0.01)

    wait_until(lambda: len(valkey.client_list()) == with_it - 1)


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
