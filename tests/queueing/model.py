"""The queue as an executable specification: what each verb does to the jobs, in plain Python.

Instants are milliseconds and come from outside (`now`), as do the stamps of the queue's clock and the lease tokens,
which only the server can know; everything else follows from the calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from queueing import JobNotFound, LeaseLost, NewJob, Policy, State, WrongState
from queueing.jobs import seconds_to_ms

WAITING = frozenset({State.READY, State.SCHEDULED, State.RETRYING})
LIVE = WAITING | {State.RUNNING}


@dataclass(slots=True, kw_only=True)
class ModelJob:
    """One job. `place` is its tick in the order; `due`, `lease_until` and `finished` belong to the state it is in."""

    id: str
    new: NewJob
    state: State
    created: int
    place: int = 0
    first_due: int | None = None
    due: int | None = None
    expires: int | None = None
    attempt: int = 0
    allowed: int = 0
    attempts_at_requeue: int = 0
    crashes: int = 0
    token: str | None = None
    worker: str | None = None
    started: int | None = None
    lease_until: int | None = None
    finished: int | None = None
    cancel_requested: bool = False
    holds: str | None = None
    result: bytes | None = None
    progress: bytes | None = None
    history: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, str]:
        return (self.new.priority, self.place, self.id)

    def is_late(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now


@dataclass
class Model:
    """A queue. A verb returns what the broker returns, or raises what it raises."""

    policy: Policy
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    fair_every: int = 0
    paused: bool = False
    paused_until: int | None = None
    clock: int = 0

    # What can be asked

    def in_state(self, *states: State) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in states]

    def service_order(self) -> list[str]:
        """Return the ready jobs, the one claimed next first (by strict LIFO)."""
        return [job.id for job in sorted(self.in_state(State.READY), key=lambda job: job.order, reverse=True)]

    def is_paused(self, now: int) -> bool:
        return self.paused and (self.paused_until is None or self.paused_until > now)

    def holder_of(self, unique_key: str) -> ModelJob | None:
        return next((job for job in self.in_state(*LIVE) if job.holds == unique_key), None)

    # What producers do

    def enqueue(self, now: int, pairs: Iterable[tuple[str, NewJob]]) -> list[tuple[str, str, State]]:
        """Return (id, outcome, state) for each; a created job has no place until `put` gives it one."""
        return [self._enqueue(now, job_id, new) for job_id, new in pairs]

    def _enqueue(self, now: int, job_id: str, new: NewJob) -> tuple[str, str, State]:
        if job_id in self.jobs:
            return job_id, "exists", self.jobs[job_id].state
        holder = self.holder_of(new.unique_key) if new.unique_key is not None else None
        if holder is not None:
            return holder.id, "unique", holder.state
        due = max(new.run_at_ms, now + seconds_to_ms(new.delay_seconds or 0))
        job = ModelJob(id=job_id, new=new, state=State.READY, created=now, allowed=new.max_attempts)
        if due > now:
            job.state, job.due, job.first_due = State.SCHEDULED, due, due
        if new.ttl_seconds is not None:
            job.expires = now + seconds_to_ms(new.ttl_seconds)
        job.holds = new.unique_key
        self.jobs[job_id] = job
        self.counters["submitted"] += 1
        return job_id, "created", job.state

    def put(self, job_id: str, stamp: int) -> None:
        """Give a created job its place: a ready one's is a new stamp of the clock, a scheduled one's its due time."""
        job = self.jobs[job_id]
        job.place = stamp
        if job.state is State.READY:
            assert stamp > self.clock
            self.clock = stamp

    def cancel(self, now: int, job_id: str) -> State:
        job = self._found(job_id)
        if job.state is State.RUNNING:
            job.cancel_requested = True
        elif job.state in WAITING:
            self._finish(now, job, State.CANCELLED)
        elif job.state is not State.CANCELLED:
            raise WrongState(job_id, job.state)
        return job.state

    def requeue(self, job_id: str) -> State:
        job = self._found(job_id)
        if job.state is not State.DEAD:
            raise WrongState(job_id, job.state)
        job.allowed = job.attempt + job.allowed - job.attempts_at_requeue
        job.attempts_at_requeue, job.crashes = job.attempt, 0
        job.expires = job.holds = job.token = job.finished = None
        job.cancel_requested = False
        job.state = State.READY
        self.counters["requeued"] += 1
        return job.state

    # What workers do

    def claim(self, now: int, limit: int, worker: str) -> list[tuple[str, int]]:
        """Return (id, attempt) of each job taken; `lease` gives each its token."""
        self.expire(now)
        self.promote(now)
        if self.is_paused(now):
            return []
        self.paused, self.paused_until = False, None
        taken: list[tuple[str, int]] = []
        while len(taken) < limit and (job := self._next(len(taken))):
            if job.is_late(now):
                self._finish(now, job, State.EXPIRED)
                continue
            job.state, job.attempt, job.worker, job.started = State.RUNNING, job.attempt + 1, worker, now
            job.lease_until = now + self.policy.lease_ms
            taken.append((job.id, job.attempt))
        self.counters["claimed"] += len(taken)
        return taken

    def lease(self, job_id: str, token: str, stamp: int) -> None:
        """Give a claimed job its token, whose stamp is a new one of the clock."""
        assert stamp > self.clock
        self.clock = stamp
        self.jobs[job_id].token = token

    def _next(self, taken: int) -> ModelJob | None:
        ready = self.in_state(State.READY)
        if not ready:
            return None
        if self.fair_every and (self.counters["claimed"] + taken + 1) % self.fair_every == 0:
            return min(ready, key=lambda job: (job.place, job.new.priority, job.id))
        return max(ready, key=lambda job: job.order)

    def ack(self, now: int, attempts: Iterable[tuple[str, str, bytes | None]]) -> list[bool]:
        replies, done = [], 0
        for job_id, token, result in attempts:
            job = self._held(job_id, token, State.SUCCEEDED)
            if job is not None and job.state is State.RUNNING:
                job.result = result
                self._finish(now, job, State.SUCCEEDED)
                done += 1
            replies.append(job is not None)
        self._retain(now, State.SUCCEEDED, 2 * done)
        return replies

    def fail(self, now: int, job_id: str, token: str, delay_ms: int, outcome: str) -> State:
        job = self._held(job_id, token, State.RETRYING, State.DEAD, State.CANCELLED, State.EXPIRED)
        if job is None:
            raise LeaseLost(job_id)
        if job.state is not State.RUNNING:
            return job.state
        self._end_attempt(job, outcome)
        self.counters["failed"] += 1
        if outcome == "cancelled" or job.cancel_requested:
            self._finish(now, job, State.CANCELLED)
        elif outcome == "dead" or job.attempt >= job.allowed:
            self._finish(now, job, State.DEAD)
        elif job.is_late(now):
            self._finish(now, job, State.EXPIRED)
        else:
            job.state, job.due = State.RETRYING, now + delay_ms
            self.counters["retried"] += 1
        return job.state

    def extend(self, now: int, attempts: Iterable[tuple[str, str, bytes | None]]) -> list[tuple[bool, bool]]:
        """Return (held, cancel requested) for each."""
        replies = []
        for job_id, token, progress in attempts:
            job = self._held(job_id, token)
            if job is not None:
                job.lease_until = now + self.policy.lease_ms
                job.progress = progress or job.progress
            replies.append((job is not None, job is not None and job.cancel_requested))
        return replies

    def release(self, now: int, job_id: str, token: str) -> State:
        job = self._held(job_id, token, State.READY, State.CANCELLED)
        if job is None:
            raise LeaseLost(job_id)
        if job.state is not State.RUNNING:
            return job.state
        self.counters["released"] += 1
        if job.cancel_requested:
            self._finish(now, job, State.CANCELLED)
        else:
            job.state, job.attempt = State.READY, job.attempt - 1
        return job.state

    # What keeps the queue in order

    def promote(self, now: int) -> int:
        due = [job for job in self.in_state(State.SCHEDULED, State.RETRYING) if job.due is not None]
        due = [job for job in due if job.due <= now]
        for job in due:
            job.state = State.READY
        return len(due)

    def expire(self, now: int) -> int:
        late = [job for job in self.in_state(*WAITING) if job.is_late(now)]
        for job in late:
            self._finish(now, job, State.EXPIRED)
        return len(late)

    def reap(self, now: int) -> list[tuple[str, State, int]]:
        lost = [job for job in self.in_state(State.RUNNING) if (job.lease_until or 0) <= now]
        return [self._take_back(now, job) for job in sorted(lost, key=lambda job: (job.lease_until, job.id))]

    def _take_back(self, now: int, job: ModelJob) -> tuple[str, State, int]:
        self._end_attempt(job, "lost")
        self.counters["reaped"] += 1
        job.token = None
        job.crashes += 1
        if job.cancel_requested:
            self._finish(now, job, State.CANCELLED)
        elif job.crashes >= self.policy.max_crashes or job.attempt >= job.allowed:
            self._finish(now, job, State.DEAD)
        else:
            job.state = State.READY
        return job.id, job.state, job.attempt

    def prune(self, now: int, limit: int) -> int:
        return sum(self._retain(now, state, limit) for state in self.policy.retention)

    def _retain(self, now: int, state: State, limit: int) -> int:
        kept = self.policy.retention[state]
        finished = sorted(self.in_state(state), key=lambda job: (job.finished, job.id))
        surplus = min(limit, len(finished) - kept.keep_count)
        if surplus > 0:
            gone = finished[:surplus]
        else:
            gone = [job for job in finished if (job.finished or 0) <= now - kept.keep_ms][:limit]
        for job in gone:
            del self.jobs[job.id]
        self.counters["pruned"] += len(gone)
        return len(gone)

    # What people do to queues

    def purge(self, state: State) -> int:
        states = [State.SCHEDULED, State.RETRYING]
        gone = self.in_state(*states) if state in states else self.in_state(state)
        for job in gone:
            del self.jobs[job.id]
        self.counters["purged"] += len(gone)
        return len(gone)

    def pause(self, until: int | None) -> None:
        self.paused, self.paused_until = True, until

    def resume(self) -> bool:
        was_paused, self.paused, self.paused_until = self.paused, False, None
        return was_paused

    # What the verbs share

    def _found(self, job_id: str) -> ModelJob:
        if job_id not in self.jobs:
            raise JobNotFound(job_id)
        return self.jobs[job_id]

    def _held(self, job_id: str, token: str, *repeated: State) -> ModelJob | None:
        """Return the job that this token holds, or last held and put into one of the `repeated` states."""
        job = self.jobs.get(job_id)
        if job is not None and job.token == token and job.state in {State.RUNNING, *repeated}:
            return job
        self.counters["stale"] += 1
        return None

    def _end_attempt(self, job: ModelJob, outcome: str) -> None:
        job.history[job.attempt] = (outcome, job.worker or "")
        job.history.pop(job.attempt - 20, None)

    def _finish(self, now: int, job: ModelJob, state: State) -> None:
        job.state, job.finished = state, now
        self.counters[str(state)] += 1
