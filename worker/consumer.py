"""The consumer: reports what finished and claims for every free slot, in one round trip."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, cast

from queueing import Broker, Claim, Claimed, JobError, QueueingError, Step, StoreUnavailable, new_claim_nonce
from queueing.broker import MAX_CLAIM, Succeeded
from queueing.fault_points import reach
from worker.attempts import log_fields
from worker.executor import Executor
from worker.leases import Lease
from worker.outcomes import Outcome
from worker.waker import LONGEST_WAIT_SECONDS, Waker

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0  # claiming again well within 5 s of the database being back

WAKE = None  # what the inbox carries besides outcomes


@dataclass(slots=True)
class _Plan:
    """What one exchange says: what the steps report, one after the other, and what a claim after them acks."""

    steps: list[Step] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    acked: list[Outcome] = field(default_factory=list)


class Consumer:
    """Claims jobs for free slots only, so none waits in a worker while a newer one arrives.

    The loop is the main thread's: `run_once` makes one exchange, `wait` sleeps until an attempt ends, a hint
    arrives, or the next scheduled job is due. With one slot the exchange that follows an attempt is made by the thread
    that ran it, which then has its next job at hand: two changes of threads would cost as much as the round trip.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        queues: Sequence[str],
        worker: str,
        inbox: SimpleQueue[Outcome | None],
        executor: Executor,
        waker: Waker,
        max_jobs: int | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._broker = broker
        self._queues = list(queues)
        self._worker = worker
        self._inbox = inbox
        self._executor = executor
        self._waker = waker
        self._jobs_left = max_jobs
        self._is_stopping = is_stopping
        self._turn = threading.Lock()  # held for an exchange
        self._unreported: list[Outcome] = []
        self._failures = 0
        self._due_in_seconds = LONGEST_WAIT_SECONDS
        self._open_claims: dict[str, str] = {}  # queue -> nonce of a claim whose reply was not seen yet
        self.claiming = True
        self.ended = 0  # attempts, however they ended
        self.is_empty = False  # whether the last claim found every queue empty
        self.unavailable_since: float | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether `max_jobs` have been claimed."""
        return self._jobs_left is not None and self._jobs_left <= 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is left to report."""
        with self._turn:
            return self._executor.free == self._executor.concurrency and not self._unreported

    def run_once(self) -> bool:
        """Report and claim in one round trip; returns whether anything was reported or claimed.

        When the database cannot be reached nothing is given up: outcomes are reported by a later call, which is safe
        to repeat, until their leases end.
        """
        with self._turn:
            return self._take_turn()

    def report(self, outcome: Outcome) -> None:
        """Hear of an outcome, on the thread that ran the attempt."""
        if self._executor.concurrency > 1:
            self._inbox.put(outcome)
            return
        with self._turn:
            self._unreported.append(outcome)
            with contextlib.suppress(QueueingError):  # the main thread meets it as well, and ends in order
                self._take_turn()
            if self._unreported or self._executor.free:
                self.wake()

    def _take_turn(self) -> bool:
        self._collect()
        try:
            busy = self._exchange()
        except StoreUnavailable as error:
            self._note_failure(error)
            return False
        self._failures, self.unavailable_since = 0, None
        return busy

    def wait(self, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Sleep until there may be something to do, or the time is over."""
        if self._failures:
            pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10))
            timeout_seconds = min(timeout_seconds, pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
        elif self._wanted() > 0:
            self._waker.arm(min(self._due_in_seconds, timeout_seconds))
        self._receive(timeout_seconds)

    def wake(self) -> None:
        """End a `wait`; may be called from any thread and from a signal handler."""
        self._inbox.put(WAKE)

    def abandon(self, leases: Sequence[Lease]) -> None:
        """Report attempts whose handlers do not end, though interrupted, as failed."""
        error = JobError(type="AttemptTimeout", message="the handler did not end when its time was over")
        for lease in leases:
            duration = time.monotonic() - lease.started_at
            self._inbox.put(Outcome(lease=lease, verdict="failed", duration_seconds=duration, error=error))

    def release_all(self, leases: Sequence[Lease]) -> int:
        """Give running jobs back uncounted; returns how many were still held."""
        steps = [self._broker.release_step(lease.job) for lease in leases]
        if not steps:
            return 0
        with self._turn:
            replies = self._broker.exchange(steps)
        return sum(not isinstance(reply, QueueingError) for reply in replies)

    def _receive(self, timeout_seconds: float) -> None:
        try:
            outcome = self._inbox.get(timeout=timeout_seconds)
        except Empty:
            return
        if outcome is not WAKE:
            with self._turn:
                self._unreported.append(outcome)

    def _collect(self) -> None:
        """Take every outcome that is there; those whose lease is gone are not to be reported."""
        while not self._inbox.empty():
            with contextlib.suppress(Empty):
                if (outcome := self._inbox.get_nowait()) is not WAKE:
                    self._unreported.append(outcome)
        now = time.monotonic()
        reportable = []
        for outcome in self._unreported:
            if outcome.verdict == "lost" or not outcome.lease.is_held(now):
                self._settle(outcome, "lost")
            else:
                reportable.append(outcome)
        self._unreported = reportable

    def _wanted(self, freed: int = 0) -> int:
        """Return how many jobs to claim now, when that many slots more will be free."""
        if not self.claiming or self._is_stopping():
            return 0
        wanted = min(self._executor.free + freed, self._executor.concurrency, MAX_CLAIM)
        return wanted if self._jobs_left is None else min(wanted, self._jobs_left)

    def _exchange(self) -> bool:
        freed = len(self._unreported)
        wanted = self._wanted(freed)
        plan = self._plan(wanted)
        if not plan.steps:
            return False
        if freed:
            reach("before_ack")
        sent_at = time.monotonic()
        replies = self._broker.exchange(plan.steps)
        for outcomes, reply in zip(plan.outcomes, replies, strict=False):
            self._settle_all(outcomes, reply)
        claimed = self._take(replies[-1], plan.acked, wanted, sent_at) if wanted else 0
        for reply in replies:
            if isinstance(reply, StoreUnavailable):
                raise reply  # not before what was claimed has started
        return freed > 0 or claimed > 0

    def _plan(self, wanted: int) -> _Plan:
        """Turn the outcomes into steps: one for all that succeeded in a queue, one for each of the others.

        A claim comes last, and acks by itself what succeeded in its queue.
        """
        plan, first = _Plan(), self._queues[0]
        succeeded: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self._unreported:
            if outcome.verdict == "succeeded":
                succeeded[outcome.lease.job.queue].append(outcome)
            else:
                plan.steps.append(self._fail_step(outcome))
                plan.outcomes.append([outcome])
        if wanted:
            plan.acked = succeeded.pop(first, [])
        for queue, outcomes in succeeded.items():
            plan.steps.append(self._broker.ack_step(queue, _results(outcomes)))
            plan.outcomes.append(outcomes)
        if wanted:
            plan.steps.append(self._claim_step(first, wanted, _results(plan.acked)))
        return plan

    def _fail_step(self, outcome: Outcome) -> Step:
        error = outcome.error or JobError(type="Unknown", message="")
        return self._broker.fail_step(outcome.lease.job, error, delay_ms=outcome.delay_ms, outcome=outcome.verdict)

    def _settle_all(self, outcomes: list[Outcome], reply: Any) -> None:
        """Note what became of reported outcomes: a list of bools after an ack, a state or an error after a fail.

        Those that the database could not take now are reported again.
        """
        if isinstance(reply, StoreUnavailable):
            return
        reach("after_ack")
        answers = reply if isinstance(reply, list | tuple) else [reply]
        if isinstance(reply, QueueingError):
            answers = [False] * len(outcomes)
        for outcome, answer in zip(outcomes, answers, strict=True):
            self._unreported.remove(outcome)
            self._settle(outcome, "succeeded" if answer is True else str(answer) if answer else "lost")

    def _settle(self, outcome: Outcome, state: str) -> None:
        """Free the slot and write the one line that each attempt leaves in the log."""
        self._executor.settle(outcome.lease)
        self.ended += 1
        job, error = outcome.lease.job, outcome.error
        level = logging.INFO if state == "succeeded" else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        logger.log(
            level,
            "attempt %s of job %s: %s%s",
            job.attempt,
            job.id,
            state,
            f" ({error.type})" if error else "",  # its text, kept with the job, may have parts of the payload
            extra={
                **log_fields(job),
                "action": "attempt",
                "worker": self._worker,
                "outcome": state,
                "duration_seconds": round(outcome.duration_seconds, 6),
                "error": {"type": error.type} if error else None,
            },
        )

    def _take(self, reply: Any, acked: list[Outcome], wanted: int, sent_at: float) -> int:
        """Start what was claimed; while slots are left ask the other queues, in their order."""
        if isinstance(reply, QueueingError):
            raise reply
        if acked:
            self._settle_all(acked, reply.acks)
        self._open_claims.pop(self._queues[0], None)
        claims: list[Claim] = [reply]
        taken = self._start(reply.jobs, sent_at)
        for queue in self._queues[1:]:
            if taken >= wanted:
                break
            sent_at = time.monotonic()
            claims.append(self._claim(queue, wanted - taken))
            taken += self._start(claims[-1].jobs, sent_at)
        self.is_empty = taken == 0 and not any(claim.due_in_ms == 0 for claim in claims)
        due = [claim.due_in_ms / 1000 for claim in claims if claim.due_in_ms is not None]
        self._due_in_seconds = min([LONGEST_WAIT_SECONDS, *due])
        return taken

    def _claim(self, queue: str, wanted: int) -> Claim:
        claim = self._broker.exchange([self._claim_step(queue, wanted)])[0]
        if isinstance(claim, QueueingError):
            raise claim
        self._open_claims.pop(queue, None)
        return cast("Claim", claim)

    def _claim_step(self, queue: str, wanted: int, succeeded: Sequence[Succeeded] = ()) -> Step:
        """Claim anew, or again when the reply to the last claim was lost."""
        again = queue in self._open_claims
        nonce = self._open_claims.setdefault(queue, new_claim_nonce())
        return self._broker.claim_step(queue, self._worker, wanted, nonce=nonce, again=again, succeeded=succeeded)

    def _start(self, jobs: Sequence[Claimed], sent_at: float) -> int:
        if jobs:
            reach("after_claim")
        lease_seconds = self._broker.policy.lease_ms / 1000
        self._executor.submit(jobs, lease_seconds=lease_seconds, claimed_at=sent_at)
        if self._jobs_left is not None:
            self._jobs_left -= len(jobs)
        return len(jobs)

    def _note_failure(self, error: StoreUnavailable) -> None:
        self._failures += 1
        self.unavailable_since = self.unavailable_since or time.monotonic()
        self.is_empty = False
        logger.warning(
            "%s; trying again",
            error,
            extra={"action": "store_unavailable", "worker": self._worker, "failures": self._failures},
        )


def _results(outcomes: Sequence[Outcome]) -> list[Succeeded]:
    return [(outcome.lease.job, outcome.result) for outcome in outcomes]
