"""The queue as an executable specification: what each verb does to the jobs, in plain Python.

Instants are milliseconds and come from outside (`now`), as do the stamps of the queue's clock and the lease tokens,
which only the server can know; everything else follows from the calls.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from queueing import JobNotFound, LeaseLost, Limits, NewJob, Policy, State, WrongState
from queueing.broker import IDEMPOTENCY_MS
from queueing.jobs import seconds_to_ms

WAITING = frozenset({State.READY, State.SCHEDULED, State.RETRYING})
LIVE = WAITING | {State.RUNNING}

#: Where one verb may lead from each state (docs/job-lifecycle.md); a claim promotes what it takes.
EDGES = {
    None: {State.SCHEDULED, State.READY},
    State.SCHEDULED: {State.READY, State.RUNNING, State.CANCELLED, State.EXPIRED},
    State.READY: {State.RUNNING, State.CANCELLED, State.EXPIRED},
    State.RUNNING: {State.READY, State.RETRYING, State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED},
    State.RETRYING: {State.READY, State.RUNNING, State.CANCELLED, State.EXPIRED},
    State.DEAD: {State.READY},
}


@dataclass(slots=True, kw_only=True)
class ModelJob:
    """One job. `place` is its tick in the order; `due`, `lease_until` and `finished` belong to the state it is in."""

    id: str
    new: NewJob
    payload: bytes
    state: State
    created: int
    place: int = 0
    first_due: int | None = None
    due: int | None = None
    expires: int | None = None
    attempt: int = 0
    allowed: int = 0
    timeout_ms: int = 0
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

    @property
    def age(self) -> tuple[int, int, str]:
        """Sort the job that has waited longest first, whatever its priority."""
        return (self.place, self.new.priority, self.id)

    def is_late(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now


@dataclass(slots=True)
class Made:
    """What a submission made, and until when that is remembered."""

    fingerprint: str
    id: str
    until: int


@dataclass
class Model:
    """A queue. A verb returns what the broker returns, or raises what it raises."""

    policy: Policy
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    limits: Limits = field(default_factory=lambda: Limits(retention={}))  # retention: what goes before the policy's
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

    def submissions(self, now: int) -> dict[str, Made]:
        """Return what is still remembered of submissions, by their keys."""
        self.made = {key: made for key, made in self.made.items() if made.until > now}
        return self.made

    def enqueue(
        self, now: int, pairs: Iterable[tuple[str, NewJob]], *, atomic: bool = False
    ) -> list[tuple[str, str, State | None]]:
        """Return (id, outcome, state) for each; a created job has no place until `put` gives it one.

        What becomes of each is decided before the first is stored, so no job of this call is dropped by it.
        """
        before = dict(self.jobs), dict(self.submissions(now)), self.counters.copy()
        oldest, dropped = deque(sorted(self.in_state(State.READY), key=lambda job: job.age)), list[ModelJob]()
        replies = [self._enqueue(now, job_id, new, oldest, dropped) for job_id, new in pairs]
        if atomic and any(outcome in ("full", "mismatch") for _, outcome, _ in replies):
            self.jobs, self.made, self.counters = before
            return replies
        for job in dropped:
            self._finish(now, job, State.EXPIRED)
        return replies

    def _enqueue(
        self, now: int, job_id: str, new: NewJob, oldest: deque[ModelJob], dropped: list[ModelJob]
    ) -> tuple[str, str, State | None]:
        if job_id in self.jobs:
            return job_id, "exists", self.jobs[job_id].state
        made = self.made.get(new.submission.key) if new.submission else None
        if made is not None and new.submission is not None:
            return self._replay(job_id, made, new.submission.fingerprint)
        holder = self.holder_of(new.unique_key) if new.unique_key is not None else None
        if holder is not None:
            self._remember(now, new, holder.id)
            return holder.id, "unique", holder.state
        job = self._new_job(now, job_id, new)
        if not self._has_room(job, oldest, dropped):
            return job_id, "full", None
        self._remember(now, new, job_id)
        self.jobs[job_id] = job
        self.counters["submitted"] += 1
        return job_id, "created", job.state

    def _replay(self, job_id: str, made: Made, fingerprint: str) -> tuple[str, str, State | None]:
        if made.fingerprint != fingerprint:
            return job_id, "mismatch", None
        return made.id, "replayed", self.jobs[made.id].state if made.id in self.jobs else None

    def _remember(self, now: int, new: NewJob, job_id: str) -> None:
        if new.submission is not None:
            self.made[new.submission.key] = Made(new.submission.fingerprint, job_id, now + IDEMPOTENCY_MS)

    def _new_job(self, now: int, job_id: str, new: NewJob) -> ModelJob:
        due = max(new.run_at_ms, now + seconds_to_ms(new.delay_seconds or 0))
        job = ModelJob(id=job_id, new=new, payload=new.payload, state=State.READY, created=now)
        job.allowed, job.holds = new.max_attempts or self.limits.max_attempts, new.unique_key
        job.timeout_ms = seconds_to_ms(new.timeout_seconds or 0) or self.limits.timeout_ms
        if due > now:
            job.state, job.due, job.first_due = State.SCHEDULED, due, due
        if new.ttl_seconds is not None:
            job.expires = now + seconds_to_ms(new.ttl_seconds)
        return job

    def _has_room(self, job: ModelJob, oldest: deque[ModelJob], dropped: list[ModelJob]) -> bool:
        depth = len(self.in_state(*WAITING)) - len(dropped)
        if not self.limits.max_depth or depth < self.limits.max_depth:
            return True
        if self.limits.overflow == "reject" or job.state is not State.READY or not oldest:
            return False
        dropped.append(oldest.popleft())
        return True

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

    def claim(
        self, now: int, limit: int, worker: str, nonce: str, *, again: bool = False
    ) -> tuple[bool, list[tuple[str, int]]]:
        """Return whether the queue is paused, and (id, attempt) of each job taken; `lease` gives each its token."""
        self.expire(now, 20)
        self.promote(now, 200)
        held = self._held_from(nonce) if again else []
        if held:
            for job in held:
                job.lease_until = now + self.policy.lease_ms
            return False, [(job.id, job.attempt) for job in held]
        if self.is_paused(now):
            return True, []
        self.resume()
        return False, [(job.id, job.attempt) for job in self._take(now, limit, worker)]

    def _held_from(self, nonce: str) -> list[ModelJob]:
        """Return the jobs held under tokens of this nonce, the lease that ends last first."""
        held = [job for job in self.in_state(State.RUNNING) if (job.token or "").endswith("-" + nonce)]
        return sorted(held, key=lambda job: (job.lease_until or 0, job.id), reverse=True)

    def _take(self, now: int, limit: int, worker: str) -> list[ModelJob]:
        taken: list[ModelJob] = []
        while len(taken) < limit and (job := self._next(len(taken))):
            if job.is_late(now):
                self._finish(now, job, State.EXPIRED)
                continue
            job.state, job.attempt, job.worker, job.started = State.RUNNING, job.attempt + 1, worker, now
            job.lease_until = now + self.policy.lease_ms
            taken.append(job)
            self.counters["started"] += job.attempt == 1
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
        every = self.limits.fair_every
        if every and (self.counters["claimed"] + taken + 1) % every == 0:
            return min(ready, key=lambda job: job.age)
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
        self._end_attempt(job, "failed" if outcome == "crashed" else outcome)
        self.counters["stopped" if outcome == "cancelled" else "failed"] += 1
        job.crashes += outcome == "crashed"
        is_poison = outcome == "crashed" and job.crashes >= self.policy.max_crashes
        if outcome == "cancelled" or job.cancel_requested:
            self._finish(now, job, State.CANCELLED)
        elif outcome == "dead" or job.attempt >= job.allowed or is_poison:
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

    def promote(self, now: int, limit: int = 200) -> int:
        due = [job for job in self.in_state(State.SCHEDULED, State.RETRYING) if (job.due or 0) <= now]
        due = sorted(due, key=lambda job: (job.due or 0, job.id), reverse=True)[:limit]
        for job in due:
            job.state = State.READY
        return len(due)

    def expire(self, now: int, limit: int = 100) -> int:
        late = [job for job in self.in_state(*WAITING) if job.is_late(now)]
        late = sorted(late, key=lambda job: (job.expires or 0, job.id))[:limit]
        for job in late:
            self._finish(now, job, State.EXPIRED)
        return len(late)

    def reap(self, now: int, first: float, last: float, longest_ms: int) -> list[tuple[str, State, int]]:
        """Return (id, state, attempt) of each job whose lease ended from `first` to `last`."""
        running = self.in_state(State.RUNNING)
        for job in running:
            job.lease_until = min(job.lease_until or 0, now + longest_ms)
        lost = [job for job in running if first <= (job.lease_until or 0) <= last]
        return [self._take_back(now, job) for job in sorted(lost, key=lambda job: (job.lease_until or 0, job.id))]

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
        kept = self.limits.retention.get(state, self.policy.retention[state])
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
        gone = self.in_state(state)
        for job in gone:
            del self.jobs[job.id]
        self.counters["purged"] += len(gone)
        return len(gone)

    def delete(self, job_id: str) -> State:
        job = self._found(job_id)
        if job.state is State.RUNNING:
            raise WrongState(job_id, job.state)
        self.counters["deleted"] += 1
        return self.jobs.pop(job_id).state

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
