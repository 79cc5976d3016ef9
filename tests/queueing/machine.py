"""What may happen to a queue, in any order: calls of producers, workers and people, time, damage, restarts."""

from __future__ import annotations

import dataclasses
import math
import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec import structs

from queueing import (
    Claimed,
    Enqueued,
    JobError,
    NewJob,
    PayloadCorrupt,
    Retention,
    State,
    Submission,
    encode,
    new_claim_nonce,
)
from queueing.broker import LONGEST_LEASE_MS
from queueing.jobs import EPOCH_MS, FINISHED_STATES, TICKS_PER_MS, from_ms, new_job_id, to_ms
from tests.queueing.dump import dump
from tests.queueing.model import LIVE, WAITING
from tests.queueing.timetravel import MINUTE_MS
from tests.queueing.world import KEYS, QUEUE, World

ERROR = JobError(type="ValueError", message="no | luck")
CROWD = 10  # jobs
CALM = 5  # steps
DAY_MINUTES = 24 * 60
SUBMISSIONS = [Submission(key, fingerprint) for key, fingerprint in (("k1", "f1"), ("k1", "f2"), ("k2", "f1"))]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text("abc"), values, max_size=3),
    max_leaves=4,
)
new_jobs = st.builds(
    NewJob,
    kind=st.sampled_from(["echo", "mail.send"]),
    payload=json_values.map(encode),
    priority=st.sampled_from([0, 0, 0, 5, 9]),
    delay_seconds=st.sampled_from([None, None, None, 600, 1800]),
    ttl_seconds=st.sampled_from([None, None, None, 900, 2400]),
    unique_key=st.sampled_from([None, None, None, "a", "b"]),
    max_attempts=st.sampled_from([None, 1, 2, 3]),
    timeout_seconds=st.sampled_from([None, 1.5]),
    request_id=st.sampled_from(["", "r1"]),
    tags=st.sampled_from([(), ("x", "y:z")]),
    submission=st.sampled_from([None, None, None, None, None, None, *SUBMISSIONS]),
)
picks = st.integers(0, 2**16)
tokens = st.sampled_from(["own", "own", "old", "old", "other", "garbage"])
delays = st.sampled_from([0, 7 * MINUTE_MS, 7 * MINUTE_MS])
outcomes = st.sampled_from(["failed", "failed", "crashed", "crashed", "dead", "cancelled"])
texts = st.sampled_from([None, b"1", b'{"done":true}'])
everies = st.sampled_from([0, 0, 2, 3])
minutes_to_pass = st.sampled_from([1, 6, 6, 12, 12, 45, 45, 70, 70, DAY_MINUTES])
minutes_ago = st.sampled_from([None, None, None, 3])
retentions = st.sampled_from([None, None, {State.SUCCEEDED: Retention(keep_ms=10 * MINUTE_MS, keep_count=2)}])
disturbances = st.sampled_from([None] * 10 + [signal.SIGTERM, signal.SIGKILL])


class QueueMachine(World):
    """What may happen; rules apply only where they can have an effect, or few steps would have one.

    Time passes in whole minutes, so that a precondition is the same however fast the machine is.
    """

    def has_jobs(self) -> bool:
        return bool(self.ids)

    def has_live(self) -> bool:
        return bool(self.model.in_state(*LIVE))

    def has_only_sound(self) -> bool:
        live = self.model.in_state(*LIVE)
        return bool(live) and all(job.payload == job.new.payload for job in live)

    def has_dead(self) -> bool:
        return bool(self.model.in_state(State.DEAD))

    def has_claimed(self) -> bool:
        return bool(self.leases)

    def has_running(self) -> bool:
        return bool(self.model.in_state(State.RUNNING))

    def has_ready(self) -> bool:
        return bool(self.model.in_state(State.READY)) and not self.model.paused

    def has_waiting(self) -> bool:
        return bool(self.model.in_state(State.SCHEDULED, State.RETRYING))

    def has_due(self) -> bool:
        now = self.clock.now()
        return any((job.due or 0) <= now for job in self.model.in_state(State.SCHEDULED, State.RETRYING))

    def has_late(self) -> bool:
        return any(job.is_late(self.clock.now()) for job in self.model.in_state(*WAITING))

    def has_finished(self) -> bool:
        return bool(self.model.in_state(*FINISHED_STATES))

    def is_crowded(self) -> bool:
        return len(self.model.jobs) > CROWD

    def was_calm(self) -> bool:
        return self.calm_steps > CALM

    def is_paused(self) -> bool:
        return self.model.paused

    def is_open(self) -> bool:
        return not self.model.paused

    # Producers

    @initialize(batch=st.lists(new_jobs, min_size=4, max_size=10), every=everies)
    def begin(self, batch: list[NewJob], every: int) -> None:
        self.configure(fair_every=every)
        self._enqueue([(new_job_id(QUEUE), new) for new in batch])

    @rule(new=new_jobs)
    def enqueue(self, new: NewJob) -> None:
        self._enqueue([(new_job_id(QUEUE), new)])

    @rule(batch=st.lists(new_jobs, min_size=2, max_size=5), repeat=st.booleans(), atomic=st.booleans())
    def enqueue_a_batch(self, batch: list[NewJob], repeat: bool, atomic: bool) -> None:
        ids = [new_job_id(QUEUE) for _ in batch]
        if repeat:
            ids[-1] = ids[0]
        self._enqueue(list(zip(ids, batch, strict=True)), atomic=atomic)

    @precondition(has_jobs)
    @rule(new=new_jobs, pick=picks)
    def enqueue_an_id_again(self, new: NewJob, pick: int) -> None:
        self._enqueue([(self.ids[pick % len(self.ids)], new)])

    @rule(new=new_jobs, minutes=st.sampled_from([-10, 10]))
    def enqueue_with_run_at(self, new: NewJob, minutes: int) -> None:
        instant = from_ms(self.clock.server_ms() + minutes * MINUTE_MS)
        self._enqueue([(new_job_id(QUEUE), structs.replace(new, delay_seconds=None, run_at=instant))])

    def _enqueue(self, pairs: list[tuple[str, NewJob]], *, atomic: bool = False) -> None:
        replies: list[Enqueued] = []

        def real() -> list[tuple[str, str, State | None]]:
            ids, jobs = [job_id for job_id, _ in pairs], [new for _, new in pairs]
            replies.extend(self.broker.enqueue_many(QUEUE, jobs, job_ids=ids, atomic=atomic))
            return [(reply.id, reply.outcome, reply.state) for reply in replies]

        on_model_time = [self._on_model_time(pair) for pair in pairs]
        self.both(real, lambda now: self.model.enqueue(now, on_model_time, atomic=atomic))
        is_refused = atomic and any(reply.outcome in ("full", "mismatch") for reply in replies)
        for reply in replies:
            if reply.outcome == "created" and not is_refused:
                self._put(reply)
            else:
                self.figures["not stored" if is_refused else reply.outcome] += 1
        if len(replies) == 1 and replies[0].outcome == "created" and replies[0].state is State.READY:
            assert replies[0].position == self.model.service_order().index(replies[0].id) + 1

    def _on_model_time(self, pair: tuple[str, NewJob]) -> tuple[str, NewJob]:
        job_id, new = pair
        if new.run_at is None:
            return pair
        return job_id, structs.replace(new, run_at=from_ms(to_ms(new.run_at) + self.clock.passed_ms))

    def _put(self, reply: Enqueued) -> None:
        job = self.model.jobs[reply.id]
        assert (reply.max_attempts, reply.timeout_seconds) == (job.allowed, job.timeout_ms / 1000 or None)
        if reply.state is State.SCHEDULED:
            assert reply.stamp == (to_ms(reply.run_at) - EPOCH_MS) * TICKS_PER_MS
        self.model.put(reply.id, self.clock.ticks(reply.stamp))
        self.ids.append(reply.id)

    @precondition(has_jobs)
    @rule(state=st.sampled_from(State), pick=picks)
    def cancel(self, state: State, pick: int) -> None:
        job_id = self._job_in(state, pick)
        self.both(lambda: self.broker.cancel(job_id), lambda now: self.model.cancel(now, job_id))

    @precondition(has_waiting)
    @rule(state=st.sampled_from([State.RETRYING, State.SCHEDULED]), pick=picks)
    def cancel_a_waiting_job(self, state: State, pick: int) -> None:
        self.cancel(state, pick)

    @precondition(has_dead)
    @rule(pick=picks)
    def requeue_a_dead_job(self, pick: int) -> None:
        self.requeue(State.DEAD, pick)

    @precondition(has_jobs)
    @rule(state=st.sampled_from(State), pick=picks)
    def requeue(self, state: State, pick: int) -> None:
        job_id = self._job_in(state, pick)
        self.both(lambda: self.broker.requeue(job_id), lambda _: self.model.requeue(job_id))

    def _job_in(self, state: State, pick: int) -> str:
        """Choose a job in this state, else any that ever was, else one that never was."""
        ids = [job.id for job in self.model.in_state(state)] or self.ids or [new_job_id(QUEUE)]
        return ids[pick % len(ids)]

    # Workers

    @precondition(has_live)
    @rule(limit=st.sampled_from([0, 1, 1, 2, 3, 8]), worker=st.sampled_from(["w1", "w2"]))
    def claim(self, limit: int, worker: str) -> None:
        self.nonces.append(new_claim_nonce())
        self._claim(limit, worker, self.nonces[-1])

    @precondition(has_claimed)
    @rule(limit=st.integers(1, 3), age=st.integers(0, 3))
    def claim_again_as_after_a_lost_reply(self, limit: int, age: int) -> None:
        self._claim(limit, "w1", self.nonces[-1 - age % len(self.nonces)], again=True)

    def _claim(self, limit: int, worker: str, nonce: str, *, again: bool = False) -> None:
        claims = []

        def real() -> tuple[bool, list[tuple[str, int]]]:
            step = self.broker.claim_step(QUEUE, worker, limit, nonce=nonce, again=again)
            claims.extend(self.broker.exchange([step]))
            return claims[0].paused, [(job.id, job.attempt) for job in claims[0].jobs]

        self.both(real, lambda now: self.model.claim(now, limit, worker, nonce, again=again))
        for claimed in claims[0].jobs:
            self._lease(claimed)
        assert self.clock.ticks(claims[0].stamp) == self.model.clock or not self.model.clock
        self._check_due(claims[0].due_in_ms)

    def _lease(self, claimed: Claimed) -> None:
        """Check what a worker was handed; one that is handed out again is as it was."""
        job = self.model.jobs[claimed.id]
        assert (claimed.payload, claimed.kind, claimed.tags) == (job.payload, job.new.kind, job.new.tags)
        assert (claimed.timeout_ms or 0, claimed.max_attempts) == (job.timeout_ms, job.allowed)
        assert (claimed.crashes, claimed.request_id) == (job.crashes, job.new.request_id)
        self._check_value(claimed, is_damaged=job.payload != job.new.payload)
        if claimed.lease_token == job.token:
            self.figures["given again"] += 1
            return
        self.model.lease(claimed.id, claimed.lease_token, self.clock.ticks(claimed.fence))
        self.leases.append(claimed)

    def _check_value(self, claimed: Claimed, *, is_damaged: bool) -> None:
        if is_damaged:
            self.figures["corrupt"] += 1
            with pytest.raises(PayloadCorrupt):
                claimed.value()
        else:
            assert encode(claimed.value()) == claimed.payload

    def _check_due(self, due_in_ms: int | None) -> None:
        dues = [job.due for job in self.model.in_state(State.SCHEDULED, State.RETRYING) if job.due is not None]
        if due_in_ms is None or not dues:
            assert due_in_ms is None
            assert dues == []
        else:
            assert 0 <= due_in_ms - max(0, min(dues) - self.called_ms) <= self.agreement.slack_ms

    @precondition(has_ready)
    @rule(limit=st.integers(1, 3), outcome=outcomes, delay_ms=delays)
    def claim_and_fail(self, limit: int, outcome: str, delay_ms: int) -> None:
        self.claim(limit, "w3")
        for _ in self.model.in_state(State.RUNNING)[:limit]:
            self.fail(limit, "own", delay_ms, outcome)

    @precondition(has_ready)
    @rule(limit=st.integers(1, 3), cancel=st.booleans(), minutes=st.sampled_from([6, 12]))
    def claim_and_vanish(self, limit: int, cancel: bool, minutes: int) -> None:
        self.claim(limit, "w4")
        if cancel:
            self.cancel(State.RUNNING, limit)
        self.agree()
        self.let_time_pass(minutes)
        self.reap(None, None, LONGEST_LEASE_MS)

    @precondition(has_claimed)
    @rule(choices=st.lists(st.tuples(picks, tokens, texts), min_size=1, max_size=3))
    def ack(self, choices: list[tuple[int, str, bytes | None]]) -> None:
        attempts = [(self._attempt(pick, token), result) for pick, token, result in choices]
        self.guarded(
            lambda: self.broker.exchange([self.broker.ack_step(QUEUE, attempts)])[0],
            lambda now: self.model.ack(now, [(job.id, job.lease_token, text) for job, text in attempts]),
        )

    @precondition(has_claimed)
    @rule(pick=picks, token=tokens, delay_ms=delays, outcome=outcomes)
    def fail(self, pick: int, token: str, delay_ms: int, outcome: str) -> None:
        job = self._attempt(pick, token)
        self.guarded(
            lambda: self.broker.fail(job, ERROR, delay_ms=delay_ms, outcome=outcome),
            lambda now: self.model.fail(now, job.id, job.lease_token, delay_ms, outcome),
        )

    @precondition(has_claimed)
    @rule(choices=st.lists(st.tuples(picks, tokens, texts), min_size=1, max_size=3))
    def extend(self, choices: list[tuple[int, str, bytes | None]]) -> None:
        attempts = [(self._attempt(pick, token), progress) for pick, token, progress in choices]
        self.guarded(
            lambda: [(reply.held, reply.cancel_requested) for reply in self.broker.extend(attempts)],
            lambda now: self.model.extend(now, [(job.id, job.lease_token, text) for job, text in attempts]),
        )

    @precondition(has_claimed)
    @rule(pick=picks, token=tokens)
    def release(self, pick: int, token: str) -> None:
        job = self._attempt(pick, token)
        self.guarded(lambda: self.broker.release(job), lambda now: self.model.release(now, job.id, job.lease_token))

    def _attempt(self, pick: int, token: str) -> Claimed:
        """Return an attempt with the token that holds the job, an old one, another job's, or an invented one."""
        now_held = {job.token for job in self.model.in_state(State.RUNNING)}
        held = [lease for lease in self.leases if lease.lease_token in now_held]
        old = [lease for lease in self.leases if lease.lease_token not in now_held]
        pool = (old if token == "old" else held) or self.leases or [self._invented()]
        attempt = pool[pick % len(pool)]
        if token == "other":
            return structs.replace(attempt, lease_token=self._attempt(pick + 1, "own").lease_token)
        return structs.replace(attempt, lease_token="1-garbage") if token == "garbage" else attempt

    @staticmethod
    def _invented() -> Claimed:
        return Claimed(
            id=new_job_id(QUEUE), queue=QUEUE, kind="echo", payload=b"1", payload_crc=0, attempt=1, max_attempts=1,
            timeout_ms=None, tags=(), created_ms=to_ms(datetime.now(UTC)), lease_token="2-invented",
        )  # fmt: skip

    # Maintenance and people

    @precondition(has_due)
    @rule()
    def promote(self) -> None:
        self.both(lambda: self.broker.promote(QUEUE), self.model.promote)

    @precondition(has_late)
    @rule()
    def expire(self) -> None:
        self.both(lambda: self.broker.expire(QUEUE), self.model.expire)

    @precondition(has_running)
    @rule(since=minutes_ago, until=minutes_ago, longest_ms=st.sampled_from([LONGEST_LEASE_MS, 2 * MINUTE_MS]))
    def reap(self, since: int | None, until: int | None, longest_ms: int) -> None:
        server_ms, passed_ms = self.clock.server_ms(), self.clock.passed_ms
        first = -math.inf if since is None else server_ms - since * MINUTE_MS
        last = None if until is None else server_ms - until * MINUTE_MS

        def real() -> list[tuple[str, State, int]]:
            taken = self.broker.reap(QUEUE, from_ms=first, to_ms=last, longest_ms=longest_ms)
            return [(reaped.id, reaped.state, reaped.attempt) for reaped in taken]

        def spec(now: int) -> list[tuple[str, State, int]]:
            return self.model.reap(now, first + passed_ms, now if last is None else last + passed_ms, longest_ms)

        self.both(real, spec)

    @precondition(has_finished)
    @rule(limit=st.sampled_from([1, 100]))
    def prune(self, limit: int) -> None:
        self.both(lambda: self.broker.prune(QUEUE, limit), lambda now: self.model.prune(now, limit))

    @precondition(is_crowded)
    @rule(state=st.sampled_from([state for state in State if state is not State.RUNNING]))
    def purge(self, state: State) -> None:
        self.both(lambda: self.broker.purge(QUEUE, state), lambda _: self.model.purge(state))

    @precondition(is_paused)
    @rule(minutes=st.sampled_from([None, 10]))
    def pause_what_is_paused(self, minutes: int | None) -> None:
        self.pause(minutes)

    @precondition(is_open)
    @rule(minutes=st.sampled_from([None, 10, 10]))
    def pause(self, minutes: int | None) -> None:
        until = None if minutes is None else self.clock.server_ms() + minutes * MINUTE_MS
        self.both(
            lambda: self.broker.pause(QUEUE, reason="test", until=from_ms(until) if until else None),
            lambda _: self.model.pause(until and until + self.clock.passed_ms),
        )

    @precondition(is_paused)
    @rule()
    def resume(self) -> None:
        self.both(lambda: self.broker.resume(QUEUE), lambda _: self.model.resume())

    @precondition(has_jobs)
    @rule(state=st.sampled_from(State), pick=picks)
    def delete(self, state: State, pick: int) -> None:
        job_id = self._job_in(state, pick)
        self.both(lambda: self.broker.delete(job_id), lambda _: self.model.delete(job_id))

    @rule(
        fair_every=everies,
        max_depth=st.sampled_from([0, 0, 3, 6]),
        overflow=st.sampled_from(["reject", "drop_oldest"]),
        max_attempts=st.sampled_from([None, 2, 4]),
        timeout_ms=st.sampled_from([None, 0, 2500]),
        retention=retentions,
    )
    def configure(self, **limits: Any) -> None:
        given = {name: limit for name, limit in limits.items() if limit is not None}
        self.broker.configure(QUEUE, **given)
        self.model.limits = dataclasses.replace(self.model.limits, **given)

    # What happens to the server

    @precondition(has_jobs)
    @rule(minutes=minutes_to_pass)
    def let_time_pass(self, minutes: int) -> None:
        self.clock.let_pass(minutes * MINUTE_MS)

    @precondition(has_only_sound)
    @rule(pick=picks)
    def damage_a_payload(self, pick: int) -> None:
        live = self.model.in_state(*LIVE)
        job = live[pick % len(live)]
        job.payload = bytes([job.payload[0] ^ 1]) + job.payload[1:]
        self.admin.hset(KEYS.job(job.id), "p", job.payload)

    @precondition(was_calm)
    @rule(how=disturbances)
    def disturb_the_server(self, how: signal.Signals | None) -> None:
        """Let it forget the scripts, or restart it on its journal: it holds what it held."""
        before, self.calm_steps = dump(self.admin), 0
        if how is None:
            self.figures["scripts flushed"] += 1
            self.admin.script_flush()
        else:
            self.figures["restarts"] += 1
            self.server.restart(how)
        assert dump(self.admin) == before
