"""The write side of the queue: every transition of a job, each one script and atomic on the server."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from queueing import scripts
from queueing.backoff import Backoff
from queueing.connections import HELD_TIMEOUT_SECONDS, Client, held_link_to, link_to
from queueing.durability import WAIT_MS, Durability, ServerReadings
from queueing.errors import (
    DurabilityNotMet,
    JobNotFound,
    LeaseLost,
    QueueFull,
    QueueingError,
    StoreUnavailable,
    SubmissionMismatch,
)
from queueing.figures import MAX_RUNS, Run
from queueing.jobs import (
    DEFAULT_MAX_ATTEMPTS,
    Claim,
    Claimed,
    Enqueued,
    JobError,
    NewJob,
    State,
    is_queue_name,
    new_job_id,
    queue_of,
    seconds_to_ms,
    tags_from_json,
    to_ms,
)
from queueing.keys import QueueKeys, queue_keys, submission_digest, unique_digest
from queueing.limits import DEFAULT_RETENTION, Retention, limits_to_meta
from queueing.links import Argument, Command, Link, nothing
from queueing.scripts import Call

MAX_JOBS_A_CALL = 1_000  # an enqueue of this many keeps the server busy for about 10 ms
IDEMPOTENCY_MS = 86_400_000
PURGE_LOOKS = 500  # jobs a step of a purge looks at, which takes the server about 2 ms
LONGEST_LEASE_MS = 3_600_000
CLAIMED_VALUES = 13  # of each job in the reply of a claim
MAX_CLAIM = 50  # the claim unpacks two values a job; Lua's unpack is kept to 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules a broker applies: leases, retries and retention."""

    lease_ms: int = 30_000
    max_crashes: int = 3
    replicas: int = 1  # that must have a job submitted as `replicated`
    backoff: Backoff = field(default_factory=Backoff)
    retention: Mapping[State, Retention] = field(default_factory=lambda: dict(DEFAULT_RETENTION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """A job whose lease ran out, and the state it was put into: ready, dead or cancelled."""

    id: str
    state: State
    attempt: int


_Pair = tuple[str, NewJob]  # a job's id, and the job
Succeeded = tuple[Claimed, bytes | None]  # an attempt that succeeded, and its result (JSON)


class Step(msgspec.Struct, frozen=True):
    """A call and how to read its reply, so that several can share one round trip (`Broker.exchange`)."""

    call: Call
    read: Callable[[Any], Any]


class Begun:
    """A step that was sent, and whose value was not asked for yet."""

    def __init__(self, link: Link, step: Step) -> None:
        self._call = scripts.Begun(link, step.call)
        self._read = step.read

    def is_answered(self) -> bool:
        """Whether the value can be had without waiting."""
        return self._call.is_answered()

    def value(self) -> Any:
        """Return the value, once; raises QueueingError: StoreUnavailable if nobody knows whether the step was made."""
        return self._read(self._call.reply())


class Broker:
    """Enqueue, claim, and end jobs of the queues in one database.

    `client` is one without retries of its own (`queueing.connections`). A broker may be shared by
    threads as far as the client may. Every method raises StoreUnavailable when the database cannot be reached in time.
    Methods ending in `_step` return a Step for `exchange`, all others make one round trip.
    """

    def __init__(self, client: Client, policy: Policy | None = None, *, link: Link | None = None) -> None:
        self.policy = policy or Policy()
        self._client = client
        self._link = link or link_to(client)
        self._readings = ServerReadings(self._link)

    def dedicated(
        self, *, socket_timeout_seconds: float = HELD_TIMEOUT_SECONDS, meanwhile: Callable[[], object] = nothing
    ) -> Broker:
        """Return a broker with one connection of its own, for the use of one thread.

        `meanwhile` is called in each trip, while the server works; in a cluster by several threads at once.
        """
        return Broker(self._client, self.policy, link=held_link_to(self._client, socket_timeout_seconds, meanwhile))

    def interrupt(self) -> None:
        """End the call that another thread is in, of a dedicated broker; that raises StoreUnavailable there."""
        self._link.interrupt()

    def close(self) -> None:
        """Give up the connection of a dedicated broker."""
        self._link.close()

    def exchange(self, steps: Sequence[Step]) -> list[Any]:
        """Make several steps in one round trip, in order; returns for each its value or a QueueingError.

        Steps are atomic one by one, not together. Raises StoreUnavailable when the trip failed.
        """
        replies = scripts.run_many(self._link, [step.call for step in steps])
        return [
            reply if isinstance(reply, QueueingError) else step.read(reply)
            for step, reply in zip(steps, replies, strict=True)
        ]

    def begin(self, step: Step) -> Begun:
        """Send a step and leave its value for later; raises StoreUnavailable when it cannot be sent.

        A dedicated broker makes no other call before that value was asked for.
        """
        return Begun(self._link, step)

    def _make(self, step: Step) -> Any:
        return step.read(scripts.run(self._link, step.call))

    def ping(self, queues: Sequence[str]) -> None:
        """Raise StoreUnavailable when no server answers that has one of the queues."""
        try:
            of_servers = {self._link.server_of(queue): queue for queue in queues}
            replies = self._link.execute_many([("PING",)] * len(of_servers), list(of_servers.values()))
        except RedisError as error:
            raise scripts.translate(error) from error
        errors = [reply for reply in replies if isinstance(reply, RedisError)]
        if len(errors) == len(replies):
            raise scripts.translate(errors[0])

    def server_time_ms(self, queue: str) -> int:
        """Return the clock of the server that has the queue, ms since 1970."""
        seconds, microseconds = self._ask(queue, "TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _ask(self, queue: str, *command: Argument) -> Any:
        """Run one command, which is no script, on the server that has the queue."""
        try:
            return self._link.execute(command, queue)
        except RedisError as error:
            raise scripts.translate(error) from error

    @property
    def queues_are_apart(self) -> bool:
        """Whether each queue may lie on a server of its own, in a cluster: no command then has keys of two of them."""
        return not isinstance(self._client, Redis)

    def for_each(self, queues: Iterable[str], do: Callable[[str], Any]) -> None:
        """Do something with every queue, also when that fails for some: the first error is raised at the end.

        Where one server has all queues, the first that cannot be reached ends the round: none of the others can.
        """
        first: QueueingError | None = None
        for queue in queues:
            try:
                do(queue)
            except QueueingError as error:
                first = first or error
                if isinstance(error, StoreUnavailable) and not self.queues_are_apart:
                    break
        if first is not None:
            raise first

    # What producers do

    def enqueue(
        self, queue: str, job: NewJob, *, job_id: str | None = None, durability: Durability = Durability.ACCEPTED
    ) -> Enqueued:
        """Store a job. Repeating the call with the same `job_id`, or the same `job.submission`, stores it once.

        Raises QueueFull, SubmissionMismatch, StoreFull and, when the job is not stored as safely as `durability` asks,
        DurabilityNotMet.
        """
        keys = _keys(queue)
        self._refuse_what_cannot_be_stored(queue, () if job_id is None else (job_id,), durability)
        pairs = [(job_id or new_job_id(queue), job)]
        call = _enqueue_call(keys, pairs, atomic=False, are_named=job_id is not None)
        if durability is Durability.REPLICATED:
            enqueued = self._enqueue_replicated(pairs, call)[0]
        else:
            enqueued = _read_enqueued(pairs, scripts.run(self._link, call))[0]
        if enqueued.outcome == "full":
            raise QueueFull(queue)
        if enqueued.outcome == "mismatch":
            raise SubmissionMismatch
        return enqueued

    def enqueue_many(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        *,
        job_ids: Sequence[str] | None = None,
        durability: Durability = Durability.ACCEPTED,
        atomic: bool = False,
    ) -> list[Enqueued]:
        """Store jobs in one round trip; the last one is claimed first. Up to 1,000 are stored in one step.

        What became of each is in its outcome. With `atomic` none is stored when one of them is refused (`full` or
        `mismatch`). Raises StoreFull and DurabilityNotMet.
        """
        keys = _keys(queue)
        if atomic and len(jobs) > MAX_JOBS_A_CALL:
            raise ValueError(f"at most {MAX_JOBS_A_CALL} jobs can be stored in one step")
        self._refuse_what_cannot_be_stored(queue, job_ids or (), durability)
        pairs = list(zip(job_ids or [new_job_id(queue) for _ in jobs], jobs, strict=True))
        chunks = [pairs[start : start + MAX_JOBS_A_CALL] for start in range(0, len(pairs), MAX_JOBS_A_CALL)]
        are_named = job_ids is not None
        calls = [_enqueue_call(keys, chunk, atomic=atomic, are_named=are_named) for chunk in chunks]
        if durability is Durability.REPLICATED:
            both = zip(chunks, calls, strict=True)
            return [enqueued for chunk, call in both for enqueued in self._enqueue_replicated(chunk, call)]
        replies = scripts.run_many(self._link, calls)
        for reply in replies:
            if isinstance(reply, QueueingError):
                raise reply
        answered = zip(chunks, replies, strict=True)
        return [enqueued for chunk, reply in answered for enqueued in _read_enqueued(chunk, reply)]

    def _refuse_what_cannot_be_stored(self, queue: str, job_ids: Sequence[str], durability: Durability) -> None:
        for job_id in job_ids:
            if queue_of(job_id) != queue:
                raise ValueError(f"{job_id!r} is no id of a job of queue {queue}")
        self._readings.refuse_when_full(queue)
        if durability is Durability.FSYNCED:
            self._readings.require_fsync(queue)

    def _enqueue_replicated(self, pairs: Sequence[_Pair], call: Call) -> list[Enqueued]:
        """Store jobs and wait for the replicas; what is stored here alone may still run, so its id is named."""
        reply, reached = scripts.run_and_wait(self._link, call, self.policy.replicas, WAIT_MS)
        enqueued = _read_enqueued(pairs, reply)
        if reached < self.policy.replicas:
            reason = f"{reached} of {self.policy.replicas} replicas have it"
            raise DurabilityNotMet(Durability.REPLICATED, reason, enqueued[0].id)
        return enqueued

    def cancel(self, job_id: str) -> State:
        """Cancel a job and return the state it is in now.

        A waiting job is `cancelled` at once; a `running` one is flagged, and its worker learns of it within a third
        of a lease. Raises JobNotFound, or WrongState when it has finished otherwise.
        """
        return self._make(Step(Call("cancel", _keys_of(job_id), (job_id,)), _read_state))  # type: ignore[no-any-return]

    def requeue(self, job_id: str) -> State:
        """Make a dead job ready again at its old place; raises JobNotFound or WrongState."""
        return self._make(self.requeue_step(job_id))  # type: ignore[no-any-return]

    def delete(self, job_id: str) -> State:
        """Delete a job that is not running; returns the state it was in. Raises JobNotFound or WrongState."""
        return self._make(Step(Call("delete", _keys_of(job_id), (job_id,)), _read_state))  # type: ignore[no-any-return]

    def requeue_step(self, job_id: str) -> Step:
        """Return the step of `requeue`."""
        return Step(Call("requeue", _keys_of(job_id), (job_id,)), _read_state)

    # What workers do

    def claim(self, queue: str, worker: str, limit: int = 1) -> Claim:
        """Take the newest ready jobs, each under a lease of `policy.lease_ms`; at most MAX_CLAIM a call."""
        return self._make(self.claim_step(queue, worker, limit))  # type: ignore[no-any-return]

    def claim_step(
        self,
        queue: str,
        worker: str,
        limit: int,
        *,
        nonce: str | None = None,
        again: bool = False,
    ) -> Step:
        """Return the step of `claim`.

        After a trip that failed, the same `nonce` (`new_claim_nonce`) with `again` gives what the lost reply gave, if
        the claim was made, and else claims: so a lost reply costs no job a lease.
        """
        arguments = (min(limit, MAX_CLAIM), self.policy.lease_ms, nonce or new_claim_nonce(), worker, int(again))
        return Step(Call("claim", _keys(queue), arguments), lambda reply: _read_claim(queue, reply))

    def ack(self, job: Claimed, result: bytes | None = None) -> None:
        """Finish an attempt that succeeded, keeping `result` (JSON); raises LeaseLost. May be repeated."""
        if not self._make(self.ack_step(job.queue, [(job, result)]))[0]:
            raise LeaseLost(job.id)

    def ack_step(self, queue: str, attempts: Iterable[Succeeded]) -> Step:
        """Return the step that acks attempts of one queue; its value is a list of bools, False for a lost lease."""
        kept = self.policy.retention[State.SUCCEEDED]
        arguments: list[Argument] = [kept.keep_ms, kept.keep_count]
        for job, result in attempts:
            arguments += (job.id, job.lease_token, result or b"")
        return Step(Call("ack", _keys(queue), arguments), _read_acks)

    def fail(self, job: Claimed, error: JobError, *, delay_ms: int | None = None, outcome: str = "failed") -> State:
        """End an attempt that failed and return the job's state: retrying, dead, cancelled or expired.

        `outcome` is `failed` (retry while attempts are left, after `delay_ms` or else the backoff), `crashed` (the
        same, and dead after `policy.max_crashes`), `dead` or `cancelled`. Raises LeaseLost. May be repeated.
        """
        return self._make(self.fail_step(job, error, delay_ms=delay_ms, outcome=outcome))  # type: ignore[no-any-return]

    def fail_step(self, job: Claimed, error: JobError, *, delay_ms: int | None = None, outcome: str = "failed") -> Step:
        """Return the step of `fail`."""
        delay = self.policy.backoff.delay_ms(job.attempt) if delay_ms is None else delay_ms
        arguments = (job.id, job.lease_token, error.to_json(), delay, outcome, self.policy.max_crashes)
        return Step(Call("fail", _keys(job.queue), arguments), _read_state)

    def extend(self, jobs: Sequence[tuple[Claimed, bytes | None]]) -> list[Extended]:
        """Push the leases of jobs of one queue forward by `policy.lease_ms`, keeping progress (JSON) where given."""
        if not jobs:
            return []
        arguments: list[Argument] = [self.policy.lease_ms]
        for job, progress in jobs:
            arguments += (job.id, job.lease_token, progress or b"")
        reply = scripts.run(self._link, Call("extend", _keys(jobs[0][0].queue), arguments))
        return [Extended(held=code > 0, cancel_requested=code == 2) for code in reply]

    def release(self, job: Claimed) -> State:
        """Give a job back uncounted, at its old place; raises LeaseLost. May be repeated."""
        return self._make(self.release_step(job))  # type: ignore[no-any-return]

    def release_step(self, job: Claimed) -> Step:
        """Return the step of `release`."""
        return Step(Call("release", _keys(job.queue), (job.id, job.lease_token)), _read_state)

    # What keeps a queue in order; each is bounded and may run anywhere, any number of times at once

    def promote(self, queue: str, limit: int = 200) -> int:
        """Make due jobs ready; returns how many."""
        return int(scripts.run(self._link, Call("promote", _keys(queue), (limit,))))

    def expire(self, queue: str, limit: int = 100) -> int:
        """Expire waiting jobs whose time to live is over; returns how many deadlines were handled."""
        return int(scripts.run(self._link, Call("expire", _keys(queue), (limit,))))

    def reap(
        self,
        queue: str,
        limit: int = 100,
        *,
        from_ms: float = float("-inf"),
        to_ms: float | None = None,
        longest_ms: int = LONGEST_LEASE_MS,
    ) -> list[Reaped]:
        """Take back jobs whose lease ended from `from_ms` to `to_ms` (now) of the server's clock.

        A lease that has more than `longest_ms` left, which it got before the clock was put back, is cut to that.
        """
        last = "" if to_ms is None else to_ms
        arguments = (limit, self.policy.max_crashes, _LOST_LEASE, from_ms, last, longest_ms)
        reply = scripts.run(self._link, Call("reap", _keys(queue), arguments))
        return [Reaped(id=job.decode(), state=State(state.decode()), attempt=attempt) for job, state, attempt in reply]

    def lease_ends(self, queue: str, before_ms: float, limit: int = 1000) -> list[float]:
        """Return when leases end that end before `before_ms` of the server's clock, the first `limit`."""
        command = ("ZRANGEBYSCORE", _keys(queue).running, "-inf", f"({before_ms}", "WITHSCORES", "LIMIT", 0, limit)
        reply = self._ask(queue, *command)
        pairs = zip(reply[::2], reply[1::2], strict=True) if reply and isinstance(reply[0], bytes) else reply
        return [float(ends) for _job_id, ends in pairs]

    def prune(self, queue: str, limit: int = 100) -> int:
        """Delete finished jobs past their retention, `limit` of each state at most; returns how many."""
        keys = _keys(queue)
        pruned = 0
        for state, kept in self.policy.retention.items():
            arguments = (state.value, kept.keep_ms, kept.keep_count, limit)
            pruned += int(scripts.run(self._link, Call("prune", keys, arguments, source=_set_of(keys, state))))
        return pruned

    def beat(self, queue: str, worker: str, about: bytes, forget_ms: int) -> None:
        """Keep a worker's sign of life (JSON; empty to forget it), forgetting those silent for `forget_ms`."""
        scripts.run(self._link, Call("beat", _keys(queue), (worker, about, forget_ms)))

    def note_run(self, run: Run) -> None:
        """Note for each of its queues that a run has ended."""
        text = run.to_json()
        self.for_each(run.queues, lambda queue: scripts.run(self._link, Call("run", _keys(queue), (text, MAX_RUNS))))

    def wait_for_hint(self, queues: Sequence[str], timeout_seconds: float) -> bool:
        """Block until a job of one of the queues was enqueued or made ready, or the time is over; returns whether.

        Needs a dedicated broker whose socket timeout is longer. A hint carries no job: claim to get one.
        """
        return self._ask(queues[0], *_hint_command(queues, timeout_seconds)) is not None

    def make_after_hint(self, queue: str, timeout_seconds: float, step: Step) -> Any:
        """Block as `wait_for_hint` does, then make a step, all in one round trip; returns its value or a QueueingError.

        The server has both from the beginning, so between the hint and the step lies no way to here and back.
        """
        try:
            commands = [_hint_command([queue], timeout_seconds), step.call.command()]
            _hint, reply = self._link.execute_many(commands, [queue] * 2)
        except RedisError as error:
            raise scripts.translate(error) from error
        if isinstance(reply, NoScriptError):
            return self.exchange([step])[0]
        return scripts.translate(reply) if isinstance(reply, RedisError) else step.read(reply)

    # What people do to queues

    def pause(self, queue: str, *, reason: str = "", until: datetime | None = None) -> None:
        """Stop claims of the queue, until `until` (aware) if given; jobs are accepted, and what runs goes on."""
        until_ms = to_ms(until) if until else 0
        scripts.run(self._link, Call("pause", _keys(queue), (reason, until_ms)))

    def resume(self, queue: str) -> bool:
        """Let claims go on; returns whether the queue was paused."""
        return bool(scripts.run(self._link, Call("resume", _keys(queue))))

    def purge(self, queue: str, state: State = State.READY, *, limit: int | None = None) -> int:
        """Drop the jobs that are in `state` when this begins, the oldest first, `limit` at most; returns how many.

        Jobs submitted meanwhile are newer and stay, unless their priority is lower than that of others. Running jobs
        cannot be purged.
        """
        if state is State.RUNNING:
            raise ValueError("running jobs cannot be purged, only cancelled")
        keys = _keys(queue)
        source = _set_of(keys, state)
        only = state.value if source == keys.scheduled else ""
        left, dropped, kept = int(self._ask(queue, "ZCARD", source)), 0, 0
        while left > 0 and (limit is None or dropped < limit):
            looks = min(left, PURGE_LOOKS, PURGE_LOOKS if limit is None else limit - dropped)
            call = Call("purge", keys, (only, kept, looks), source=source)
            now_dropped, now_kept = scripts.run(self._link, call)
            dropped, kept = dropped + now_dropped, kept + now_kept
            if now_dropped + now_kept == 0:
                break
            left -= now_dropped + now_kept
        return dropped

    def configure(
        self,
        queue: str,
        *,
        fair_every: int | None = None,
        max_depth: int | None = None,
        overflow: str | None = None,
        max_attempts: int | None = None,
        timeout_ms: int | None = None,
        retention: Mapping[State, Retention] | None = None,
    ) -> None:
        """Set the limits that are given (`Limits` says what each means); raises InvalidLimit."""
        numbers = {
            "fair_every": fair_every,
            "max_depth": max_depth,
            "max_attempts": max_attempts,
            "timeout_ms": timeout_ms,
        }
        pairs = limits_to_meta(numbers, overflow, retention or {})
        if pairs:
            arguments = [part for pair in pairs.items() for part in pair]
            scripts.run(self._link, Call("configure", _keys(queue), arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """What an extend found: whether the lease is still held, and whether the job is to be cancelled."""

    held: bool
    cancel_requested: bool


def new_claim_nonce() -> str:
    """Make the random part of the lease tokens of one claim."""
    return os.urandom(4).hex()


_LOST_LEASE = JobError(
    type="LeaseExpired", message="The worker gave no sign of life until the lease ran out."
).to_json()


@functools.lru_cache(maxsize=1_000)
def _keys(queue: str) -> QueueKeys:
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is no queue name")
    return queue_keys(queue)


def _keys_of(job_id: str) -> QueueKeys:
    queue = queue_of(job_id)
    if queue is None:
        raise JobNotFound(job_id)
    return queue_keys(queue)


def _set_of(keys: QueueKeys, state: State) -> str:
    """Return the key of the set that holds the jobs of `state`."""
    key: str = getattr(keys, "scheduled" if state is State.RETRYING else state.value)
    return key


def _hint_command(queues: Sequence[str], timeout_seconds: float) -> Command:
    return ("BLPOP", *(_keys(queue).wake for queue in queues), max(timeout_seconds, 0.001))


def _enqueue_call(keys: QueueKeys, pairs: Sequence[_Pair], *, atomic: bool, are_named: bool) -> Call:
    arguments: list[Argument] = [DEFAULT_MAX_ATTEMPTS, int(atomic), int(are_named)]
    for job_id, job in pairs:
        options, record = _options_of(job), job.record()
        arguments += (job_id, len(options) // 2, len(record) // 2, *options, *record)
    return Call("enqueue", keys, arguments)


def _options_of(job: NewJob) -> list[Argument]:
    """Return what is not as usual of a job, in pairs of name and value."""
    options = _times_of(job)
    if job.priority:
        options += ("priority", job.priority)
    if job.max_attempts is not None:
        options += ("max_attempts", job.max_attempts)
    if job.unique_key is not None:
        options += ("unique", unique_digest(job.unique_key, job.owner))
    if job.submission is not None:
        digest, fingerprint = submission_digest(job.submission.key), job.submission.fingerprint
        options += ("submission", digest, "fingerprint", fingerprint, "idempotency_ms", IDEMPOTENCY_MS)
    return options


def _times_of(job: NewJob) -> list[Argument]:
    times: list[Argument] = []
    if job.run_at is not None:
        times += ("run_at_ms", job.run_at_ms)
    if job.delay_seconds:
        times += ("delay_ms", seconds_to_ms(job.delay_seconds))
    if job.ttl_seconds is not None:
        times += ("ttl_ms", seconds_to_ms(job.ttl_seconds))
    if job.timeout_ms is not None:
        times += ("timeout_ms", job.timeout_ms)
    return times


_STATES = {state.encode(): state for state in State}


def _read_enqueued(pairs: Sequence[_Pair], reply: bytes | list[Any]) -> list[Enqueued]:
    if isinstance(reply, bytes):
        now_ms, position, stamp = map(int, reply.split())
        return [_created(pairs[0], now_ms, stamp, position, (DEFAULT_MAX_ATTEMPTS, 0))]
    now, max_attempts, timeout_ms, position, jobs = reply
    now_ms, usual = int(now), (int(max_attempts), int(timeout_ms))
    return [
        _created(pair, now_ms, found, position, usual) if type(found) is int else _found(pair, found, usual)
        for pair, found in zip(pairs, jobs, strict=True)
    ]


def _created(pair: _Pair, now_ms: int, stamp: int, position: int, usual: tuple[int, int]) -> Enqueued:
    """Return what became of a job that is ready."""
    job_id, job = pair
    return Enqueued(
        id=job_id,
        outcome="created",
        state=State.READY,
        stamp=stamp,
        created_ms=now_ms,
        run_at_ms=now_ms,
        position=position or None,
        max_attempts=job.max_attempts or usual[0],
        timeout_seconds=(job.timeout_ms or usual[1]) / 1000 or None,
    )


def _found(pair: _Pair, found: list[Any], usual: tuple[int, int]) -> Enqueued:
    """Return what became of a job that is not ready, or that was not stored."""
    job, (job_id, outcome, state, stamp, created_ms, due_ms) = pair[1], found
    is_created = outcome == b"created"
    return Enqueued(
        id=job_id.decode(),
        outcome=outcome.decode(),
        state=_STATES[state] if state else None,
        stamp=int(stamp),
        created_ms=int(created_ms),
        run_at_ms=int(due_ms),
        position=None,
        max_attempts=(job.max_attempts or usual[0]) if is_created else 0,
        timeout_seconds=((job.timeout_ms or usual[1]) / 1000 or None) if is_created else None,
    )


def _read_state(reply: bytes) -> State:
    return State(reply.decode())


def _read_acks(reply: list[int]) -> list[bool]:
    return [held == 1 for held in reply]


def _read_claim(queue: str, reply: list[Any]) -> Claim:
    paused, stamp, due_in_ms = reply[:3]
    jobs = [_read_claimed(queue, reply[at : at + CLAIMED_VALUES]) for at in range(3, len(reply), CLAIMED_VALUES)]
    return Claim(
        jobs=tuple(jobs),
        stamp=int(stamp),
        due_in_ms=int(due_in_ms) if due_in_ms >= 0 else None,
        paused=paused == 1,
    )


def _read_claimed(queue: str, job: list[Any]) -> Claimed:
    job_id, token, attempt, crashes, kind, payload, crc, max_attempts, timeout_ms, created_ms, tags, *origin = job
    request_id, traceparent = origin  # both None as a rule
    return Claimed(
        id=job_id.decode(),
        queue=queue,
        kind=kind.decode(errors="replace"),
        payload=payload,
        payload_crc=int(crc),
        attempt=attempt,
        max_attempts=int(max_attempts),
        timeout_ms=int(timeout_ms) if timeout_ms else None,
        tags=tags_from_json(tags) if tags else (),
        created_ms=int(created_ms),
        lease_token=token.decode(),
        crashes=crashes,
        request_id=request_id.decode(errors="replace") if request_id else "",
        traceparent=traceparent.decode(errors="replace") if traceparent else "",
    )
