"""The threads that run handlers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty

from django.db import connections
from msgspec import structs

from queueing import Claimed, JobError, traces
from worker.attempts import span_of
from worker.errors import LeaseLost
from worker.isolation import Cell, CellUnavailable, Isolation
from worker.leases import Lease, LeaseBook
from worker.orders import Orders
from worker.outcomes import Outcome, outcome_of, run_attempt, verdict_on
from worker.registry import Handler

logger = logging.getLogger(__name__)

CAREFUL_SECONDS = 60.0  # after a suspect or a crash: where one job kills its process, more are likely
NO_CELL_DELAY_MS = 30_000

_Order = tuple[Lease, bool]  # to run an attempt, and whether apart


class Executor:
    """A fixed number of threads, each running one attempt at a time.

    Outcomes go to `report`, on the thread that ran the attempt. A slot is free again once the consumer has told the
    queue of the outcome (`settle`), not before: else a worker cut off from the queue would go on claiming.

    A suspect (`job.crashes`) runs in a process of its own, which may die of it. So does whatever is claimed with it,
    while it runs, and for a minute after: no other poison among these shall end the process that watches over it.
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
        self._isolation = Isolation(handlers)
        self._careful_until = 0.0
        self._orders: Orders[_Order | Callable[[], None] | None] = Orders()
        self.threads = [
            threading.Thread(target=self._work, name=f"handler-{n}", daemon=True) for n in range(concurrency)
        ]

    def prepare(self) -> None:
        """Fork the fork server, if that was not done yet."""
        self._isolation.start()

    def start(self) -> None:
        """Start the threads."""
        self.prepare()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Let every thread end after the attempt it runs."""
        self._orders.put([None] * len(self.threads))

    @property
    def free(self) -> int:
        """How many attempts may be started now."""
        return self.concurrency - len(self._leases)

    @property
    def is_behind(self) -> bool:
        """Whether attempts wait for a thread."""
        return len(self._orders) > 0

    def submit(self, jobs: Sequence[Claimed], *, lease_seconds: float, claimed_at: float) -> None:
        """Run the handlers of jobs that were claimed together, on as many free threads."""
        leases = [Lease(job, lease_seconds=lease_seconds, claimed_at=claimed_at) for job in jobs]
        for lease in leases:
            self._leases.add(lease)
        for lease in self._leases:
            if lease.job.crashes:
                self.beware()
                break
        is_apart = time.monotonic() < self._careful_until
        self._orders.put([(lease, is_apart) for lease in leases])

    def call(self, do: Callable[[], None]) -> None:
        """Let an idle thread call `do` once it has taken what waits for a thread."""
        self._orders.put([do])

    def beware(self) -> None:
        """Run every job that is submitted within a minute in a process of its own."""
        self._careful_until = time.monotonic() + CAREFUL_SECONDS

    def settle(self, lease: Lease) -> None:
        """Free the slot of an attempt that has been reported, or given up."""
        self._leases.remove(lease)

    def take_back(self, lease: Lease) -> None:
        """Fill the slot of an attempt again that was settled too soon."""
        self._leases.add(lease)

    @property
    def is_crippled(self) -> bool:
        """Whether suspects cannot run here any more: somebody killed the fork server."""
        return self._isolation.is_lost

    def end_isolated(self) -> None:
        """Kill what runs in processes of its own; nothing is started in one any more."""
        self._isolation.close()

    def _work(self) -> None:
        cell = Cell(self._isolation)
        while (order := self._next(cell)) is not None:
            self._report(self._run(*order, cell))
        cell.close()
        connections.close_all()

    def _next(self, cell: Cell) -> _Order | None:
        """Wait for an attempt, closing meanwhile a cell that has not been needed for long."""
        needless_at = time.monotonic() + CAREFUL_SECONDS
        while True:
            try:
                order = self._orders.get(max(0.0, needless_at - time.monotonic()) if cell.is_open else None)
            except Empty:
                cell.close()
                continue
            if not callable(order):
                return order
            order()

    def _run(self, lease: Lease, is_apart: bool, cell: Cell) -> Outcome:
        """Run an attempt in its span, where spans are made: what it leads to belongs below that."""
        if not traces.is_on():
            return self._run_here_or_apart(lease, is_apart, cell)
        with span_of(lease.job) as span:
            if span.traceparent:
                lease.job = structs.replace(lease.job, traceparent=span.traceparent)
            outcome = self._run_here_or_apart(lease, is_apart, cell)
            span.note({"jobapi.outcome": outcome.verdict})
            if outcome.error:
                span.fail(outcome.error.type)
        return outcome

    def _run_here_or_apart(self, lease: Lease, is_apart: bool, cell: Cell) -> Outcome:
        if is_apart:
            return self._run_apart(lease, cell)
        cell.close()
        return run_attempt(lease, self._handlers, self._extend)

    def _run_apart(self, lease: Lease, cell: Cell) -> Outcome:
        try:
            outcome = cell.run(lease, self._extend)
        except CellUnavailable as error:
            return self._run_without_cell(lease, error)
        if outcome.verdict == "crashed":
            self.beware()
        return outcome

    def _run_without_cell(self, lease: Lease, error: CellUnavailable) -> Outcome:
        """Run a job that never crashed on this thread after all; a suspect waits for better times."""
        now = time.monotonic()
        if self._isolation.is_closed:
            return outcome_of(lease, now, verdict_on(LeaseLost()))
        logger.error("%s", error, extra={"action": "cell_unavailable", "job_id": lease.job.id})
        if not lease.job.crashes:
            return run_attempt(lease, self._handlers, self._extend)
        reason = JobError(type="CellUnavailable", message=str(error))
        return outcome_of(lease, now, ("failed", None, reason, NO_CELL_DELAY_MS))
