"""The leases a worker holds: what its threads share about the attempts that run."""

from __future__ import annotations

import ctypes
import json
import threading
import time
from collections.abc import Iterator

from queueing import Claimed
from worker.errors import AttemptInterrupted


class Lease:
    """The right to run one attempt, shared by the handler's thread and the threads that watch over it.

    `deadline` (monotonic seconds) is this worker's own, cautious idea of when the lease ends: counted from before
    the request that got it, and a tenth short. Past it nothing is reported any more.
    """

    def __init__(self, job: Claimed, *, lease_seconds: float, claimed_at: float) -> None:
        self.job = job
        self.started_at = time.monotonic()
        self.timeout_at = self.started_at + job.timeout_ms / 1000 if job.timeout_ms else None
        self.cancel_requested = threading.Event()
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._interrupted = False
        self._lost = False
        self._progress: bytes | None = None
        self.renew(claimed_at)

    def renew(self, sent_at: float) -> None:
        """Note that a request sent at `sent_at` pushed the lease forward."""
        self.renewed_at = sent_at
        self.deadline = sent_at + self._lease_seconds * 0.9

    def is_held(self, now: float) -> bool:
        """Whether the attempt may still be reported."""
        return not self._lost and now < self.deadline

    def lose(self) -> None:
        """Note that the lease is gone."""
        self._lost = True

    def set_progress(self, fraction: float, note: str) -> None:
        """Keep the handler's progress until it is sent with the next extend."""
        self._progress = json.dumps({"fraction": fraction, "note": note}).encode()

    def take_progress(self) -> bytes | None:
        """Return progress that was not sent yet, once."""
        progress, self._progress = self._progress, None
        return progress

    @property
    def has_progress(self) -> bool:
        """Whether there is progress to send."""
        return self._progress is not None

    def enter(self) -> None:
        """Begin the part that may be interrupted; called by the handler's thread."""
        with self._lock:
            self._thread_id = threading.get_ident()

    def leave(self) -> None:
        """End the part that may be interrupted, taking back an interrupt that has not struck yet."""
        with self._lock:
            self._thread_id = None
            if self._interrupted:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)

    def interrupt(self, error: type[AttemptInterrupted]) -> bool:
        """Raise `error` in the handler's thread at its next step of Python, once; returns whether that was possible.

        A call into C (a sleep, a socket) is not cut short: the error strikes when it returns.
        """
        with self._lock:
            if self._thread_id is None or self._interrupted:
                return False
            self._interrupted = True
            thread_id = ctypes.c_ulong(self._thread_id)
            return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(thread_id, ctypes.py_object(error)) == 1)


class LeaseBook:
    """The leases held at the moment, by job id; safe for threads."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self.changed = threading.Event()

    def add(self, lease: Lease) -> None:
        """Keep a lease; wakes the keeper when the attempt has a time limit."""
        self._leases[lease.job.id] = lease
        if lease.timeout_at is not None:
            self.changed.set()

    def remove(self, lease: Lease) -> None:
        """Forget a lease."""
        self._leases.pop(lease.job.id, None)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)
