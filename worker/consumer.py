"""The consumer: claims for every free slot, and reports what finished behind the claim."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from queueing import Broker, Claim, Claimed, JobError, QueueingError, Run, Step, StoreUnavailable, new_claim_nonce
from queueing.broker import MAX_CLAIM
from queueing.fault_points import reach
from worker.absences import Absences
from worker.attempt_lines import AttemptLines
from worker.executor import Executor
from worker.leases import Lease
from worker.outcomes import Outcome
from worker.reports import Answer, Reports, results_of
from worker.waker import LONGEST_WAIT_SECONDS, Waker

logger = logging.getLogger(__name__)

WAITS_A_LEASE = 10  # at least, for a hint: a lease is counted from the beginning of the wait in which it is got
WAKE = None  # what the inbox carries besides outcomes


class _Plan(msgspec.Struct):
    """What one exchange says: what the steps report, one after the other, and what follows behind a claim after them.

    A claim is of the first of the queues; the others are asked after it.
    """

    queues: Sequence[str]
    steps: list[Step] = []
    reports: list[tuple[str, list[Outcome]]] = []
    behind: list[Outcome] = []


class Consumer:
    """Claims jobs for free slots only, so none waits in a worker while a newer one arrives.

    The threads that run attempts make the exchanges, one at a time and once no attempt waits for a thread, and wait for
    the next hint: two changes of threads would cost as much as the round trip. The main thread's loop is for the start,
    for outages and for a drain: `run_once` makes one exchange, `wait` sleeps until there may be something to do.

    What succeeded is reported behind the claim that fills its slots (`worker.reports`), before what that brings begins.
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
        self._finished: deque[Outcome] = deque()  # as the threads that run attempts leave them
        self._will_hand_in = False  # once what waits for a thread has one
        self._unreported: list[Outcome] = []
        self._reports = Reports(broker)
        self._behind: list[Outcome] = []  # to be sent behind the claim that is being made
        self._lines = AttemptLines(worker)
        self._absences = Absences(queues, apart=broker.queues_are_apart)
        self._is_listening = False  # a thread that runs attempts waits for a hint: it claims then, nobody else
        self._due_in_seconds = LONGEST_WAIT_SECONDS
        self._open_claims: dict[str, str] = {}  # queue -> nonce of a claim whose reply was not seen yet
        self.claiming = True
        self.ended = 0  # attempts, however they ended
        self.is_empty = False  # whether the last claim found every queue empty

    @property
    def unavailable_since(self) -> float | None:
        """Since when (monotonic seconds) the database, or that of one of the queues, cannot be reached; None if not."""
        return self._absences.since

    @property
    def is_cut_off(self) -> bool:
        """Whether no queue can be reached."""
        return self._absences.are_all

    @property
    def is_exhausted(self) -> bool:
        """Whether `max_jobs` have been claimed."""
        return self._jobs_left is not None and self._jobs_left <= 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, nothing is left to report, and nothing may have been claimed that we do not know of."""
        with self._turn:
            is_empty = self._executor.free == self._executor.concurrency and not self._unreported
            return is_empty and not self._is_listening and not self._reports.is_underway

    def run_once(self) -> bool:
        """Report and claim in one round trip; returns whether anything was reported or claimed.

        When the database cannot be reached nothing is given up: outcomes are reported by a later call, which is safe
        to repeat, until their leases end. A queue of a cluster that is away keeps none of the others from their turn.
        """
        with self._turn:
            self._hear(wait=not self.claiming)
            return self._take_turn()

    def meanwhile(self) -> None:
        """Do what there is time for while the server works on a claim."""
        self.write_lines()
        self._send_behind()

    def report(self, outcome: Outcome) -> None:
        """Hear of an outcome, on the thread that ran the attempt."""
        self._finished.append(outcome)
        self._hand_in()

    def _hand_in(self) -> None:
        """Report what has ended and claim, unless another thread is about to: that looks again when it has done so."""
        while self._finished and not self.is_cut_off:
            if self._executor.is_behind:
                self._hand_in_later()
                return
            if not self._turn.acquire(blocking=False):
                return
            try:
                self._go_on(is_well=self._take_turn_or_leave_it())
            finally:
                self._turn.release()

    def _hand_in_later(self) -> None:
        """Do so once each attempt has a thread: they may take long."""
        if not self._will_hand_in:
            self._will_hand_in = True
            self._executor.call(self._hand_in_now)

    def _hand_in_now(self) -> None:
        self._will_hand_in = False
        self._hand_in()

    def _listen(self) -> None:
        """Wait for a hint and claim, on a thread that runs attempts: it has the attempt at hand that it so finds."""
        with self._turn:
            wanted = self._room() if len(self._queues) == 1 else 0
            step = self._claim_step(self._queues[0], wanted) if wanted > 0 else None
        sent_at = time.monotonic()
        lease_seconds = self._broker.policy.lease_ms / 1000  # which begin to count when the step is sent
        reply = self._waker.wait(min(self._due_in_seconds, lease_seconds / WAITS_A_LEASE), step)
        with self._turn:
            self._is_listening = False
            is_well = self._take_hinted(reply, wanted, sent_at) if step else self._take_turn_or_leave_it()
            self._go_on(is_well=is_well)
        self._hand_in()

    def _take_hinted(self, reply: Any, wanted: int, sent_at: float) -> bool:
        """Start what was claimed with a hint, or give it back when nothing is to be claimed any more.

        Returns whether that went well.
        """
        self._absences.begin_turn()
        if self._room() <= 0:
            self._give_back_hinted(reply)
            return True
        try:
            taken = self._take(reply, _Plan(self._queues), wanted, sent_at)
        except QueueingError:
            return False
        return self._take_turn_or_leave_it() if taken == wanted and self._room() > 0 else True

    def _give_back_hinted(self, reply: Any) -> None:
        """Release what was claimed with a hint; when the reply was lost or cut off, by having it told again."""
        if not isinstance(reply, Claim):
            reply = self._send([self._claim_step(self._queues[0], 0)])[0]
        if isinstance(reply, Claim):
            self._open_claims.clear()
            self._send([self._broker.release_step(job) for job in reply.jobs])

    def _go_on(self, *, is_well: bool) -> None:
        """Let a thread wait for hints if slots are free, or else the main thread see to what is left to do."""
        if self._unreported or (self._executor.free and not (is_well and self._let_listen())):
            self.wake()

    def _take_turn_or_leave_it(self) -> bool:
        """Take a turn; returns whether it went well: an error the main thread meets as well, and ends in order."""
        try:
            self._take_turn()
        except QueueingError:
            return False
        return True

    def _let_listen(self) -> bool:
        """Let a thread that runs attempts wait for a hint, if it may; returns whether one does."""
        if self._waker.is_direct and not self.is_cut_off and self._wanted() > 0:
            self._is_listening = True
            self._executor.call(self._listen)
        return self._is_listening

    def _take_turn(self) -> bool:
        self._collect()
        return self._exchange()

    def wait(self, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Sleep until there may be something to do, or the time is over."""
        self.write_lines()
        with self._turn:
            outcomes = len(self._unreported) + len(self._finished)
            wanted = self._wanted(0 if self.is_cut_off else outcomes)
            if wanted > 0 or outcomes:
                timeout_seconds = min(timeout_seconds, self._absences.pause_seconds())
            if wanted > 0 and not self.is_cut_off and not self._let_listen():
                self._waker.arm(min(self._due_in_seconds, timeout_seconds))
        if not self._finished or self.is_cut_off:
            self._receive(timeout_seconds)

    def claim_no_more(self) -> None:
        """Let nothing be claimed any more, and nobody wait for a hint."""
        self.claiming = False
        self._waker.end_waits()

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

    def note_run(self, run: Run) -> None:
        """Leave word of a run, between two exchanges: what still runs may be reported meanwhile."""
        with self._turn:
            self._broker.note_run(run)

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()
        self._reports.close()

    def write_lines(self) -> None:
        """Write what attempts leave in the log, any time soon after their reports."""
        self._lines.write()

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
        while self._finished:
            self._unreported.append(self._finished.popleft())
        while not self._inbox.empty():
            with contextlib.suppress(Empty):
                if (outcome := self._inbox.get_nowait()) is not WAKE:
                    self._unreported.append(outcome)
        now = time.monotonic()
        reportable = []
        for outcome in self._unreported:
            if outcome.verdict == "lost" or not outcome.lease.is_held(now):
                self._settle(outcome, "lost", time.time())
            else:
                reportable.append(outcome)
        self._unreported = reportable

    def _wanted(self, freed: int = 0) -> int:
        """Return how many jobs to claim now, when that many slots more will be free."""
        return 0 if self._is_listening else self._room(freed)

    def _room(self, freed: int = 0) -> int:
        if not self.claiming or self._is_stopping():
            return 0
        wanted = min(self._executor.free + freed, self._executor.concurrency, MAX_CLAIM)
        return wanted if self._jobs_left is None else min(wanted, self._jobs_left)

    def _exchange(self) -> bool:
        queues, ended = self._absences.begin_turn(), self.ended
        reported = [outcome for outcome in self._unreported if outcome.lease.job.queue in queues]
        wanted = self._wanted(len(self._unreported))  # what waits for a queue that is away holds up no other
        plan = self._plan(queues, reported, wanted)
        if not plan.steps:
            return False
        if reported:
            reach("before_ack")
        if not plan.behind:
            self._hear(wait=True)  # first, so that lines have the order of the attempts
        sent_at = time.monotonic()
        replies = self._send_plan(plan)
        for (queue, outcomes), reply in zip(plan.reports, replies, strict=False):
            if self._heed(queue, reply, sent_at):
                self._settle_all(outcomes, reply, time.time())
                self._forget(outcomes)
        claimed = self._take(replies[-1], plan, wanted, sent_at) if wanted else 0
        if not claimed:
            self._hear(wait=True)
        return not self.is_cut_off and (claimed > 0 or self.ended > ended)

    def _send(self, steps: Sequence[Step]) -> list[Any]:
        try:
            return self._broker.exchange(steps)
        except StoreUnavailable as error:
            return [error] * len(steps)

    def _send_plan(self, plan: _Plan) -> list[Any]:
        """Send the steps and what goes behind them, unless the database cannot be reached; returns the replies."""
        self._behind = plan.behind
        try:
            replies = self._send(plan.steps)
            if isinstance(replies[-1], StoreUnavailable):
                self._note_answer(self._reports.give_up())
            else:
                self._send_behind()
        finally:
            self._behind = []
        return replies

    def _send_behind(self) -> None:
        """Send what goes behind the claim, once the report before it was answered; else it stays for the next turn."""
        outcomes, self._behind = self._behind, []
        if not outcomes:
            return
        self._hear(wait=True)
        if self._reports.travel and self._reports.send(outcomes):
            self._forget(outcomes)
            for outcome in outcomes:
                self._executor.settle(outcome.lease)

    def _forget(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._unreported.remove(outcome)

    def _hear(self, *, wait: bool) -> None:
        """Note what became of the report that is underway, if it was answered, or to `wait` for that."""
        self._note_answer(self._reports.hear(wait=wait))

    def _note_answer(self, answer: Answer | None) -> None:
        if answer is None:
            return
        if answer.held is not None:
            self._settle_all(answer.outcomes, answer.held, answer.sent_at)
            return
        for outcome in answer.outcomes:  # they are sent again, with the next claim
            self._executor.take_back(outcome.lease)
            self._unreported.append(outcome)

    def _plan(self, queues: Sequence[str], reported: Sequence[Outcome], wanted: int) -> _Plan:
        """Turn the outcomes into steps: one for all that succeeded in a queue, one for each of the others.

        A claim comes last, and what succeeded in its queue goes behind it.
        """
        plan, first = _Plan(queues), queues[0]
        succeeded: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in reported:
            queue = outcome.lease.job.queue
            if outcome.verdict == "succeeded":
                succeeded[queue].append(outcome)
            else:
                plan.steps.append(self._fail_step(outcome))
                plan.reports.append((queue, [outcome]))
        if wanted and self._reports.travel:
            plan.behind = succeeded.pop(first, [])
        for queue, outcomes in succeeded.items():
            plan.steps.append(self._broker.ack_step(queue, results_of(outcomes)))
            plan.reports.append((queue, outcomes))
        if wanted:
            plan.steps.append(self._claim_step(first, wanted))
        return plan

    def _fail_step(self, outcome: Outcome) -> Step:
        error = outcome.error or JobError(type="Unknown", message="")
        return self._broker.fail_step(outcome.lease.job, error, delay_ms=outcome.delay_ms, outcome=outcome.verdict)

    def _settle_all(self, outcomes: Sequence[Outcome], reply: Any, reported_at: float) -> None:
        """Note what became of reported outcomes: a list of bools after an ack, a state or an error after a fail."""
        reach("after_ack")
        answers = reply if isinstance(reply, list | tuple) else [reply]
        if isinstance(reply, QueueingError):
            answers = [False] * len(outcomes)
        for outcome, answer in zip(outcomes, answers, strict=True):
            self._settle(outcome, "succeeded" if answer is True else str(answer) if answer else "lost", reported_at)

    def _settle(self, outcome: Outcome, state: str, reported_at: float) -> None:
        """Free the slot, unless it is free already, and note the attempt's line."""
        self._executor.settle(outcome.lease)
        self.ended += 1
        self._lines.note(outcome, state, reported_at)

    def _take(self, reply: Any, plan: _Plan, wanted: int, sent_at: float) -> int:
        """Start what was claimed; while slots are left ask the other queues, in their order."""
        claims: list[Claim] = []
        taken = 0
        for n, queue in enumerate(plan.queues):
            if n:
                if taken >= wanted or self.is_cut_off:
                    break
                sent_at = time.monotonic()
                reply = self._send([self._claim_step(queue, wanted - taken)])[0]
            if not self._heed(queue, reply, sent_at):
                continue
            if isinstance(reply, QueueingError):
                raise reply
            self._open_claims.pop(queue, None)
            claims.append(reply)
            taken += self._start(reply.jobs, sent_at)
        due = [claim.due_in_ms / 1000 for claim in claims if claim.due_in_ms is not None]
        self.is_empty = taken == 0 and len(claims) == len(self._queues) and 0 not in due
        self._due_in_seconds = min([LONGEST_WAIT_SECONDS, *due])
        return taken

    def _heed(self, queue: str, reply: Any, sent_at: float) -> bool:
        """Note whether a queue can be reached, and return it; what it could not take now is sent again."""
        if not isinstance(reply, StoreUnavailable):
            self._absences.clear(queue)
            return True
        if failures := self._absences.note(queue, time.monotonic() - sent_at):
            logger.warning(
                "%s; trying again",
                reply,
                extra={"action": "store_unavailable", "worker": self._worker, "queue": queue, "failures": failures},
            )
        return False

    def _claim_step(self, queue: str, wanted: int) -> Step:
        """Claim anew, or again when the reply to the last claim was lost."""
        again = queue in self._open_claims
        nonce = self._open_claims.setdefault(queue, new_claim_nonce())
        return self._broker.claim_step(queue, self._worker, wanted, nonce=nonce, again=again)

    def _start(self, jobs: Sequence[Claimed], sent_at: float) -> int:
        if jobs:
            reach("after_claim")
        lease_seconds = self._broker.policy.lease_ms / 1000
        self._executor.submit(jobs, lease_seconds=lease_seconds, claimed_at=sent_at)
        if self._jobs_left is not None:
            self._jobs_left -= len(jobs)
        return len(jobs)
