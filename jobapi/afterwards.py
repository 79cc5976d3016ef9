"""What no client waits for, lines of the access log and figures of requests: done for many requests at once.

A thread that comes from serving a request finds nothing of this in the processor's caches, and takes three times as
long for it as one that has just done the same for another request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

PAUSE_SECONDS = 0.02  # in which work gathers: so late is a line written, or a request counted
MAX_WAITING = 5_000  # pieces of work; who brings more does it at once, and is held up if the log is
CATCH_UP_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Afterwards:
    """Does work in a thread of its own, in the order in which it came; at once until it is started."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._is_work = threading.Event()
        self._working = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to do work later."""
        self._thread = threading.Thread(target=self._run, name="afterwards", daemon=True)
        self._thread.start()

    def do(self, work: Callable[..., object], *arguments: object) -> None:
        """Do a piece of work, a moment later."""
        if self._thread is None or len(self._waiting) >= MAX_WAITING:
            _do(work, arguments)
            return
        self._waiting.append((work, arguments))
        if not self._is_work.is_set():
            self._is_work.set()

    def catch_up(self) -> None:
        """Do what waits before this returns, unless the thread that does it is held up."""
        if self._working.acquire(timeout=CATCH_UP_SECONDS):
            try:
                self._do_waiting()
            finally:
                self._working.release()

    def close(self) -> None:
        """Do what is left; what comes now is done at once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._is_work.set()
            thread.join()
        self.catch_up()

    def _run(self) -> None:
        while self._thread is not None:
            self._is_work.wait()
            time.sleep(PAUSE_SECONDS)
            self._is_work.clear()
            with self._working:
                self._do_waiting()

    def _do_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            work, arguments = self._waiting.popleft()
            _do(work, arguments)


def _do(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    try:
        work(*arguments)
    except Exception:
        logger.exception("what follows a request failed", extra={"action": "afterwards_failed"})


afterwards = Afterwards()
