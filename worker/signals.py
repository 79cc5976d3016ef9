"""Stopping: what TERM and INT ask for, as flags that the loops look at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class StopRequest:
    """Whether the worker is to stop, and whether at once. `on_change` is called at each request."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.requested = threading.Event()
        self.at_once = threading.Event()
        self.signal_number: int | None = None
        self.on_change = on_change

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

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
