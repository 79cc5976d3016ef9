"""Orders for threads: each is taken once, by a thread that is woken when it is needed and not before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import pytest

from tests.system.processes import wait_until
from tests.worker.rig import WAIT_SECONDS
from worker.orders import Orders

Take = Callable[[], None]


@pytest.fixture
def orders() -> Orders[int | None]:
    return Orders()


@pytest.fixture
def taken() -> SimpleQueue[tuple[str, int]]:
    return SimpleQueue()


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def takers(
    orders: Orders[int | None], taken: SimpleQueue[tuple[str, int]], gate: threading.Event
) -> Iterator[list[threading.Thread]]:
    """Run four threads that note what they take, and block at the gate after each order below 10."""

    def take() -> None:
        while (order := orders.get()) is not None:
            taken.put((threading.current_thread().name, order))
            if order < 10:
                gate.wait(WAIT_SECONDS)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(orders._idle) == len(threads))
    yield threads
    gate.set()
    orders.put([None] * len(threads))
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def test_orders_are_taken_in_sequence(orders: Orders[int]) -> None:
    orders.put([1, 2])
    orders.put([3])

    assert len(orders) == 3
    assert [orders.get(), orders.get(), orders.get()] == [1, 2, 3]


@pytest.mark.usefixtures("takers")
def test_every_order_has_a_thread_of_its_own_while_those_before_it_block(
    orders: Orders[int | None], taken: SimpleQueue[tuple[str, int]]
) -> None:
    orders.put([1, 2, 3, 4])

    names = {taken.get(timeout=WAIT_SECONDS)[0] for _ in range(4)}

    assert len(names) == 4


@pytest.mark.usefixtures("takers")
def test_an_order_that_comes_while_all_block_is_taken_by_the_first_that_is_free(
    orders: Orders[int | None], taken: SimpleQueue[tuple[str, int]], gate: threading.Event
) -> None:
    orders.put([1, 2, 3, 4])
    for _ in range(4):
        taken.get(timeout=WAIT_SECONDS)
    orders.put([5])

    gate.set()

    assert taken.get(timeout=WAIT_SECONDS)[1] == 5


@pytest.mark.usefixtures("takers")
def test_no_order_is_lost_or_taken_twice_however_many_put_and_take_at_once(
    orders: Orders[int | None], taken: SimpleQueue[tuple[str, int]]
) -> None:
    def put(first: int) -> None:
        for number in range(first, first + 2_000, 4):
            orders.put(range(number, number + 4))
            if number % 100 == 0:
                time.sleep(0)  # let the takers run dry now and then

    putters = [threading.Thread(target=put, args=(10 + 2_000 * n,)) for n in range(3)]
    for putter in putters:
        putter.start()
    found = sorted(taken.get(timeout=WAIT_SECONDS)[1] for _ in range(6_000))
    for putter in putters:
        putter.join(WAIT_SECONDS)

    assert found == list(range(10, 6_010))
    assert taken.empty()


def test_waiting_for_an_order_ends_when_its_time_is_over(orders: Orders[int]) -> None:
    began = time.monotonic()

    with pytest.raises(Empty):
        orders.get(0.05)

    assert 0.05 <= time.monotonic() - began < WAIT_SECONDS / 2
    assert orders._idle == []


def test_no_order_is_lost_to_a_thread_that_has_just_given_up(orders: Orders[int]) -> None:
    got: SimpleQueue[int] = SimpleQueue()

    def take() -> None:
        found = 0
        while found < 500:
            try:
                got.put(orders.get(0.0002))
                found += 1
            except Empty:
                continue

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(500):
        orders.put([number])
        time.sleep(0.0002)
    thread.join(WAIT_SECONDS)

    assert not thread.is_alive()
    assert [got.get_nowait() for _ in range(500)] == list(range(500))
