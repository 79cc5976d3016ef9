"""What every worker does to keep its queues in order: reap, promote, expire, prune."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence

from queueing import Broker, QueueingError
from worker.clock import ClockGuard

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
MAX_ROUNDS = 100  # of one verb in one tick; the rest waits a second
BATCH = 100


class Maintenance:
    """Runs the upkeep of queues once a second, on a thread and a connection of its own.

    Every worker does so, without a leader: each step is one script, bounded, and losing a race to do it is no loss.
    """

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = queues
        self._guard = ClockGuard(hold_ms=broker.policy.lease_ms)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=5)
        self._broker.close()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
            try:
                self.run_once()
            except QueueingError as error:
                logger.warning("%s", error, extra={"action": "maintenance_failed"})

    def run_once(self) -> int:
        """Do one tick for every queue; returns how many jobs were moved or deleted."""
        latest_ms = self._latest_ms()
        reaped = sum(self._reap(queue, latest_ms) for queue in self._queues) if latest_ms else 0
        return reaped + sum(self._tidy(queue) for queue in self._queues)

    def _latest_ms(self) -> int | None:
        """Return the latest server time at which to reap in this tick, None for not at all."""
        latest_ms = self._guard.latest_ms(self._broker.server_time_ms(), round(time.monotonic() * 1000))
        if latest_ms is None:
            logger.warning("the database server's clock jumped: not reaping", extra={"action": "clock_jump"})
        return latest_ms

    def _reap(self, queue: str, latest_ms: int) -> int:
        """Take back every job of the queue whose lease ran out."""
        total = 0
        for _ in range(MAX_ROUNDS):
            reaped = self._broker.reap(queue, BATCH, latest_ms=latest_ms)
            for job in reaped:
                logger.warning(
                    "lease of job %s ran out, it is %s now",
                    job.id,
                    job.state,
                    extra={"action": "reaped", "job_id": job.id, "queue": queue, "attempt": job.attempt},
                )
            total += len(reaped)
            if len(reaped) < BATCH:
                break
        return total

    def _tidy(self, queue: str) -> int:
        """Promote what is due, expire what is late, prune what was kept long enough."""
        total = 0
        for verb in (self._broker.promote, self._broker.expire, self._broker.prune):
            for _ in range(MAX_ROUNDS):
                count = verb(queue, BATCH)
                total += count
                if count < BATCH:
                    break
        return total
