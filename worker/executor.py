"""The threads that run handlers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from django.db import connections

from queueing import Claimed
from worker.leases import Lease, LeaseBook
from worker.outcomes import Outcome, run_attempt
from worker.registry import Handler


class Executor:
    """A fixed number of threads, each running one attempt at a time.

    Outcomes go to `report`, on the thread that ran the attempt. A slot is free again once the consumer has told the
    queue of the outcome (`settle`), not before: else a worker cut off from the queue would go on claiming.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        handlers: Mapping[str, Handler],
        leases: LeaseBook,
        report: Callable[[Outcome], None],
        extend: Callable[[Lease], None],
    ) -> None:
        self.concurrency = concurrency
        self._handlers = handlers
        self._leases = leases
        self._report = report
        self._extend = extend
        self._inbox: SimpleQueue[Lease | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"handler-{n}", daemon=True) for n in range(concurrency)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every thread end after the attempt it runs."""
        for _ in self._threads:
            self._inbox.put(None)

    @property
    def free(self) -> int:
        """How many attempts may be started now."""
        return self.concurrency - len(self._leases)

    def submit(self, job: Claimed, *, lease_seconds: float, claimed_at: float) -> None:
        """Run the job's handler on a free thread."""
        lease = Lease(job, lease_seconds=lease_seconds, claimed_at=claimed_at)
        self._leases.add(lease)
        self._inbox.put(lease)

    def settle(self, lease: Lease) -> None:
        """Free the slot of an attempt that has been reported, or given up."""
        self._leases.remove(lease)

    def _work(self) -> None:
        while (lease := self._inbox.get()) is not None:
            self._report(run_attempt(lease, self._handlers, self._extend))
        connections.close_all()
