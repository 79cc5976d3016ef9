"""What every worker does to keep its queues in order: reap, promote, expire, prune."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence

from queueing import Broker, StoreUnavailable

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
            except StoreUnavailable as error:
                logger.warning("%s", error, extra={"action": "maintenance_failed"})

    def run_once(self) -> int:
        """Do one tick for every queue; returns how many jobs were moved or deleted."""
        return sum(self._reap(queue) + self._tidy(queue) for queue in self._queues)

    def _reap(self, queue: str) -> int:
        """Take back every job of the queue whose lease ran out."""
        total = 0
        for _ in range(MAX_ROUNDS):
            reaped = self._broker.reap(queue, BATCH)
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
