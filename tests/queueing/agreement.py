"""Whether all that a server holds for a queue is what the model says, invariant by invariant.

Nothing is lost or there twice, counters add up, leases are held by whom they should be, no key is there without reason,
unique keys and submissions are remembered as long as they must be, payloads are the same byte by byte.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from typing import Any

import pytest

from queueing import QueueStats, State
from queueing.figures import WAIT_BUCKETS
from queueing.inspector import COUNTERS
from queueing.jobs import EPOCH_MS, TICKS_PER_MS, TICKS_PER_PRIORITY, to_ms
from queueing.keys import QueueKeys, submission_digest, unique_digest
from tests.queueing.model import LIVE, WAITING, Model, ModelJob
from tests.queueing.timetravel import Clock

MINUTE_COUNTERS = ("submitted", "succeeded", "failed", "dead", "cancelled", "expired", "reaped")
INSTANTS = {"t": "created", "d": "first_due", "x": "expires", "st": "started", "f": "finished"}  # field -> of ModelJob
MAX_HINTS = 16


class Agreement:
    """Compares dumps of the queue with `model`, and takes over the instants that only the server could choose.

    `slack_ms` is how long the calls since the last comparison took: the two may differ by as much.
    """

    def __init__(self, keys: QueueKeys, model: Model, clock: Clock) -> None:
        self.slack_ms = 0
        self._keys = keys
        self._model = model
        self._clock = clock
        self._generation: bytes | None = None
        self._sets: dict[State, str] = {state: getattr(keys, state) for state in State if state is not State.RETRYING}

    def check(self, found: dict[str, Any], stats: QueueStats) -> None:
        """Assert that a dump, and the figures read just after it, are what the model says."""
        self._check_sets(found)
        self._check_records(found)
        self._check_strings(found)
        self._check_meta(found.get(self._keys.meta, {}))
        self._check_minutes(found, found.get(self._keys.meta, {}))
        self._check_conservation()
        self._check_stats(stats)
        assert found.keys() == self._documented(found)
        assert len(found.get(self._keys.wake, [])) <= MAX_HINTS
        self.slack_ms = 0

    # Sets against states, members against scores

    def _check_sets(self, found: dict[str, Any]) -> None:
        order = {job.id: self._order(job) for job in self._model.in_state(State.READY)}
        assert found.get(self._keys.ready, {}) == order
        served = sorted(order, key=lambda job_id: (order[job_id], job_id), reverse=True)
        assert served == self._model.service_order()
        waiting = self._model.in_state(State.SCHEDULED, State.RETRYING)
        self._check_instants(found.get(self._keys.scheduled, {}), waiting, "due")
        self._check_instants(found.get(self._keys.running, {}), self._model.in_state(State.RUNNING), "lease_until")
        mortal = [job for job in self._model.in_state(*WAITING) if job.expires is not None]
        self._check_instants(found.get(self._keys.deadlines, {}), mortal, "expires")
        for state in self._model.policy.retention:
            self._check_instants(found.get(self._sets[state], {}), self._model.in_state(state), "finished")

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
        assert 0 <= expected - self._clock.passed_ms - real_ms <= self.slack_ms, name
        setattr(job, name, real_ms + self._clock.passed_ms)

    def _order(self, job: ModelJob) -> int:
        return job.new.priority * TICKS_PER_PRIORITY + job.place - self._clock.passed_ms * TICKS_PER_MS

    # Records, and what points to them

    def _check_records(self, found: dict[str, Any]) -> None:
        records = suffixed(found, self._keys.job_prefix)
        assert records.keys() == self._model.jobs.keys()
        for job_id, record in records.items():
            self._check_record(self._model.jobs[job_id], dict(record))

    def _check_record(self, job: ModelJob, record: dict[str, bytes]) -> None:
        for field, name in INSTANTS.items():
            self._take_over(job, name, int(record.pop(field)) if field in record else None)
        history = {int(name[1:]): record.pop(name) for name in list(record) if name[0] == "h"}
        assert {number: outcome_and_worker(text) for number, text in history.items()} == job.history
        counts = [int(record.pop(name, b"0")) for name in ("a", "b", "n")]
        assert counts == [job.attempt, job.attempts_at_requeue, job.crashes]
        assert job.attempt <= job.allowed
        assert job.crashes <= self._model.policy.max_crashes
        assert record == self._fixed_fields(job)

    def _fixed_fields(self, job: ModelJob) -> dict[str, bytes]:
        """Return the fields of a record that are known exactly; the payload's bytes are the submitted ones."""
        fields = {
            "s": job.state,
            "k": job.new.kind,
            "p": job.payload,
            "c": zlib.crc32(job.new.payload),
            "o": self._order(job),
            "m": job.allowed,
            "l": job.timeout_ms or None,
            "g": b'["x","y:z"]' if job.new.tags else None,
            "ri": job.new.request_id or None,
            "u": unique_digest(job.holds) if job.holds else None,
            "tk": job.token,
            "w": job.worker,
            "pg": job.progress,
            "cx": 1 if job.cancel_requested else None,
            "r": job.result,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        return {name: value if isinstance(value, bytes) else str(value).encode() for name, value in known.items()}

    def _check_strings(self, found: dict[str, Any]) -> None:
        """Check who holds the unique keys, and what is remembered of submissions."""
        holders = [job for job in self._model.in_state(*LIVE) if job.holds is not None]
        locks = {unique_digest(job.holds or ""): job.id.encode() for job in holders}
        assert suffixed(found, self._keys.unique_prefix) == locks
        submissions = self._model.submissions(self._clock.now()).items()
        made = {submission_digest(key): f"{made.fingerprint} {made.id}".encode() for key, made in submissions}
        assert suffixed(found, self._keys.idempotency_prefix) == made

    # Counters

    def _check_meta(self, meta: dict[str, bytes]) -> None:
        counters = {name: int(meta.get(name, 0)) for name in COUNTERS}
        assert counters == {name: self._model.counters[name] for name in COUNTERS}
        assert int(meta.get("retrying", 0)) == len(self._model.in_state(State.RETRYING))
        assert ("paused" in meta) == self._model.paused
        clock = int(meta.get("clock", 0))
        assert self._model.clock in (0, self._clock.ticks(clock))
        if self._generation is not None:
            assert meta["generation"] == self._generation
        self._generation = meta.get("generation")

    def _check_minutes(self, found: dict[str, Any], meta: dict[str, bytes]) -> None:
        totals: Counter[str] = Counter()
        minutes = suffixed(found, self._keys.minute_prefix)
        began = minutes.pop("start", {})
        for counts in minutes.values():
            totals.update({name: int(text) for name, text in counts.items()})
        totals.update({name: int(meta.get(name, 0)) - int(text) for name, text in began.items() if name != "minute"})
        assert {name: totals[name] for name in MINUTE_COUNTERS} == {
            name: self._model.counters[name] for name in MINUTE_COUNTERS
        }
        assert set(totals) <= {*MINUTE_COUNTERS, *WAIT_BUCKETS}
        assert sum(totals[bucket] for bucket in WAIT_BUCKETS) == self._model.counters["started"]

    def _check_conservation(self) -> None:
        counters = self._model.counters
        gone = sum(counters[name] for name in ("pruned", "purged", "deleted"))
        assert counters["submitted"] == len(self._model.jobs) + gone
        ended = sum(counters[name] for name in ("succeeded", "failed", "stopped", "released", "reaped"))
        assert counters["claimed"] == ended + len(self._model.in_state(State.RUNNING))

    def _check_stats(self, stats: QueueStats) -> None:
        now = to_ms(stats.at) + self._clock.passed_ms
        assert stats.counts == {state: len(self._model.in_state(state)) for state in State}
        assert stats.paused == self._model.is_paused(now)
        assert self._paused_until(stats) == (self._model.paused_until if stats.paused else None)
        assert dataclasses.replace(stats.limits, retention={}) == dataclasses.replace(self._model.limits, retention={})
        counters = self._model.counters
        assert stats.waits.count == counters["started"]
        assert stats.runs.count == sum(counters[name] for name in ("succeeded", "failed", "stopped"))
        places = [job.place for job in self._model.in_state(State.READY)]
        oldest, newest = stats.oldest_ready_age_seconds, stats.newest_ready_age_seconds
        if oldest is None or newest is None:
            assert places == []
        else:
            assert oldest == pytest.approx(age_seconds(min(places), now), abs=0.001)
            assert newest == pytest.approx(age_seconds(max(places), now), abs=0.001)

    def _paused_until(self, stats: QueueStats) -> int | None:
        return to_ms(stats.paused_until) + self._clock.passed_ms if stats.paused_until else None

    def _documented(self, found: dict[str, Any]) -> set[str]:
        """Return the keys that may be there, and are, by pattern; sets and records were compared one by one."""
        keys = self._keys
        named = {*self._sets.values(), keys.deadlines, keys.meta, keys.wake}
        prefixes = (keys.job_prefix, keys.unique_prefix, keys.idempotency_prefix, keys.minute_prefix)
        return {key for key in found if key in named or key.startswith(prefixes)}


def suffixed(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return what a dump has under the keys that begin with `prefix`, by what follows it."""
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


def outcome_and_worker(text: bytes) -> tuple[str, str]:
    """Return what a stored attempt ended with and who ran it."""
    _, _, outcome, worker, _ = text.split(b"|", 4)
    return outcome.decode(), worker.decode()


def age_seconds(place: int, now: int) -> float:
    """Return how long ago a place of the queue's clock was."""
    return max(0.0, (now - EPOCH_MS - place / TICKS_PER_MS) / 1000)
