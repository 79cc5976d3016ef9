"""The lease keeper: extends what runs, watches time limits, and shows that the worker lives."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from queueing import Broker, Extended, QueueingError
from queueing.fault_points import reach
from worker.errors import AttemptTimeout, JobCancelled, LeaseLost
from worker.leases import Lease, LeaseBook

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
FORGET_MS = 30_000  # six beats missed
TICK_SECONDS = 1.0  # progress is shown within this
AGAIN_SECONDS = 0.1  # until an attempt over its time limit is looked at again that could not be interrupted yet


class LeaseKeeper:
    """Extends every lease after a third of its time, on a thread and a connection of its own.

    So neither a busy handler nor a slow claim lets a lease run out. What it learns on the way it passes on: a lost
    lease, a cancelled job and an attempt over its time limit interrupt the handler's thread.
    """

    def __init__(
        self,
        broker: Broker,
        leases: LeaseBook,
        *,
        worker: str,
        queues: Sequence[str],
        about: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._broker = broker
        self._leases = leases
        self._worker = worker
        self._queues = queues
        self._about = about
        self._stopping = threading.Event()
        self._next_beat = 0.0
        self._extend_after = broker.policy.lease_ms / 3000
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Give a first sign of life and start the thread: a worker is known before it claims."""
        self._tick()
        self.thread.start()

    def stop(self) -> None:
        """End the thread and take the worker off the list of live ones."""
        self._stopping.set()
        self._leases.changed.set()
        self.thread.join(timeout=5)
        try:
            self._beat(b"")
        except QueueingError:
            logger.warning("could not sign off", extra={"action": "sign_off_failed", "worker": self._worker})
        self._broker.close()

    def _run(self) -> None:
        self._wait()
        while not self._stopping.is_set():
            self._tick()
            self._wait()

    def _tick(self) -> None:
        try:
            self.run_once()
        except QueueingError as error:
            logger.warning("%s", error, extra={"action": "keep_leases_failed", "worker": self._worker})

    def run_once(self) -> int:
        """Do what is due now; returns how many leases were extended."""
        now = time.monotonic()
        self._enforce_limits(now)
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS
            self._beat(self._sign_of_life())
        due = [lease for lease in self._leases if lease.is_held(now) and self._is_due(lease, now)]
        return self.extend(due)

    def extend_now(self, lease: Lease) -> None:
        """Extend one lease at once, for its handler; raises LeaseLost."""
        self.extend([lease])
        if not lease.is_held(time.monotonic()):
            raise LeaseLost

    def extend(self, leases: Sequence[Lease]) -> int:
        """Extend leases, one round trip a queue; returns how many are still held."""
        by_queue: dict[str, list[Lease]] = defaultdict(list)
        for lease in leases:
            by_queue[lease.job.queue].append(lease)
        held: list[int] = []
        with self._lock:
            self._broker.for_each(by_queue, lambda queue: held.append(self._extend_queue(by_queue[queue])))
        return sum(held)

    def _extend_queue(self, leases: list[Lease]) -> int:
        sent_at = time.monotonic()
        answers = self._send(leases)
        for lease, answer in zip(leases, answers, strict=True):
            if not answer.held:
                self._lose(lease)
                continue
            lease.renew(sent_at)
            if answer.cancel_requested and not lease.cancel_requested:
                lease.request_cancel()
                lease.interrupt(JobCancelled)
        return sum(answer.held for answer in answers)

    def _send(self, leases: list[Lease]) -> list[Extended]:
        reach("before_extend")
        progress = [lease.take_progress() for lease in leases]
        try:
            return self._broker.extend([(lease.job, of_it) for lease, of_it in zip(leases, progress, strict=True)])
        except QueueingError:
            for lease, of_it in zip(leases, progress, strict=True):
                lease.return_progress(of_it)
            raise

    def _is_due(self, lease: Lease, now: float) -> bool:
        return lease.has_progress or now - lease.renewed_at >= self._extend_after

    def _enforce_limits(self, now: float) -> None:
        for lease in self._leases:
            if now >= lease.timeout_at:
                lease.interrupt(AttemptTimeout)
            if not lease.is_held(now):
                self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        """Stop an attempt whose lease is gone; one that has just ended and been reported is no matter."""
        lease.lose()
        if lease.interrupt(LeaseLost):
            logger.warning(
                "lease of job %s is lost",
                lease.job.id,
                extra={"action": "lease_lost", "job_id": lease.job.id, "worker": self._worker},
            )

    def _beat(self, about: bytes) -> None:
        with self._lock:
            self._broker.for_each(self._queues, lambda queue: self._broker.beat(queue, self._worker, about, FORGET_MS))

    def _sign_of_life(self) -> bytes:
        running = [
            {"job_id": lease.job.id, "kind": lease.job.kind, "attempt": lease.job.attempt} for lease in self._leases
        ]
        return json.dumps({**self._about(), "running": running[:100]}).encode()

    def _wait(self) -> None:
        now = time.monotonic()
        limits = [lease.timeout_at - now for lease in self._leases if not lease.is_interrupted]
        tick = min(TICK_SECONDS, self._extend_after / 2)
        self._leases.changed.wait(max(0.01, min([tick, *(limit if limit > 0 else AGAIN_SECONDS for limit in limits)])))
        self._leases.changed.clear()
