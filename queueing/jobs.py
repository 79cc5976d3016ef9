"""Jobs as values: what is submitted, what is stored, what a worker holds."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import uuid_utils

from queueing.codec import check_payload, checksum, decode, encode
from queueing.errors import InvalidJob, PayloadCorrupt

QUEUE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
KIND_PATTERN = r"^[A-Za-z0-9_.-]{1,100}$"
TAG_PATTERN = r"^[A-Za-z0-9_.:/-]{1,64}$"
JOB_ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}_[0-9a-f]{32}$"

MIN_PRIORITY, MAX_PRIORITY = 0, 9
MAX_TAGS = 10
MAX_ATTEMPTS = 100
MAX_UNIQUE_KEY_LENGTH = 200
MAX_TIMEOUT_SECONDS = 86_400
MAX_TTL_SECONDS = 366 * 86_400
MAX_DELAY_SECONDS = 10 * 366 * 86_400
DEFAULT_MAX_ATTEMPTS = 5

TICKS_PER_MS = 100  # an order's tick is 10 us
TICKS_PER_PRIORITY = 2**49  # 178 years of ticks; 10 priorities stay exact in a double
EPOCH_MS = 1_767_225_600_000  # 2026-01-01 UTC, where ticks begin

_QUEUE = re.compile(QUEUE_PATTERN)
_KIND = re.compile(KIND_PATTERN)
_TAG = re.compile(TAG_PATTERN)
_JOB_ID = re.compile(JOB_ID_PATTERN)
_WHOLE = frozenset({"priority", "max_attempts"})
_RANGES = (
    ("priority", MIN_PRIORITY, MAX_PRIORITY),
    ("max_attempts", 1, MAX_ATTEMPTS),
    ("delay_seconds", 0, MAX_DELAY_SECONDS),
    ("ttl_seconds", 0.001, MAX_TTL_SECONDS),
    ("timeout_seconds", 0.001, MAX_TIMEOUT_SECONDS),
)
_USUAL = (0, None, None, None, None)  # priority, and the other numbers of `_RANGES`
_SURROGATE = re.compile("[\ud800-\udfff]")


class State(enum.StrEnum):
    """The eight states of a job; docs/job-lifecycle.md draws what leads where."""

    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_finished(self) -> bool:
        """Whether the job stays in this state until it is pruned (or, when dead, requeued)."""
        return self in FINISHED_STATES


FINISHED_STATES = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED})


def is_queue_name(name: str) -> bool:
    """Whether `name` may name a queue."""
    return _QUEUE.match(name) is not None and not name.endswith("\n")


def is_kind(kind: str) -> bool:
    """Whether `kind` may name a kind of job."""
    return _KIND.fullmatch(kind) is not None


def new_job_id(queue: str) -> str:
    """Make the id of a new job: it names its queue, and later ids sort after earlier ones."""
    return f"{queue}_{uuid_utils.uuid7().hex}"


def queue_of(job_id: str) -> str | None:
    """Return the queue an id names, None when the text is no job id."""
    if not _JOB_ID.fullmatch(job_id):
        return None
    return job_id.rpartition("_")[0]


def from_ms(ms: int) -> datetime:
    """Return the instant `ms` milliseconds after 1970 UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def to_ms(instant: datetime) -> int:
    """Return the milliseconds since 1970 UTC of an aware instant."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Submission:
    """What makes a repeated submission recognisable for 24 hours.

    `key` is the client's own, made unique over clients by the caller; `fingerprint` (no spaces) stands for what was
    submitted, so that the key used for something else is noticed.
    """

    key: str
    fingerprint: str


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be enqueued, checked when it is made; raises InvalidJob naming the field.

    `payload` is a JSON text as bytes, kept as it is; `NewJob.of` takes a value instead. `run_at` (aware) and
    `delay_seconds` exclude each other. `ttl_seconds` counts from submission; a job not started by then expires.
    While a live job of the queue holds `unique_key`, a second one is not stored. `timeout_seconds` and `max_attempts`
    are the queue's own when left out. `request_id` and `traceparent` (W3C Trace Context) tell where the job came from,
    `owner` whose it is: a unique key is of its owner, and jobs can be listed by owner.
    """

    kind: str
    payload: bytes = b"null"
    priority: int = 0
    run_at: datetime | None = None
    delay_seconds: float | None = None
    ttl_seconds: float | None = None
    timeout_seconds: float | None = None
    max_attempts: int | None = None
    unique_key: str | None = None
    tags: tuple[str, ...] = ()
    submission: Submission | None = None
    request_id: str = ""
    traceparent: str = ""
    owner: str = ""

    @classmethod
    def of(cls, kind: str, value: Any = None, **options: Any) -> NewJob:
        """Make a job whose payload is `value`, written as JSON."""
        return cls(kind=kind, payload=encode(value), **options)

    def __post_init__(self) -> None:
        if not is_kind(self.kind):
            raise InvalidJob("kind", f"must match {KIND_PATTERN}")
        check_payload(self.payload)
        if not self._is_usual():
            self._check_ranges()
        if self.run_at is not None:
            self._check_run_at(self.run_at)
        if self.unique_key is not None:
            _check_unique_key(self.unique_key)
        if self.tags:
            self._check_tags()

    def _is_usual(self) -> bool:
        """Whether all numbers are those of a job that names none, as most do."""
        numbers = (self.priority, self.max_attempts, self.delay_seconds, self.ttl_seconds, self.timeout_seconds)
        return type(self.priority) is int and numbers == _USUAL

    def _check_ranges(self) -> None:
        for name, low, high in _RANGES:
            if (value := getattr(self, name)) is not None:
                _check_range(name, value, low, high)

    def _check_run_at(self, run_at: datetime) -> None:
        if self.delay_seconds is not None:
            raise InvalidJob("delay_seconds", "cannot be given together with run_at")
        if run_at.tzinfo is None:
            raise InvalidJob("run_at", "needs a time zone, such as 2026-11-21T08:00:00Z")
        if to_ms(run_at) > to_ms(datetime.now(UTC)) + MAX_DELAY_SECONDS * 1000:
            raise InvalidJob("run_at", f"must lie at most {MAX_DELAY_SECONDS} seconds ahead")

    def _check_tags(self) -> None:
        if len(self.tags) > MAX_TAGS:
            raise InvalidJob("tags", f"must be at most {MAX_TAGS}")
        for tag in self.tags:
            if not _TAG.fullmatch(tag):
                raise InvalidJob("tags", f"each must match {TAG_PATTERN}")

    @property
    def run_at_ms(self) -> int:
        """When the job may first run, ms since 1970; 0 for at once."""
        return to_ms(self.run_at) if self.run_at is not None else 0

    @property
    def timeout_ms(self) -> int | None:
        """How long an attempt may take, in whole ms; None for as long as the queue says."""
        return None if self.timeout_seconds is None else seconds_to_ms(self.timeout_seconds)

    def record(self) -> list[str | int | bytes]:
        """Return the fields that are stored as given, in pairs of name and value (keys.py has the names)."""
        fields: list[str | int | bytes] = ["k", self.kind, "p", self.payload, "c", checksum(self.payload)]
        if self.owner:
            fields += ["ow", self.owner]
        if self.request_id:
            fields += ["ri", self.request_id]
        if self.traceparent:
            fields += ["tp", self.traceparent]
        if self.tags:
            fields += ["g", json.dumps(self.tags, separators=(",", ":"))]
        return fields


def seconds_to_ms(seconds: float) -> int:
    """Return whole milliseconds, at least 1 for anything above zero."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def _text(text: str) -> str:
    """Return text that every encoder can write: a handler's error may contain half a surrogate pair."""
    return text.encode(errors="replace").decode()


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if name in _WHOLE and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidJob(name, "must be a whole number")
    if not low <= value <= high:
        raise InvalidJob(name, f"must lie between {low} and {high}")


def _check_unique_key(key: str) -> None:
    if not 1 <= len(key) <= MAX_UNIQUE_KEY_LENGTH:
        raise InvalidJob("unique_key", f"must have 1 to {MAX_UNIQUE_KEY_LENGTH} characters")
    if _SURROGATE.search(key):
        raise InvalidJob("unique_key", "contains a lone surrogate")


class Enqueued(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job handed to the queue.

    `outcome` is `created`; `exists` when a job of this id was stored before (the call was sent twice); `unique` when
    a live job holds the unique key, or `replayed` when the same submission was made before: then `id` and `state` are
    that job's. With `mismatch` (the submission's key was used for something else) and `full` nothing was stored.
    `state` is None for these two, and for a replayed job that was deleted since. `stamp` is the tick at which the
    queue's clock put it, 0 unless created; `max_attempts` and `timeout_seconds` are those of a created job. `position`
    is 1 for the job that is claimed next, None unless ready.
    """

    id: str
    outcome: str
    state: State | None
    stamp: int
    created_ms: int
    run_at_ms: int
    position: int | None
    max_attempts: int = 0
    timeout_seconds: float | None = None

    @property
    def created_at(self) -> datetime:
        """When the job was submitted, UTC."""
        return from_ms(self.created_ms)

    @property
    def run_at(self) -> datetime:
        """When the job may first run, UTC."""
        return from_ms(self.run_at_ms)


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A running job in the hands of the worker that claimed it.

    `lease_token` must come with every ack, fail, extend and release. `fence` is the clock stamp of the claim:
    it rises with every claim of the queue, so what a handler writes to may refuse a lower one. `crashes` is how many
    of its attempts ended with the death of their process, whoever of those that shared it was to blame.
    A struct: a frozen dataclass takes five times as long to make.
    """

    id: str
    queue: str
    kind: str
    payload: bytes
    payload_crc: int
    attempt: int
    max_attempts: int
    timeout_ms: int | None
    tags: tuple[str, ...]
    created_ms: int
    lease_token: str
    crashes: int = 0
    request_id: str = ""
    traceparent: str = ""

    @property
    def created_at(self) -> datetime:
        """When the job was submitted, UTC."""
        return from_ms(self.created_ms)

    @property
    def fence(self) -> int:
        """The stamp of this claim, in ticks of the queue's clock."""
        return int(self.lease_token.partition("-")[0])

    def value(self) -> Any:
        """Return the payload's value; raises PayloadCorrupt when the bytes are not the submitted ones."""
        if checksum(self.payload) != self.payload_crc:
            raise PayloadCorrupt(self.id)
        return decode(self.payload)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim: the jobs, and how long an idle worker may wait for the next scheduled one.

    `stamp` is the queue's clock after the claim. `due_in_ms` is None when nothing is scheduled.
    """

    jobs: tuple[Claimed, ...]
    stamp: int
    due_in_ms: int | None
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt did not succeed."""

    type: str
    message: str
    traceback: str = ""

    MAX_MESSAGE_CHARS = 1_000
    MAX_TRACEBACK_CHARS = 4_000

    def to_json(self) -> bytes:
        """Return the error as it is stored, cut to its limits; a traceback keeps its end."""
        error = {"type": _text(self.type[:200]), "message": _text(self.message[: self.MAX_MESSAGE_CHARS])}
        if self.traceback:
            error["traceback"] = _text(self.traceback[-self.MAX_TRACEBACK_CHARS :])
        return json.dumps(error).encode()

    @classmethod
    def from_json(cls, text: bytes) -> JobError:
        """Read a stored error."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One claimed run of a job. `outcome` is running, succeeded, failed, lost, cancelled or dead."""

    number: int
    started_at: datetime
    finished_at: datetime | None
    worker: str
    outcome: str
    error: JobError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is stored, read at one instant."""

    id: str
    queue: str
    kind: str
    state: State
    priority: int
    payload: bytes
    tags: tuple[str, ...]
    created_at: datetime
    run_at: datetime
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    max_attempts: int
    timeout_seconds: float | None
    cancel_requested: bool
    position: int | None
    result: bytes | None
    progress: bytes | None
    request_id: str = ""
    traceparent: str = ""
    owner: str = ""
    attempts: tuple[Attempt, ...] = field(default=())

    @property
    def error(self) -> JobError | None:
        """The error of the last attempt that did not succeed, None once the job succeeded."""
        if self.state is State.SUCCEEDED:
            return None
        return next((attempt.error for attempt in reversed(self.attempts) if attempt.error), None)


def job_from_record(job_id: str, record: Mapping[bytes, bytes], *, due_ms: int = 0, position: int | None = None) -> Job:
    """Build a job from its record; `due_ms` is its score while it is scheduled or retrying."""
    read = record.get

    def instant(name: bytes) -> datetime | None:
        return from_ms(int(record[name])) if name in record else None

    created_at = from_ms(int(record[b"t"]))
    state = State(record[b"s"].decode())
    attempt = int(read(b"a", b"0"))
    timeout_ms = read(b"l")
    return Job(
        id=job_id,
        queue=job_id.rpartition("_")[0],
        kind=record[b"k"].decode(),
        state=state,
        priority=int(record[b"o"]) // TICKS_PER_PRIORITY,
        payload=read(b"p", b"null"),
        tags=tags_from_json(read(b"g")),
        created_at=created_at,
        run_at=from_ms(due_ms) if due_ms else instant(b"d") or created_at,
        expires_at=instant(b"x"),
        started_at=instant(b"st"),
        finished_at=instant(b"f"),
        attempt=attempt,
        max_attempts=int(record[b"m"]),
        timeout_seconds=int(timeout_ms) / 1000 if timeout_ms else None,
        cancel_requested=b"cx" in record,
        position=position,
        result=read(b"r"),
        progress=read(b"pg"),
        request_id=read(b"ri", b"").decode(),
        traceparent=read(b"tp", b"").decode(),
        owner=read(b"ow", b"").decode(),
        attempts=_attempts(record, state, attempt),
    )


def tags_from_json(text: bytes | None) -> tuple[str, ...]:
    """Read stored tags; none if they are damaged."""
    try:
        return tuple(json.loads(text)) if text else ()
    except (TypeError, ValueError):
        return ()


def _attempts(record: Mapping[bytes, bytes], state: State, attempt: int) -> tuple[Attempt, ...]:
    """Return the attempts a record tells of, oldest first: those kept as history, then the last one."""
    numbers = sorted(int(name[1:]) for name in record if name[:1] == b"h" and name[1:].isdigit())
    history = tuple(_past_attempt(number, record[b"h%d" % number]) for number in numbers)
    if state not in (State.RUNNING, State.SUCCEEDED) or b"st" not in record:
        return history
    last = Attempt(
        number=attempt,
        started_at=from_ms(int(record[b"st"])),
        finished_at=from_ms(int(record[b"f"])) if b"f" in record else None,
        worker=record.get(b"w", b"").decode(),
        outcome=state.value,
        error=None,
    )
    return (*history, last)


def _past_attempt(number: int, text: bytes) -> Attempt:
    started, finished, outcome, worker, error = text.split(b"|", 4)
    return Attempt(
        number=number,
        started_at=from_ms(int(started)),
        finished_at=from_ms(int(finished)),
        worker=worker.decode(),
        outcome=outcome.decode(),
        error=JobError.from_json(error) if error else None,
    )
