"""Waiting for work without asking for it: a hint from the queue wakes an idle worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from queueing import Broker, QueueingError, Step
from queueing.links import nothing

PAUSE_SECONDS = 0.1  # a consumer whose own connection works must not spin because this one is refused
LONGEST_WAIT_SECONDS = 1.0  # a lost hint costs no more than this


class Waker:
    """Blocks on the queues' hints while the consumer waits: on one thread, or on one for each queue of a cluster.

    With `by_caller` it has no thread where one would do: it `is_direct`, and who waits calls `wait` itself; `meanwhile`
    is called in each wait.
    """

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[str],
        wake: Callable[[], None],
        *,
        by_caller: bool = False,
        meanwhile: Callable[[], object] = nothing,
    ) -> None:
        groups = [[queue] for queue in queues] if broker.queues_are_apart else [queues]
        hints = [_Hints(broker.dedicated(meanwhile=meanwhile), group) for group in groups]
        self.is_direct = by_caller and len(hints) == 1
        self._hints = hints
        self._listeners = [] if self.is_direct else [_Listener(each, wake) for each in hints]

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads it has, started or not."""
        return [listener.thread for listener in self._listeners]

    def start(self) -> None:
        """Start the threads."""
        for listener in self._listeners:
            listener.start()

    def end_waits(self) -> None:
        """Let nobody wait any more, from now on; where a step was to be made, nobody knows then whether it was."""
        for hints in self._hints:
            hints.stop()

    def stop(self, *, timeout_seconds: float = 0) -> None:
        """Let the waiting end, at once, and the threads."""
        self.end_waits()
        for listener in self._listeners:
            listener.stop()
        for listener in self._listeners:
            listener.join(timeout_seconds)

    def arm(self, timeout_seconds: float) -> None:
        """Wake the consumer at the next hint, or after the time; does nothing while armed already."""
        for listener in self._listeners:
            listener.arm(timeout_seconds)

    def wait(self, timeout_seconds: float, step: Step | None = None) -> Any:
        """Return at the next hint, or after the time, a second at most; on one thread at a time, of a direct one.

        A step, of one queue alone, is made then in the same round trip: returns its value, or a QueueingError.
        """
        return self._hints[0].wait(timeout_seconds, step)


class _Hints:
    """The hints of some queues, on a connection of its own: it carries no job, so nothing is lost with it."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = queues
        self._lock = threading.Lock()
        self._is_stopped = False

    def wait(self, timeout_seconds: float, step: Step | None = None) -> Any:
        """Block for a hint; a database that cannot be reached is the consumer's to notice."""
        reply = None
        with self._lock:
            try:
                if not self._is_stopped:
                    reply = self._wait(min(timeout_seconds, LONGEST_WAIT_SECONDS), step)
            except QueueingError as error:
                self._broker.close()
                if not self._is_stopped:
                    time.sleep(PAUSE_SECONDS)
                reply = error
        if self._is_stopped:
            self._close()
        return reply

    def _wait(self, timeout_seconds: float, step: Step | None) -> Any:
        if step is None:
            return self._broker.wait_for_hint(self._queues, timeout_seconds)
        return self._broker.make_after_hint(self._queues[0], timeout_seconds, step)

    def stop(self) -> None:
        """Wait no more, end what waits, and close the connection."""
        self._is_stopped = True
        self._broker.interrupt()
        self._close()

    def _close(self) -> None:
        """Close the connection unless a wait uses it, which will when it ends."""
        if self._lock.acquire(blocking=False):
            self._broker.close()
            self._lock.release()


class _Listener:
    """Waits for hints on a thread of its own.

    `wake` is called once for each `arm`: on a hint, when the time is over, or when the database cannot be reached (the
    consumer's own next call will say so).
    """

    def __init__(self, hints: _Hints, wake: Callable[[], None]) -> None:
        self._hints = hints
        self._wake = wake
        self._orders: SimpleQueue[float | None] = SimpleQueue()
        self._armed = False
        self.thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Let the thread end, once it waits no more."""
        self._orders.put(None)

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of the thread, if it was started."""
        if self.thread.is_alive():
            self.thread.join(timeout_seconds)

    def arm(self, timeout_seconds: float) -> None:
        """Wait for a hint, unless that is being done."""
        if not self._armed:
            self._armed = True
            self._orders.put(timeout_seconds)

    def _run(self) -> None:
        while (timeout_seconds := self._orders.get()) is not None:
            self._hints.wait(timeout_seconds)
            self._armed = False
            self._wake()
