"""Stopping: what TERM and INT ask for, as flags that the loops look at."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType


class Flag:
    """An event that a signal's handler may set whatever its thread is doing.

    threading.Event takes a lock: set while the same thread waits for it or sets it, it never returns.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._bell: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it, waking who waits."""
        self._is_set = True
        self._bell.put(None)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is set, or the time is over; returns whether it is set."""
        if not self._is_set:
            with contextlib.suppress(Empty):
                self._bell.get(timeout=timeout_seconds)
                self._bell.put(None)  # for the next who waits
        return self._is_set


class StopRequest:
    """Whether the worker is to stop, and whether at once. `on_change` is called at each request."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.requested = Flag()
        self.at_once = Flag()
        self.signal_number: int | None = None
        self.on_change = on_change
        self._bell: socket.socket | None = None

    def hear(self, bell: socket.socket) -> None:
        """Take the socket over which each signal comes as a byte."""
        self._bell = bell

    def listen(self) -> None:
        """Let the main thread be woken by each signal from now on.

        The system may give a signal to any thread. Python notes it, and runs the handler on the main thread once that
        has something to do, of which it does not tell it: a second signal would meanwhile be taken for the first.
        """
        if self._bell is not None:
            threading.Thread(target=self._wake, args=[self._bell], name="signals", daemon=True).start()

    def _wake(self, bell: socket.socket) -> None:
        with bell:
            while bell.recv(1):
                self.on_change()

    def request(self, *, at_once: bool = False) -> None:
        """Ask for a stop: the first time in order, the second time, or when so told, at once."""
        if at_once or self.requested.is_set():
            self.at_once.set()
        self.requested.set()
        self.on_change()


def install(stop: StopRequest) -> None:
    """Let TERM and INT request a stop; a handler only sets flags, so it can interrupt nothing half-way."""

    def note(number: int, _frame: FrameType | None) -> None:
        stop.signal_number = number
        stop.request()

    bell, ring = socket.socketpair()
    ring.setblocking(False)
    signal.set_wakeup_fd(ring.detach(), warn_on_full_buffer=False)
    stop.hear(bell)
    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
