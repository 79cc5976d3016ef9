"""What is to be done by any of several threads, no more of which are woken than it takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from queue import Empty
from typing import Generic, TypeVar

Order = TypeVar("Order")


class Orders(Generic[Order]):
    """A queue that wakes one taker at a time: whoever takes an order wakes the next one if there is another order.

    A thread that was woken waits for the interpreter's lock, and until it has that no other is woken. So orders that
    only compute are done one after the other by the thread that has the lock, at no change of threads; one that blocks
    gives the lock up, and the next thread goes on, having woken the one after it.
    """

    def __init__(self) -> None:
        self._orders: deque[Order] = deque()
        self._idle: list[threading.Lock] = []  # who waited last is woken first
        self._on_its_way: threading.Lock | None = None

    def __len__(self) -> int:
        return len(self._orders)

    def put(self, orders: Iterable[Order]) -> None:
        """Add orders, which are taken in this sequence."""
        self._orders.extend(orders)
        self._wake()

    def get(self, timeout_seconds: float | None = None) -> Order:
        """Wait for an order and take it; raises `queue.Empty` when the time is over, None: never."""
        give_up_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            try:
                order = self._orders.popleft()
            except IndexError:
                if not self._wait(None if give_up_at is None else max(0.0, give_up_at - time.monotonic())):
                    raise Empty from None
                continue
            if self._orders:
                self._wake()
            return order

    def _wake(self) -> None:
        if self._on_its_way is not None:
            return
        try:
            bell = self._idle.pop()
        except IndexError:
            return
        self._on_its_way = bell
        bell.release()

    def _wait(self, timeout_seconds: float | None) -> bool:
        """Wait to be woken; returns False when the time is over."""
        bell = threading.Lock()
        bell.acquire()
        self._idle.append(bell)
        if self._orders and self._leave(bell):  # added before anybody could see us wait
            return True
        if not bell.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            if self._leave(bell):
                return False
            bell.acquire()  # who has taken us off the list is about to release it
        if self._on_its_way is bell:
            self._on_its_way = None
        return True

    def _leave(self, bell: threading.Lock) -> bool:
        """Wait no more; returns False when somebody is waking us."""
        try:
            self._idle.remove(bell)
        except ValueError:
            return False
        return True
