"""The watchdog: a worker that cannot work ends, so that its supervisor starts another."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

EXIT_BROKEN = 1  # an error of the program
EXIT_STUCK = 70  # EX_SOFTWARE of sysexits.h
LIMIT_SECONDS = 30.0
TICK_SECONDS = 1.0


class Watchdog:
    """Ends the process when the consumer has not reached the queue for `limit_seconds` though it should have.

    What counts is a claim that went through (or that no slot is free), not a PING: connections that answer while
    nothing is consumed are the fault this is for. It ends the process, too, when one of the threads it watches dies of
    an error, in that very moment: without its lease keeper a worker would run jobs on whose leases are over. Whatever
    hangs cannot hold it up.
    """

    def __init__(
        self,
        *,
        limit_seconds: float = LIMIT_SECONDS,
        bite: Callable[[int], object] = os._exit,
        pass_on: Callable[[], object] = lambda: None,
    ) -> None:
        self._limit_seconds = limit_seconds
        self._bite = bite
        self._pass_on = pass_on
        self._stopping = threading.Event()
        self._watched: list[threading.Thread] = []
        self._excepthook = threading.excepthook
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self.pat()

    def start(self, threads: Iterable[threading.Thread] = ()) -> None:
        """Start watching over the consumer and over threads that are to live as long as it does."""
        self._watched = list(threads)
        threading.excepthook = self._heed
        self.pat()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        threading.excepthook = self._excepthook

    def pat(self) -> None:
        """Note that the worker works, and let its service manager know."""
        self._patted_at = time.monotonic()
        self._pass_on()

    def _heed(self, death: threading.ExceptHookArgs) -> None:
        """Hear of the error that ends a thread, on that thread."""
        self._excepthook(death)
        if death.thread in self._watched:
            self._end(EXIT_BROKEN, f"the thread {death.thread.name} died")

    def run_once(self, now: float) -> bool:
        """End the process if it is time to; returns whether it was."""
        dead = next((thread.name for thread in self._watched if not thread.is_alive()), None)
        if dead is not None:
            return self._end(EXIT_BROKEN, f"the thread {dead} died")
        silent = now - self._patted_at
        if silent > self._limit_seconds:
            return self._end(EXIT_STUCK, f"no claim went through for {silent:.0f} s")
        return False

    def _end(self, code: int, reason: str) -> bool:
        if self._stopping.is_set():  # since we looked: then threads end in order
            return False
        logger.critical("%s, ending", reason, extra={"action": "watchdog"})
        logging.shutdown()
        self._bite(code)
        return True

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            if self.run_once(time.monotonic()):
                return
