"""What every worker does to keep its queues in order: reap, promote, expire, prune."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence

from queueing import Broker, QueueingError
from queueing.broker import LONGEST_LEASE_MS
from queueing.fault_points import reach
from worker.clock import LeaseWatch, Window

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
        self._watches = {queue: LeaseWatch(lease_ms=broker.policy.lease_ms) for queue in queues}
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Do a first tick and start the thread."""
        self._tick()
        self.thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.thread.join(timeout=5)
        self._broker.close()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
            self._tick()

    def _tick(self) -> None:
        try:
            self.run_once()
        except QueueingError as error:
            logger.warning("%s", error, extra={"action": "maintenance_failed"})

    def run_once(self) -> int:
        """Do one tick for every queue; returns how many jobs were moved or deleted.

        Raises the first QueueingError, after every queue had its turn as far as its server can be reached.
        """
        moved: list[int] = []
        self._broker.for_each(self._queues, lambda queue: moved.append(self._reap(queue) + self._tidy(queue)))
        return sum(moved)

    @property
    def is_owed(self) -> bool:
        """Whether leases seem to have run out that could not be taken back yet."""
        return any(watch.is_waiting for watch in self._watches.values())

    def _reap(self, queue: str) -> int:
        """Take back every job of the queue whose lease is over."""
        watch = self._watches[queue]
        window = self._look_at_the_clock(queue)
        total = self._take_back(queue, window.from_ms, window.to_ms, longest_ms=window.longest_ms)
        watch.note_reaped(window)
        for ends_ms in watch.over(self._broker.lease_ends(queue, window.from_ms), _now_ms()):
            total += self._take_back(queue, ends_ms, ends_ms)
        return total

    def _look_at_the_clock(self, queue: str) -> Window:
        asked_ms = _now_ms()
        server_ms = self._broker.server_time_ms(queue)
        return self._watches[queue].look(server_ms, asked_ms, _now_ms())

    def _take_back(self, queue: str, from_ms: float, to_ms: float, *, longest_ms: int = LONGEST_LEASE_MS) -> int:
        """Take back the jobs whose leases ended between two moments of the server's clock."""
        total = 0
        for _ in range(MAX_ROUNDS):
            reaped = self._broker.reap(queue, BATCH, from_ms=from_ms, to_ms=to_ms, longest_ms=longest_ms)
            for job in reaped:
                logger.warning(
                    "lease of job %s ran out, it is %s now",
                    job.id,
                    job.state,
                    extra={"action": "reaped", "job_id": job.id, "queue": queue, "attempt": job.attempt},
                )
            total += len(reaped)
            if reaped:
                reach("after_reap")
            if len(reaped) < BATCH:
                break
        return total

    def _tidy(self, queue: str) -> int:
        """Promote what is due, expire what is late, prune what was kept long enough."""
        reach("before_promote")
        total = 0
        for verb in (self._broker.promote, self._broker.expire, self._broker.prune):
            for _ in range(MAX_ROUNDS):
                count = verb(queue, BATCH)
                total += count
                if count < BATCH:
                    break
        return total


def _now_ms() -> int:
    return round(time.monotonic() * 1000)
