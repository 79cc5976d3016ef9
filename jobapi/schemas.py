"""What the API reads and answers: each struct is the validation, the encoding and the OpenAPI schema in one.

Instants are RFC 3339 in UTC with milliseconds; durations are in seconds. JSON values of clients and handlers (payload,
result, progress) pass through as the bytes they came in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

import queueing
from queueing import KIND_PATTERN, Durability, Enqueued, State, Submission
from queueing.jobs import (
    DEFAULT_MAX_ATTEMPTS,
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_TAGS,
    MAX_TIMEOUT_SECONDS,
    MAX_TTL_SECONDS,
    MAX_UNIQUE_KEY_LENGTH,
    MIN_PRIORITY,
    TAG_PATTERN,
    seconds_to_ms,
)

LIVE_WORKER = timedelta(seconds=30)  # since the last sign of life; workers give one every 5 s

Kind = Annotated[str, Meta(pattern=KIND_PATTERN, description="Names the handler that runs the job.")]
Priority = Annotated[int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="Higher ones are served first.")]
Tag = Annotated[str, Meta(pattern=TAG_PATTERN)]
Tags = Annotated[list[Tag], Meta(max_length=MAX_TAGS, description="Words to find the job by.")]
RunAt = Annotated[
    datetime, Meta(tz=True, description="The moment the job may first run, with a zone; excludes `delay_seconds`.")
]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
JsonValue = Annotated[Raw, Meta(description="Any JSON value, as the bytes that came in.")]


def _null() -> Raw:
    return Raw(b"null")


class NewJob(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A job to submit."""

    kind: Kind
    payload: Annotated[
        Raw,
        Meta(
            description="Any JSON value, null when left out; at most 256 KiB and 32 levels, names unique in an object, "
            "numbers finite. Kept as the bytes that arrive."
        ),
    ] = msgspec.field(default_factory=_null)
    queue: Annotated[str | None, Meta(description="A known queue; the server's first one when left out.")] = None
    priority: Priority = MIN_PRIORITY
    run_at: RunAt | None = None
    delay_seconds: (
        Annotated[
            float, Meta(ge=0, le=MAX_DELAY_SECONDS, description="How long the job waits before it may first run.")
        ]
        | None
    ) = None
    ttl_seconds: (
        Annotated[
            float,
            Meta(
                ge=0.001,
                le=MAX_TTL_SECONDS,
                description="A job that has not started this long after it was submitted expires.",
            ),
        ]
        | None
    ) = None
    timeout_seconds: (
        Annotated[float, Meta(ge=0.001, le=MAX_TIMEOUT_SECONDS, description="How long one attempt may run.")] | None
    ) = None
    max_attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] = DEFAULT_MAX_ATTEMPTS
    unique_key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_UNIQUE_KEY_LENGTH,
                description="While a live job of the queue has this key, that job is answered and none is stored.",
            ),
        ]
        | None
    ) = None
    tags: Tags = []
    durability: Annotated[
        Durability,
        Meta(
            description="What the job must survive before it is answered: a killed database server (`accepted`), a "
            "power cut (`fsynced`), or the loss of the primary server (`replicated`)."
        ),
    ] = Durability.ACCEPTED

    def to_enqueue(self, submission: Submission | None) -> queueing.NewJob:
        """Return the job for the broker; raises InvalidJob for what no field's own rule can tell."""
        return queueing.NewJob(
            kind=self.kind,
            payload=bytes(self.payload),
            priority=self.priority,
            run_at=self.run_at,
            delay_seconds=self.delay_seconds,
            ttl_seconds=self.ttl_seconds,
            timeout_seconds=self.timeout_seconds,
            max_attempts=self.max_attempts,
            unique_key=self.unique_key,
            tags=tuple(self.tags),
            submission=submission,
        )


class Pause(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, and until when, a queue is paused."""

    reason: Annotated[str, Meta(max_length=200, description="Shown to everyone who looks at the queue.")] = ""
    until: Annotated[datetime, Meta(tz=True, description="When claims go on by themselves, with a zone.")] | None = None


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes no arguments: none, or an empty object."""


class JobError(msgspec.Struct, kw_only=True):
    """Why an attempt did not succeed."""

    type: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: queueing.JobError | None) -> Self | None:
        """Return the error as it is shown."""
        if error is None:
            return None
        return cls(type=error.type, message=error.message, traceback=error.traceback)


class Attempt(msgspec.Struct, kw_only=True):
    """One run of a job."""

    number: Annotated[int, Meta(ge=1)]
    started_at: Instant
    finished_at: Instant | None
    worker: str
    outcome: Literal["running", "succeeded", "failed", "lost", "cancelled", "dead"]
    error: JobError | None

    @classmethod
    def of(cls, attempt: queueing.Attempt) -> Self:
        """Return the attempt as it is shown."""
        return cls(
            number=attempt.number,
            started_at=instant(attempt.started_at),
            finished_at=maybe(attempt.finished_at),
            worker=attempt.worker,
            outcome=attempt.outcome,  # type: ignore[arg-type]
            error=JobError.of(attempt.error),
        )


class Job(msgspec.Struct, kw_only=True):
    """A job as it is now."""

    id: str
    kind: Kind
    queue: str
    state: State
    priority: Priority
    payload: JsonValue
    tags: Tags
    created_at: Instant
    run_at: Instant
    expires_at: Instant | None
    started_at: Instant | None
    finished_at: Instant | None
    attempt: Annotated[int, Meta(ge=0, description="Attempts so far.")]
    max_attempts: Annotated[int, Meta(ge=1)]
    timeout_seconds: Seconds | None
    cancel_requested: bool
    position: Annotated[int, Meta(ge=1, description="1 for the job that is served next; null unless ready.")] | None
    result: JsonValue
    error: JobError | None
    progress: JsonValue
    attempts: list[Attempt]

    @classmethod
    def of(cls, job: queueing.Job) -> Self:
        """Return a stored job as it is shown."""
        return cls(
            id=job.id,
            kind=job.kind,
            queue=job.queue,
            state=job.state,
            priority=job.priority,
            payload=Raw(job.payload),
            tags=list(job.tags),
            created_at=instant(job.created_at),
            run_at=instant(job.run_at),
            expires_at=maybe(job.expires_at),
            started_at=maybe(job.started_at),
            finished_at=maybe(job.finished_at),
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            timeout_seconds=job.timeout_seconds,
            cancel_requested=job.cancel_requested,
            position=job.position,
            result=Raw(job.result or b"null"),
            error=JobError.of(job.error),
            progress=Raw(job.progress or b"null"),
            attempts=[Attempt.of(attempt) for attempt in job.attempts],
        )

    @classmethod
    def created(cls, queue: str, job: queueing.NewJob, enqueued: Enqueued) -> Self:
        """Return a job that was stored a moment ago as it is shown, without asking the database again."""
        return cls.of(
            queueing.Job(
                id=enqueued.id,
                queue=queue,
                kind=job.kind,
                state=enqueued.state or State.READY,
                priority=job.priority,
                payload=job.payload,
                tags=job.tags,
                created_at=enqueued.created_at,
                run_at=enqueued.run_at,
                expires_at=enqueued.created_at + _kept(job.ttl_seconds) if job.ttl_seconds is not None else None,
                started_at=None,
                finished_at=None,
                attempt=0,
                max_attempts=enqueued.max_attempts,
                timeout_seconds=enqueued.timeout_seconds,
                cancel_requested=False,
                position=enqueued.position,
                result=None,
                progress=None,
            )
        )


class Counts(msgspec.Struct, kw_only=True):
    """How many jobs are in each state."""

    scheduled: Count
    ready: Count
    running: Count
    retrying: Count
    succeeded: Count
    dead: Count
    cancelled: Count
    expired: Count


class Rates(msgspec.Struct, kw_only=True):
    """What happened in the last full minute."""

    submitted: Count
    succeeded: Count
    failed: Count


class Totals(msgspec.Struct, kw_only=True):
    """What happened since the queue was created; `failed` counts attempts."""

    submitted: Count
    claimed: Count
    succeeded: Count
    failed: Count
    retried: Count
    dead: Count
    cancelled: Count
    expired: Count
    released: Count
    reaped: Count
    requeued: Count
    purged: Count
    pruned: Count
    deleted: Count
    stale: Count


class Queue(msgspec.Struct, kw_only=True):
    """A queue as it is now."""

    name: str
    counts: Counts
    oldest_ready_age_seconds: Seconds | None
    newest_ready_age_seconds: Seconds | None
    paused: bool
    paused_reason: str | None
    paused_until: Instant | None
    fair_every: Annotated[int, Meta(ge=0, description="Each n-th claim takes the oldest job; 0 for none.")]
    max_depth: Annotated[int, Meta(ge=0, description="How many jobs may wait; 0 for any number.")]
    overflow: Literal["reject", "drop_oldest"]
    rates_per_minute: Rates
    totals: Totals
    workers: Annotated[int, Meta(ge=0, description="Workers that serve the queue and are alive.")]

    @classmethod
    def of(cls, stats: queueing.QueueStats) -> Self:
        """Return the figures of a queue as they are shown."""
        return cls(
            name=stats.queue,
            counts=Counts(**{state.value: count for state, count in stats.counts.items()}),
            oldest_ready_age_seconds=stats.oldest_ready_age_seconds,
            newest_ready_age_seconds=stats.newest_ready_age_seconds,
            paused=stats.paused,
            paused_reason=stats.paused_reason or None,
            paused_until=maybe(stats.paused_until),
            fair_every=stats.limits.fair_every,
            max_depth=stats.limits.max_depth,
            overflow=stats.limits.overflow,  # type: ignore[arg-type]
            rates_per_minute=Rates(**{name: stats.last_minute.get(name, 0) for name in Rates.__struct_fields__}),
            totals=Totals(**{name: stats.counters.get(name, 0) for name in Totals.__struct_fields__}),
            workers=sum(stats.at - worker.seen_at <= LIVE_WORKER for worker in stats.workers),
        )


class QueuePage(msgspec.Struct, kw_only=True):
    """Queues in the order the server names them."""

    items: list[Queue]
    next_cursor: str | None = None


class Health(msgspec.Struct, kw_only=True):
    """The answer of a probe that passed."""

    status: Literal["ok"] = "ok"


class FieldError(msgspec.Struct, kw_only=True):
    """What is wrong with one member of the request."""

    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901) to the member; empty for the whole body.")]
    detail: str


class Problem(msgspec.Struct, kw_only=True):
    """Why a request was not served (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(description="A stable word to branch on.")]
    request_id: str
    errors: list[FieldError] | UnsetType = UNSET
    state: Annotated[State | UnsetType, Meta(description="With `wrong_state`: the state the job is in.")] = UNSET
    job_id: Annotated[str | UnsetType, Meta(description="With `durability_not_met`: the job that is stored.")] = UNSET


#: All structs that requests and answers name.
DOCUMENTS: tuple[type[msgspec.Struct], ...] = (NewJob, Pause, Nothing, Job, Queue, QueuePage, Health, Problem)



def instant(moment: datetime) -> str:
    """Return an aware UTC datetime in RFC 3339."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe(moment: datetime | None) -> str | None:
    """Return the instant, or None as it is."""
    return None if moment is None else instant(moment)


def _kept(seconds: float) -> timedelta:
    """Return a duration as it is stored, in whole milliseconds."""
    return timedelta(milliseconds=seconds_to_ms(seconds))
