"""Waiting for work without asking for it: a hint from the queue wakes an idle worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from queueing import Broker, QueueingError

PAUSE_SECONDS = 0.1  # a consumer whose own connection works must not spin because this one is refused
LONGEST_WAIT_SECONDS = 1.0  # a lost hint costs no more than this


class Waker:
    """Blocks on the queues' hints while the consumer waits: on one thread, or on one for each queue of a cluster."""

    def __init__(self, broker: Broker, queues: Sequence[str], wake: Callable[[], None]) -> None:
        groups = [[queue] for queue in queues] if broker.queues_are_apart else [queues]
        self._listeners = [_Listener(broker.dedicated(), group, wake) for group in groups]

    def start(self) -> None:
        """Start the threads."""
        for listener in self._listeners:
            listener.start()

    def stop(self, *, timeout_seconds: float = 0) -> None:
        """Let the threads end; they may still block for up to a second, which hardly anybody needs to wait for."""
        for listener in self._listeners:
            listener.stop()
        for listener in self._listeners:
            listener.join(timeout_seconds)

    def arm(self, timeout_seconds: float) -> None:
        """Wake the consumer at the next hint, or after the time; does nothing while armed already."""
        for listener in self._listeners:
            listener.arm(timeout_seconds)


class _Listener:
    """Blocks on hints, on a thread and a connection of its own.

    The connection carries no job, so nothing is lost with it. `wake` is called once for each `arm`: on a hint, when
    the time is over, or when the database cannot be reached (the consumer's own next call will say so).
    """

    def __init__(self, broker: Broker, queues: Sequence[str], wake: Callable[[], None]) -> None:
        self._broker = broker
        self._queues = queues
        self._wake = wake
        self._orders: SimpleQueue[float | None] = SimpleQueue()
        self._armed = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, at the latest after the second for which it may still block."""
        self._orders.put(None)

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of the thread, if it was started."""
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def arm(self, timeout_seconds: float) -> None:
        """Wait for a hint, unless that is being done."""
        if not self._armed:
            self._armed = True
            self._orders.put(min(timeout_seconds, LONGEST_WAIT_SECONDS))

    def _run(self) -> None:
        while (timeout_seconds := self._orders.get()) is not None:
            try:
                self._broker.wait_for_hint(self._queues, timeout_seconds)
            except QueueingError:
                self._broker.close()
                time.sleep(PAUSE_SECONDS)
            self._armed = False
            self._wake()
        self._broker.close()
