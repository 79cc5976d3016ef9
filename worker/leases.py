"""The leases a worker holds: what its threads share about the attempts that run."""

from __future__ import annotations

import ctypes
import functools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator

from queueing import Claimed
from worker.errors import AttemptInterrupted

MAX_RUNTIME_SECONDS = 3600.0  # of an attempt whose job names no time limit
YIELD_SECONDS = 10.0  # in which an interrupted handler must have ended

Strike = Callable[[type[AttemptInterrupted]], bool]


class Lease:
    """The right to run one attempt, shared by the handler's thread and the threads that watch over it.

    `deadline` (monotonic seconds) is this worker's own, cautious idea of when the lease ends: counted from before
    the request that got it, and a tenth short. Past it nothing is reported any more.
    """

    def __init__(self, job: Claimed, *, lease_seconds: float, claimed_at: float) -> None:
        self.job = job
        self.lease_seconds = lease_seconds
        self.cancel_requested = False
        self._cancelled: threading.Event | None = None  # once somebody waits for it
        self._lock = threading.Lock()
        self._strike: Strike | None = None
        self._interrupted = False
        self._lost_at = math.inf
        self._progress: bytes | None = None
        self.renew(claimed_at)
        self._start_clock()

    def _start_clock(self) -> None:
        """Let the attempt's time count from now."""
        self.started_at = time.monotonic()
        timeout_ms = self.job.timeout_ms
        self.timeout_at = self.started_at + (timeout_ms / 1000 if timeout_ms else MAX_RUNTIME_SECONDS)

    def renew(self, sent_at: float) -> None:
        """Note that a request sent at `sent_at` pushed the lease forward."""
        self.renewed_at = sent_at
        self.deadline = sent_at + self.lease_seconds * 0.9

    def is_held(self, now: float) -> bool:
        """Whether the attempt may still be reported."""
        return now < self.deadline and now < self._lost_at

    def lose(self) -> None:
        """Note that the lease is gone."""
        self._lost_at = min(self._lost_at, time.monotonic())

    def request_cancel(self) -> None:
        """Note that somebody cancelled the job, which ends a `wait_for_cancel`."""
        with self._lock:
            self.cancel_requested = True
            cancelled = self._cancelled
        if cancelled is not None:
            cancelled.set()

    def wait_for_cancel(self, seconds: float) -> bool:
        """Wait up to `seconds`; returns True as soon as the job is cancelled."""
        with self._lock:
            if self._cancelled is None:
                self._cancelled = threading.Event()
            cancelled = self._cancelled
        return self.cancel_requested or cancelled.wait(seconds)

    def is_stuck(self, now: float) -> bool:
        """Whether the handler was interrupted, by its time limit or for a lost lease, and does not end."""
        return now > min(self.timeout_at, self._lost_at) + YIELD_SECONDS

    def set_progress(self, fraction: float, note: str) -> None:
        """Keep the handler's progress until it is sent with the next extend."""
        self._progress = json.dumps({"fraction": fraction, "note": note}).encode()

    def take_progress(self) -> bytes | None:
        """Return progress that was not sent yet, once."""
        progress, self._progress = self._progress, None
        return progress

    def return_progress(self, progress: bytes | None) -> None:
        """Keep progress that could not be sent, unless there is newer."""
        if self._progress is None:
            self._progress = progress

    @property
    def has_progress(self) -> bool:
        """Whether there is progress to send."""
        return self._progress is not None

    def enter(self, strike: Strike | None = None) -> None:
        """Begin the part that may be interrupted: of the calling thread, or of what `strike` can reach."""
        with self._lock:
            self._start_clock()
            self._strike = strike or functools.partial(_strike_thread, threading.get_ident())

    def leave(self) -> None:
        """End the part that may be interrupted, taking back an interrupt that has not struck yet.

        It is taken back by letting it strike here. Clearing it instead would leave Python 3.11 looking for it in all
        threads for good, and make a debugger or a coverage tool hang.
        """
        try:
            with self._lock:
                self._strike = None
            for _ in range(2):
                pass  # the jump back is where a pending interrupt strikes
        except AttemptInterrupted:
            self._strike = None

    @property
    def is_running(self) -> bool:
        """Whether the handler is in the part that may be interrupted."""
        return self._strike is not None

    @property
    def is_interrupted(self) -> bool:
        """Whether the handler was interrupted, which is done once."""
        return self._interrupted

    def interrupt(self, error: type[AttemptInterrupted]) -> bool:
        """Raise `error` in the handler's thread at its next step of Python, once; returns whether that was possible.

        A call into C (a sleep, a socket) is not cut short: the error strikes when it returns.
        """
        with self._lock:
            if self._strike is None or self._interrupted:
                return False
            self._interrupted = True
            return self._strike(error)


def _strike_thread(thread_id: int, error: type[AttemptInterrupted]) -> bool:
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error)) == 1)


class LeaseBook:
    """The leases held at the moment; safe for threads.

    Kept by token: a job whose lease was lost may be claimed again here before its old handler has ended.
    """

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self.changed = threading.Event()

    def add(self, lease: Lease) -> None:
        """Keep a lease; wakes the keeper, which ticks once a second, when the attempt has less time than that."""
        self._leases[lease.job.lease_token] = lease
        if lease.timeout_at - lease.started_at < 1.0:
            self.changed.set()

    def remove(self, lease: Lease) -> None:
        """Forget a lease."""
        self._leases.pop(lease.job.lease_token, None)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)
