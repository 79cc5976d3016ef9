"""What a handler knows of its attempt, and what it can do about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from worker.leases import Lease

MAX_NOTE_CHARS = 200


class JobContext:
    """The attempt a handler runs: passed to it together with the payload."""

    def __init__(self, lease: Lease, extend: Callable[[Lease], None]) -> None:
        self._lease = lease
        self._extend = extend

    @property
    def id(self) -> str:
        """The job's id; the same for every attempt, so it serves as an idempotency key elsewhere."""
        return self._lease.job.id

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self._lease.job.queue

    @property
    def kind(self) -> str:
        """The kind of the job."""
        return self._lease.job.kind

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._lease.job.attempt

    @property
    def max_attempts(self) -> int:
        """The number of the last attempt allowed."""
        return self._lease.job.max_attempts

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags the job was submitted with."""
        return self._lease.job.tags

    @property
    def created_at(self) -> datetime:
        """When the job was submitted, UTC."""
        return self._lease.job.created_at

    @property
    def fence(self) -> int:
        """A number that rises with every claim of the queue: what you write to may refuse a lower one."""
        return self._lease.job.fence

    @property
    def request_id(self) -> str:
        """The id of the HTTP request that submitted the job; empty when there was none."""
        return self._lease.job.request_id

    @property
    def traceparent(self) -> str:
        """The trace that the job belongs to (W3C Trace Context), to be sent on; empty when there was none."""
        return self._lease.job.traceparent

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody cancelled the job while it runs."""
        return self._lease.cancel_requested

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; returns True as soon as the job is cancelled."""
        return self._lease.wait_for_cancel(seconds)

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work is (0 to 1) and what it does; shown with the job within about a second."""
        if not 0 <= fraction <= 1:
            raise ValueError("fraction must lie between 0 and 1")
        self._lease.set_progress(fraction, note[:MAX_NOTE_CHARS])

    def extend(self) -> None:
        """Push the lease forward now; raises LeaseLost when it is gone. Leases are extended without this too."""
        self._extend(self._lease)
