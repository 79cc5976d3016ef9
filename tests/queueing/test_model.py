"""The real server against the executable specification, driven by hypothesis; compared whole after each step.

A long run: `LIFO_STEPS=10000 pytest tests/queueing/test_model.py`.
"""

from __future__ import annotations

import dataclasses
import os
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from queueing import (
    Broker,
    Claimed,
    Inspector,
    JobError,
    JobNotFound,
    LeaseLost,
    NewJob,
    Policy,
    QueueingError,
    Retention,
    State,
    encode,
)
from queueing.inspector import COUNTERS
from queueing.jobs import EPOCH_MS, TICKS_PER_MS, TICKS_PER_PRIORITY, from_ms, new_job_id, to_ms
from queueing.keys import queue_keys, unique_digest
from tests.queueing.dump import dump
from tests.queueing.model import LIVE, WAITING, Model, ModelJob
from tests.queueing.timetravel import MINUTE_MS, let_pass

STEPS_PER_EXAMPLE = 50
EXAMPLES = int(os.environ.get("LIFO_STEPS", "6000")) // STEPS_PER_EXAMPLE
TIMEOUT_SECONDS = 60 + EXAMPLES
QUEUE = "model"
KEYS = queue_keys(QUEUE)
ERROR = JobError(type="ValueError", message="no | luck")
HOUR_MS = 60 * MINUTE_MS
POLICY = Policy(
    lease_ms=5 * MINUTE_MS,
    max_crashes=2,
    retention={
        State.SUCCEEDED: Retention(keep_ms=HOUR_MS, keep_count=4),
        State.DEAD: Retention(keep_ms=2 * HOUR_MS, keep_count=6),
        State.CANCELLED: Retention(keep_ms=HOUR_MS, keep_count=4),
        State.EXPIRED: Retention(keep_ms=HOUR_MS, keep_count=4),
    },
)
MINUTE_COUNTERS = ("submitted", "succeeded", "failed", "dead", "cancelled", "expired", "reaped")
SETS = {state: getattr(KEYS, state) for state in State if state is not State.RETRYING}
SETS[State.RETRYING] = KEYS.scheduled

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
    max_attempts=st.integers(1, 3),
    timeout_seconds=st.sampled_from([None, 1.5]),
    tags=st.sampled_from([(), ("x", "y:z")]),
)
picks = st.integers(0, 2**16)
tokens = st.sampled_from(["own", "own", "old", "old", "other", "garbage"])
delays = st.sampled_from([0, 7 * MINUTE_MS])
outcomes = st.sampled_from(["failed", "failed", "dead", "cancelled"])
texts = st.sampled_from([None, b"1", b'{"done":true}'])


def result_of(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the error it raises in a form that compares."""
    try:
        return call()
    except QueueingError as error:
        return type(error), str(error)


class QueueMachine(RuleBasedStateMachine):
    """Make each call on the server and in the model; `agree` compares all the server holds with the model."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.broker = Broker(client, POLICY)
        self.inspector = Inspector(client)
        self.model = Model(POLICY)
        self.passed_ms = 0
        self.slack_ms = 0
        self.leases: list[Claimed] = []
        self.tokens: set[str] = set()
        self.ids: list[str] = []
        self.generation: bytes | None = None

    # Time as the model knows it: the server's, plus what was made to pass

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.passed_ms

    def both(self, real: Callable[[], Any], spec: Callable[[int], Any]) -> Any:
        """Make a call and its counterpart; they must return or raise the same."""
        before = self.now()
        actual = result_of(real)
        now = self.now()
        expected = result_of(lambda: spec(now))
        assert actual == expected
        self.slack_ms = max(self.slack_ms, now - before + 1)
        return actual

    def ticks(self, stamp: int) -> int:
        return stamp + self.passed_ms * TICKS_PER_MS

    # What there is to do: rules apply only where they can have an effect, or few steps would have one

    def has_jobs(self) -> bool:
        return bool(self.ids)

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

    def is_paused(self) -> bool:
        return self.model.paused

    # Producers

    @initialize(batch=st.lists(new_jobs, min_size=3, max_size=6), every=st.sampled_from([0, 0, 2, 3]))
    def begin(self, batch: list[NewJob], every: int) -> None:
        self.configure(every)
        self._enqueue([(new_job_id(QUEUE), new) for new in batch])

    @rule(new=new_jobs)
    def enqueue(self, new: NewJob) -> None:
        self._enqueue([(new_job_id(QUEUE), new)])

    @rule(batch=st.lists(new_jobs, min_size=2, max_size=5), repeat=st.booleans())
    def enqueue_a_batch(self, batch: list[NewJob], repeat: bool) -> None:
        ids = [new_job_id(QUEUE) for _ in batch]
        if repeat:
            ids[-1] = ids[0]
        self._enqueue(list(zip(ids, batch, strict=True)))

    @precondition(has_jobs)
    @rule(new=new_jobs, pick=picks)
    def enqueue_an_id_again(self, new: NewJob, pick: int) -> None:
        self._enqueue([(self.ids[pick % len(self.ids)], new)])

    @rule(new=new_jobs, minutes=st.sampled_from([-10, 10]))
    def enqueue_with_run_at(self, new: NewJob, minutes: int) -> None:
        instant = from_ms(self.now() - self.passed_ms + minutes * MINUTE_MS)
        self._enqueue([(new_job_id(QUEUE), dataclasses.replace(new, delay_seconds=None, run_at=instant))])

    def _enqueue(self, pairs: list[tuple[str, NewJob]]) -> None:
        replies = []

        def real() -> list[tuple[str, str, State]]:
            ids, jobs = [job_id for job_id, _ in pairs], [new for _, new in pairs]
            replies.extend(self.broker.enqueue_many(QUEUE, jobs, job_ids=ids))
            return [(reply.id, reply.outcome, reply.state) for reply in replies]

        self.both(real, lambda now: self.model.enqueue(now, [self._on_model_time(pair) for pair in pairs]))
        for reply in replies:
            if reply.outcome == "created":
                self._put(reply)
                self.ids.append(reply.id)
        if len(replies) == 1 and replies[0].outcome == "created" and replies[0].state is State.READY:
            assert replies[0].position == self.model.service_order().index(replies[0].id) + 1

    def _on_model_time(self, pair: tuple[str, NewJob]) -> tuple[str, NewJob]:
        job_id, new = pair
        if new.run_at is None:
            return pair
        return job_id, dataclasses.replace(new, run_at=from_ms(to_ms(new.run_at) + self.passed_ms))

    def _put(self, reply: Any) -> None:
        if reply.state is State.SCHEDULED:
            assert reply.stamp == (to_ms(reply.run_at) - EPOCH_MS) * TICKS_PER_MS
        self.model.put(reply.id, self.ticks(reply.stamp))

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

    @rule(state=st.sampled_from(State), pick=picks)
    def requeue(self, state: State, pick: int) -> None:
        job_id = self._job_in(state, pick)
        self.both(lambda: self.broker.requeue(job_id), lambda _: self.model.requeue(job_id))

    def _job_in(self, state: State, pick: int) -> str:
        """Choose a job in this state, else any that ever was, else one that never was."""
        ids = [job.id for job in self.model.in_state(state)] or self.ids or [new_job_id(QUEUE)]
        return ids[pick % len(ids)]

    # Workers

    @rule(limit=st.sampled_from([0, 1, 1, 2, 3, 8]), worker=st.sampled_from(["w1", "w2"]))
    def claim(self, limit: int, worker: str) -> None:
        claims = []

        def real() -> list[tuple[str, int]]:
            claims.append(self.broker.claim(QUEUE, worker, limit))
            return [(job.id, job.attempt) for job in claims[0].jobs]

        self.both(real, lambda now: self.model.claim(now, limit, worker))
        for claimed in claims[0].jobs:
            self._lease(claimed)
        assert claims[0].paused == self.model.is_paused(self.now())
        assert self.ticks(claims[0].stamp) == self.model.clock or not self.model.clock
        self._check_due(claims[0].due_in_ms)

    def _lease(self, claimed: Claimed) -> None:
        assert claimed.lease_token not in self.tokens
        job = self.model.jobs[claimed.id]
        assert (claimed.payload, claimed.kind, claimed.tags) == (job.new.payload, job.new.kind, job.new.tags)
        assert encode(claimed.value()) == claimed.payload
        self.model.lease(claimed.id, claimed.lease_token, self.ticks(claimed.fence))
        self.tokens.add(claimed.lease_token)
        self.leases.append(claimed)

    def _check_due(self, due_in_ms: int | None) -> None:
        dues = [job.due for job in self.model.in_state(State.SCHEDULED, State.RETRYING) if job.due is not None]
        if not dues:
            assert due_in_ms is None
        else:
            assert due_in_ms is not None
            assert abs(due_in_ms - max(0, min(dues) - self.now())) <= self.slack_ms + 1_000

    @precondition(has_ready)
    @rule(limit=st.integers(1, 3), outcome=outcomes, delay_ms=delays)
    def claim_and_fail(self, limit: int, outcome: str, delay_ms: int) -> None:
        self.claim(limit, "w3")
        if self.has_running():
            self.fail(limit, "own", delay_ms, outcome)

    @precondition(has_ready)
    @rule(limit=st.integers(1, 3), cancel=st.booleans(), minutes=st.sampled_from([6, 12]))
    def claim_and_vanish(self, limit: int, cancel: bool, minutes: int) -> None:
        self.claim(limit, "w4")
        if cancel:
            self.cancel(State.RUNNING, limit)
        self.agree()
        self.let_time_pass(minutes)
        self.reap()

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

    def guarded(self, real: Callable[[], Any], spec: Callable[[int], Any]) -> None:
        """Make a call that carries tokens; when it was refused, all of it, the server must be as before."""
        before = dump(self.client)
        answer = self.both(real, spec)
        if is_refusal(answer):
            assert without_stale(dump(self.client)) == without_stale(before)

    def _attempt(self, pick: int, token: str) -> Claimed:
        """Return an attempt with the token that holds the job, an old one, another job's, or an invented one."""
        now_held = {job.token for job in self.model.in_state(State.RUNNING)}
        held = [lease for lease in self.leases if lease.lease_token in now_held]
        old = [lease for lease in self.leases if lease.lease_token not in now_held]
        pool = (old if token == "old" else held) or self.leases or [self._invented()]
        attempt = pool[pick % len(pool)]
        if token == "other":
            return dataclasses.replace(attempt, lease_token=self._attempt(pick + 1, "own").lease_token)
        return dataclasses.replace(attempt, lease_token="1-garbage") if token == "garbage" else attempt

    @staticmethod
    def _invented() -> Claimed:
        return Claimed(
            id=new_job_id(QUEUE), queue=QUEUE, kind="echo", payload=b"1", payload_crc=0, attempt=1, max_attempts=1,
            timeout_ms=None, tags=(), created_at=datetime.now(UTC), lease_token="2-invented",
        )  # fmt: skip

    # Maintenance and people

    @precondition(has_waiting)
    @rule()
    def promote(self) -> None:
        self.both(lambda: self.broker.promote(QUEUE), self.model.promote)

    @rule()
    def expire(self) -> None:
        self.both(lambda: self.broker.expire(QUEUE), self.model.expire)

    @precondition(has_running)
    @rule()
    def reap(self) -> None:
        self.both(
            lambda: [(reaped.id, reaped.state, reaped.attempt) for reaped in self.broker.reap(QUEUE)],
            self.model.reap,
        )

    @rule(limit=st.sampled_from([1, 100]))
    def prune(self, limit: int) -> None:
        self.both(lambda: self.broker.prune(QUEUE, limit), lambda now: self.model.prune(now, limit))

    @rule(state=st.sampled_from([state for state in State if state is not State.RUNNING]), chance=st.integers(0, 3))
    def purge(self, state: State, chance: int) -> None:
        if chance == 0:
            self.both(lambda: self.broker.purge(QUEUE, state), lambda _: self.model.purge(state))

    @rule(minutes=st.sampled_from([None, 10]))
    def pause(self, minutes: int | None) -> None:
        until = None if minutes is None else self.now() - self.passed_ms + minutes * MINUTE_MS
        self.both(
            lambda: self.broker.pause(QUEUE, reason="test", until=from_ms(until) if until else None),
            lambda _: self.model.pause(until and until + self.passed_ms),
        )

    @precondition(is_paused)
    @rule()
    def resume_what_is_paused(self) -> None:
        self.resume()

    @rule()
    def resume(self) -> None:
        self.both(lambda: self.broker.resume(QUEUE), lambda _: self.model.resume())

    @rule(every=st.sampled_from([0, 0, 2, 3]))
    def configure(self, every: int) -> None:
        self.broker.configure(QUEUE, fair_every=every)
        self.model.fair_every = every

    @rule(minutes=st.sampled_from([1, 6, 12, 45, 70]))
    def let_time_pass(self, minutes: int) -> None:
        let_pass(self.client, QUEUE, minutes * MINUTE_MS)
        self.passed_ms += minutes * MINUTE_MS

    # What must hold after each step

    @invariant()
    def agree(self) -> None:
        found = dump(self.client)
        now = self.now()
        self._check_sets(found)
        self._check_records(found)
        self._check_meta(found.get(KEYS.meta, {}))
        self._check_conservation()
        self._check_stats(now)
        assert found.keys() == self._documented_keys(found)
        assert len(found.get(KEYS.wake, [])) <= 16
        self.slack_ms = 0

    def _check_sets(self, found: dict[str, Any]) -> None:
        """Compare sets with states, members with scores, and take over the instants the server chose."""
        order = {job.id: self._order(job) for job in self.model.in_state(State.READY)}
        assert found.get(KEYS.ready, {}) == order
        served = sorted(order, key=lambda job_id: (order[job_id], job_id), reverse=True)
        assert served == self.model.service_order()
        waiting = self.model.in_state(State.SCHEDULED, State.RETRYING)
        self._check_instants(found.get(KEYS.scheduled, {}), waiting, "due")
        self._check_instants(found.get(KEYS.running, {}), self.model.in_state(State.RUNNING), "lease_until")
        late = [job for job in self.model.in_state(*WAITING) if job.expires is not None]
        self._check_instants(found.get(KEYS.deadlines, {}), late, "expires")
        for state in POLICY.retention:
            self._check_instants(found.get(SETS[state], {}), self.model.in_state(state), "finished")

    def _check_instants(self, scores: dict[str, int], jobs: list[ModelJob], name: str) -> None:
        assert scores.keys() == {job.id for job in jobs}
        for job in jobs:
            self._take_over(job, name, scores[job.id])

    def _take_over(self, job: ModelJob, name: str, real_ms: int | None) -> None:
        """Check that an instant is where the model has it, as far as the model can know, and take it over."""
        expected = getattr(job, name)
        if real_ms is None or expected is None:
            assert real_ms is expected is None, (name, real_ms, expected)
            return
        assert 0 <= expected - self.passed_ms - real_ms <= self.slack_ms, name
        setattr(job, name, real_ms + self.passed_ms)

    def _order(self, job: ModelJob) -> int:
        return job.new.priority * TICKS_PER_PRIORITY + job.place - self.passed_ms * TICKS_PER_MS

    def _check_records(self, found: dict[str, Any]) -> None:
        records = {key.removeprefix(KEYS.job_prefix): found[key] for key in found if key.startswith(KEYS.job_prefix)}
        assert records.keys() == self.model.jobs.keys()
        for job_id, record in records.items():
            self._check_record(self.model.jobs[job_id], dict(record))
        locks = {key.removeprefix(KEYS.unique_prefix): found[key] for key in found if KEYS.unique_prefix in key}
        live = [job for job in self.model.in_state(*LIVE) if job.holds is not None]
        assert locks == {unique_digest(job.holds): job.id.encode() for job in live}

    def _check_record(self, job: ModelJob, record: dict[str, bytes]) -> None:
        def instant(name: str) -> int | None:
            return int(record.pop(name)) if name in record else None

        self._take_over(job, "created", instant("t"))
        self._take_over(job, "first_due", instant("d"))
        self._take_over(job, "expires", instant("x"))
        self._take_over(job, "started", instant("st"))
        self._take_over(job, "finished", instant("f"))
        history = {int(name[1:]): record.pop(name) for name in list(record) if name[0] == "h"}
        assert {number: outcome_and_worker(text) for number, text in history.items()} == job.history
        counts = [int(record.pop(name, b"0")) for name in ("a", "b", "n")]
        assert counts == [job.attempt, job.attempts_at_requeue, job.crashes]
        assert record == self._fixed_fields(job)

    def _fixed_fields(self, job: ModelJob) -> dict[str, bytes]:
        """Return the fields of a record that are known exactly; the payload's bytes are the submitted ones."""
        fields = {
            "s": job.state,
            "k": job.new.kind,
            "p": job.new.payload,
            "c": zlib.crc32(job.new.payload),
            "o": self._order(job),
            "m": job.allowed,
            "l": 1500 if job.new.timeout_seconds else None,
            "g": b'["x","y:z"]' if job.new.tags else None,
            "u": unique_digest(job.holds) if job.holds else None,
            "tk": job.token,
            "w": job.worker,
            "pg": job.progress,
            "cx": 1 if job.cancel_requested else None,
            "r": job.result,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        return {name: value if isinstance(value, bytes) else str(value).encode() for name, value in known.items()}

    def _check_meta(self, meta: dict[str, bytes]) -> None:
        counters = {name: int(meta.get(name, 0)) for name in COUNTERS}
        assert counters == {name: self.model.counters[name] for name in COUNTERS}
        assert int(meta.get("retrying", 0)) == len(self.model.in_state(State.RETRYING))
        assert ("paused" in meta) == self.model.paused
        clock = int(meta.get("clock", 0))
        assert self.model.clock in (0, self.ticks(clock))
        if self.generation is not None:
            assert meta["generation"] == self.generation
        self.generation = meta.get("generation")

    def _check_conservation(self) -> None:
        counters = self.model.counters
        assert counters["submitted"] == len(self.model.jobs) + counters["pruned"] + counters["purged"]
        ended = sum(counters[name] for name in ("succeeded", "failed", "released", "reaped"))
        assert counters["claimed"] == ended + len(self.model.in_state(State.RUNNING))

    def _check_stats(self, now: int) -> None:
        stats = self.inspector.stats(QUEUE)
        assert stats.counts == {state: len(self.model.in_state(state)) for state in State}
        assert stats.paused == self.model.is_paused(now)
        places = [job.place for job in self.model.in_state(State.READY)]
        oldest = stats.oldest_ready_age_seconds
        if not places:
            assert oldest is stats.newest_ready_age_seconds is None
        else:
            assert abs(oldest - self._age(min(places), now)) < 1
            assert abs(stats.newest_ready_age_seconds - self._age(max(places), now)) < 1

    @staticmethod
    def _age(place: int, now: int) -> float:
        return max(0.0, (now - EPOCH_MS - place / TICKS_PER_MS) / 1000)

    def _documented_keys(self, found: dict[str, Any]) -> set[str]:
        """Return the keys that may be there, and are, by pattern; sets and records were compared one by one."""
        named = {*SETS.values(), KEYS.deadlines, KEYS.meta, KEYS.wake}
        prefixes = (KEYS.job_prefix, KEYS.unique_prefix, KEYS.minute_prefix)
        return {key for key in found if key in named or key.startswith(prefixes)}

    @invariant()
    def minutes_add_up(self) -> None:
        totals = dict.fromkeys(MINUTE_COUNTERS, 0)
        for key, counts in dump(self.client).items():
            if key.startswith(KEYS.minute_prefix):
                for name, text in counts.items():
                    totals[name] += int(text)
        assert totals == {name: self.model.counters[name] for name in MINUTE_COUNTERS}

    def teardown(self) -> None:
        """Work everything off: from any state, each job ends."""
        self.broker.resume(QUEUE)
        for _ in range(20):
            let_pass(self.client, QUEUE, HOUR_MS)
            self.broker.reap(QUEUE)
            for job in self.broker.claim(QUEUE, "last", 50).jobs:
                self.broker.ack(job)
        counts = self.inspector.stats(QUEUE).counts
        assert not any(counts[state] for state in LIVE)


def is_refusal(answer: Any) -> bool:
    """Tell whether an answer of ack, extend, fail or release says that no lease was held."""
    if isinstance(answer, list):
        return not any(reply is True or reply in ((True, False), (True, True)) for reply in answer)
    return isinstance(answer, tuple) and answer[0] is LeaseLost


def without_stale(state: dict[str, Any]) -> dict[str, Any]:
    meta = {name: value for name, value in state.get(KEYS.meta, {}).items() if name != "stale"}
    return {**state, KEYS.meta: meta}


def outcome_and_worker(text: bytes) -> tuple[str, str]:
    _, _, outcome, worker, _ = text.split(b"|", 4)
    return outcome.decode(), worker.decode()


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_the_server_does_what_the_model_says_step_by_step(valkey: Redis) -> None:
    run_state_machine_as_test(
        lambda: QueueMachine(valkey),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS_PER_EXAMPLE,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_model_knows_no_job_it_was_not_given() -> None:
    model = Model(POLICY)

    answer = result_of(lambda: model.cancel(0, "model_" + "0" * 32))

    assert answer[0] is JobNotFound
