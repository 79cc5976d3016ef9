"""What the API reads and answers: each struct is the validation, the encoding and the OpenAPI schema in one.

Instants are RFC 3339 in UTC with milliseconds; durations are in seconds. JSON values of clients and handlers (payload,
result, progress) pass through as the bytes they came in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

import queueing
from queueing import KIND_PATTERN, Durability, Enqueued, State, Submission
from queueing.codec import CheckedJson
from queueing.jobs import (
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
from queueing.limits import DEFAULT_RETENTION, MAX_FAIR_EVERY, MAX_KEEP_COUNT, MAX_KEEP_MS, MAX_MAX_DEPTH

LIVE_WORKER = timedelta(seconds=30)  # since the last sign of life; workers give one every 5 s
MAX_BULK = 1_000
MAX_REQUEUE = 10_000

_TIMEOUT = "How long one attempt may run; null for the worker's own limit."
_FAIR = "Each n-th claim takes the oldest job; 0 for none."
_DEPTH = "How many jobs may wait; 0 for any number."
_OF_NEW_JOBS = {"items": {"$ref": "#/components/schemas/NewJob"}}

Kind = Annotated[str, Meta(pattern=KIND_PATTERN, description="Names the handler that runs the job.")]
Priority = Annotated[int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="Higher ones are served first.")]
Tag = Annotated[str, Meta(pattern=TAG_PATTERN)]
Tags = Annotated[list[Tag], Meta(max_length=MAX_TAGS, description="Words to find the job by.")]
RunAt = Annotated[
    datetime, Meta(tz=True, description="The moment the job may first run, with a zone; excludes `delay_seconds`.")
]
Moment = Annotated[datetime, Meta(tz=True, description="An instant with a zone (RFC 3339).")]
Overflow = Annotated[
    Literal["reject", "drop_oldest"],
    Meta(description="When as many wait as may: refuse a new job, or expire the oldest ready one."),
]
PurgeableState = Literal["ready", "scheduled", "retrying", "succeeded", "dead", "cancelled", "expired"]
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
    timeout_seconds: Annotated[float, Meta(ge=0.001, le=MAX_TIMEOUT_SECONDS, description=_TIMEOUT)] | None = None
    max_attempts: (
        Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS, description="The queue's own number when left out.")] | None
    ) = None
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

    def to_enqueue(self, origin: Origin, submission: Submission | None) -> queueing.NewJob:
        """Return the job for the broker, of a body that `bodies.check` has passed.

        Raises InvalidJob for what no field's own rule can tell.
        """
        return queueing.NewJob(
            kind=self.kind,
            payload=CheckedJson(self.payload),
            priority=self.priority,
            run_at=self.run_at,
            delay_seconds=self.delay_seconds,
            ttl_seconds=self.ttl_seconds,
            timeout_seconds=self.timeout_seconds,
            max_attempts=self.max_attempts,
            unique_key=self.unique_key,
            tags=tuple(self.tags),
            submission=submission,
            request_id=origin.request_id,
            traceparent=origin.traceparent,
            owner=origin.owner,
        )


class Origin(msgspec.Struct, frozen=True):
    """The request that jobs come with."""

    request_id: str
    traceparent: str
    owner: str


class BulkJobs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Jobs to submit in one call, in their order: the last one is served first."""

    jobs: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_BULK, extra_json_schema=_OF_NEW_JOBS)]
    atomic: Annotated[bool, Meta(description="Store all or none; they must then be of one queue.")] = False


class Purge(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs of a queue to drop."""

    state: Annotated[PurgeableState, Meta(description="Jobs in this state.")] = "ready"


class RequeueDead(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which dead jobs of a queue to make ready again; all filters that are given must be met."""

    kind: Kind | None = None
    tag: Tag | None = None
    finished_after: Moment | None = None
    finished_before: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_REQUEUE, description="How many jobs at most, the latest first.")] = 1000


class Keep(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long finished jobs are kept, and how many of them at most."""

    keep_seconds: Annotated[float, Meta(ge=0, le=MAX_KEEP_MS // 1000)]
    keep_count: Annotated[int, Meta(ge=0, le=MAX_KEEP_COUNT)]

    @classmethod
    def of(cls, kept: queueing.Retention) -> Self:
        """Return a retention as it is shown."""
        return cls(keep_seconds=kept.keep_ms / 1000, keep_count=kept.keep_count)

    def to_retention(self) -> queueing.Retention:
        """Return the retention for the broker."""
        return queueing.Retention(keep_ms=round(self.keep_seconds * 1000), keep_count=self.keep_count)


class KeepChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """New retentions of finished states; null is the default one, and what is left out stays."""

    succeeded: Keep | UnsetType | None = UNSET
    dead: Keep | UnsetType | None = UNSET
    cancelled: Keep | UnsetType | None = UNSET
    expired: Keep | UnsetType | None = UNSET

    def to_retention(self) -> dict[State, queueing.Retention]:
        """Return the retentions that change, for the broker."""
        given = {State(name): getattr(self, name) for name in self.__struct_fields__}
        return {
            state: kept.to_retention() if kept else DEFAULT_RETENTION[state]
            for state, kept in given.items()
            if kept is not UNSET
        }


class QueueChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """New limits of a queue, as a merge patch (RFC 7396): null is the default, and what is left out stays."""

    fair_every: Annotated[int, Meta(ge=0, le=MAX_FAIR_EVERY, description=_FAIR)] | UnsetType | None = UNSET
    max_depth: Annotated[int, Meta(ge=0, le=MAX_MAX_DEPTH, description=_DEPTH)] | UnsetType | None = UNSET
    overflow: Overflow | UnsetType | None = UNSET
    default_max_attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | UnsetType | None = UNSET
    default_timeout_seconds: (
        Annotated[float, Meta(ge=0.001, le=MAX_TIMEOUT_SECONDS, description=_TIMEOUT)] | UnsetType | None
    ) = UNSET
    retention: KeepChanges | UnsetType | None = UNSET

    def to_limits(self) -> dict[str, Any]:
        """Return the limits that change, for `Broker.configure`."""
        usual = queueing.Limits()
        changes = {
            "fair_every": _or_usual(self.fair_every, usual.fair_every),
            "max_depth": _or_usual(self.max_depth, usual.max_depth),
            "overflow": _or_usual(self.overflow, usual.overflow),
            "max_attempts": _or_usual(self.default_max_attempts, usual.max_attempts),
        }
        if self.default_timeout_seconds is not UNSET:
            changes["timeout_ms"] = seconds_to_ms(self.default_timeout_seconds or 0)
        if self.retention is not UNSET:
            changes["retention"] = self.retention.to_retention() if self.retention else DEFAULT_RETENTION
        return {name: value for name, value in changes.items() if value is not UNSET}


def _or_usual(value: Any, usual: Any) -> Any:
    return usual if value is None else value


class Pause(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, and until when, a queue is paused."""

    reason: Annotated[str, Meta(max_length=200, description="Shown to everyone who looks at the queue.")] = ""
    until: Annotated[datetime, Meta(tz=True, description="When claims go on by themselves, with a zone.")] | None = None


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes no arguments: none, or an empty object."""


class ErrorSummary(msgspec.Struct, kw_only=True):
    """Why an attempt did not succeed, in short."""

    type: str
    message: str


class JobError(ErrorSummary, kw_only=True):
    """Why an attempt did not succeed."""

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


class JobSummary(msgspec.Struct, kw_only=True):
    """A job as it is now, without what may be large: payload, result, and all but the last error's text."""

    id: str
    kind: Kind
    queue: str
    state: State
    priority: Priority
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
    progress: JsonValue
    request_id: Annotated[str, Meta(description="The request that submitted the job; empty when there was none.")]
    error: ErrorSummary | None

    @classmethod
    def of(cls, job: queueing.Job) -> Self:
        """Return a stored job as it is shown in a list."""
        error = job.error
        return cls(**_common(job), error=ErrorSummary(type=error.type, message=error.message) if error else None)


def _common(job: queueing.Job) -> dict[str, Any]:
    """Return what is shown of a job everywhere."""
    return {
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "state": job.state,
        "priority": job.priority,
        "tags": list(job.tags),
        "created_at": instant(job.created_at),
        "run_at": instant(job.run_at),
        "expires_at": maybe(job.expires_at),
        "started_at": maybe(job.started_at),
        "finished_at": maybe(job.finished_at),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "timeout_seconds": job.timeout_seconds,
        "cancel_requested": job.cancel_requested,
        "position": job.position,
        "progress": Raw(job.progress or b"null"),
        "request_id": job.request_id,
    }


class Job(JobSummary, kw_only=True):
    """A job as it is now."""

    error: JobError | None
    payload: JsonValue
    result: JsonValue
    attempts: list[Attempt]

    @classmethod
    def of(cls, job: queueing.Job) -> Self:
        """Return a stored job as it is shown."""
        return cls(
            **_common(job),
            error=JobError.of(job.error),
            payload=Raw(job.payload),
            result=Raw(job.result or b"null"),
            attempts=[Attempt.of(attempt) for attempt in job.attempts],
        )

    @classmethod
    def created(cls, queue: str, job: queueing.NewJob, enqueued: Enqueued) -> Self:
        """Return a job that was stored a moment ago as it is shown, without asking the database again."""
        expires_at = enqueued.created_at + _kept(job.ttl_seconds) if job.ttl_seconds is not None else None
        return cls(
            id=enqueued.id,
            kind=job.kind,
            queue=queue,
            state=enqueued.state or State.READY,
            priority=job.priority,
            tags=list(job.tags),
            created_at=instant(enqueued.created_at),
            run_at=instant(enqueued.run_at),
            expires_at=maybe(expires_at),
            started_at=None,
            finished_at=None,
            attempt=0,
            max_attempts=enqueued.max_attempts,
            timeout_seconds=enqueued.timeout_seconds,
            cancel_requested=False,
            position=enqueued.position,
            progress=Raw(b"null"),
            request_id=job.request_id,
            error=None,
            payload=Raw(job.payload),
            result=Raw(b"null"),
            attempts=[],
        )


class JobPage(msgspec.Struct, kw_only=True):
    """Jobs in order, and where the next page begins; a page may be short, or even empty, and have a next one."""

    items: list[JobSummary]
    next_cursor: str | None


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


class Kept(msgspec.Struct, kw_only=True):
    """How long finished jobs of each state are kept."""

    succeeded: Keep
    dead: Keep
    cancelled: Keep
    expired: Keep


class Queue(msgspec.Struct, kw_only=True):
    """A queue as it is now."""

    name: str
    counts: Counts
    oldest_ready_age_seconds: Seconds | None
    newest_ready_age_seconds: Seconds | None
    paused: bool
    paused_reason: str | None
    paused_until: Instant | None
    fair_every: Annotated[int, Meta(ge=0, description=_FAIR)]
    max_depth: Annotated[int, Meta(ge=0, description=_DEPTH)]
    overflow: Overflow
    default_max_attempts: Annotated[int, Meta(ge=1)]
    default_timeout_seconds: Annotated[Seconds, Meta(description=_TIMEOUT)] | None
    retention: Kept
    rates_per_minute: Rates
    totals: Totals
    workers: Annotated[int, Meta(ge=0, description="Workers that serve the queue and are alive.")]

    @classmethod
    def of(cls, stats: queueing.QueueStats) -> Self:
        """Return the figures of a queue as they are shown."""
        return cls(
            name=stats.queue,
            counts=Counts(**{state.value: count for state, count in stats.counts.items()}),
            oldest_ready_age_seconds=_rounded(stats.oldest_ready_age_seconds),
            newest_ready_age_seconds=_rounded(stats.newest_ready_age_seconds),
            paused=stats.paused,
            paused_reason=stats.paused_reason or None,
            paused_until=maybe(stats.paused_until),
            fair_every=stats.limits.fair_every,
            max_depth=stats.limits.max_depth,
            overflow=stats.limits.overflow,  # type: ignore[arg-type]
            default_max_attempts=stats.limits.max_attempts,
            default_timeout_seconds=stats.limits.timeout_ms / 1000 or None,
            retention=Kept(**{state.value: Keep.of(kept) for state, kept in stats.limits.retention.items()}),
            rates_per_minute=Rates(**{name: stats.last_minute.get(name, 0) for name in Rates.__struct_fields__}),
            totals=Totals(**{name: stats.counters.get(name, 0) for name in Totals.__struct_fields__}),
            workers=sum(is_live(worker, stats.at) for worker in stats.workers),
        )


class QueuePage(msgspec.Struct, kw_only=True):
    """Queues in the order the server names them."""

    items: list[Queue]
    next_cursor: str | None = None


class Purged(msgspec.Struct, kw_only=True):
    """What a purge did."""

    purged: Count
    more: Annotated[bool, Meta(description="Jobs are left: call again.")]


class Requeued(msgspec.Struct, kw_only=True):
    """What a requeue of dead jobs did."""

    requeued: Count
    more: Annotated[bool, Meta(description="Jobs that match may be left: call again.")]


class RunningJob(msgspec.Struct, kw_only=True):
    """A job in the hands of a worker."""

    job_id: str
    kind: str
    attempt: Annotated[int, Meta(ge=1)]


class Worker(msgspec.Struct, kw_only=True):
    """A worker that is alive, as it last said of itself."""

    id: str
    host: str
    pid: Count
    queues: Annotated[list[str], Meta(description="In the order in which it serves them.")]
    slots: Annotated[int, Meta(ge=0, description="How many jobs it runs at a time.")]
    running: Annotated[list[RunningJob], Meta(description="At most 100 of them.")]
    last_seen_at: Instant

    @classmethod
    def of(cls, worker: queueing.WorkerRecord) -> Self:
        """Return a worker as it is shown."""
        about = {"host": "", "pid": 0, "queues": [], "slots": 0, "running": [], **worker.about}
        told = {name: about[name] for name in ("host", "pid", "queues", "slots", "running")}
        return msgspec.convert({**told, "id": worker.id, "last_seen_at": instant(worker.seen_at)}, cls)


class WorkerPage(msgspec.Struct, kw_only=True):
    """Workers by host and process."""

    items: list[Worker]
    next_cursor: str | None = None


class Health(msgspec.Struct, kw_only=True):
    """The answer of a probe that passed."""

    status: Literal["ok"] = "ok"
    auth_mode: Annotated[
        Literal["none", "oauth2"] | UnsetType,
        Meta(description="Whether callers need a token; told to monitors and staff."),
    ] = UNSET


class FieldError(msgspec.Struct, kw_only=True):
    """What is wrong with one member of the body, or one parameter of the query."""

    pointer: Annotated[
        str | UnsetType, Meta(description="JSON pointer (RFC 6901) to the member; empty for the whole body.")
    ] = UNSET
    parameter: Annotated[str | UnsetType, Meta(description="The name of the parameter.")] = UNSET
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


class BulkResult(msgspec.Struct, kw_only=True):
    """What became of one job of a bulk: as if it had been submitted alone."""

    index: Count
    status: Annotated[int, Meta(ge=200, le=599, description="201 stored, 200 held by another, or why it was refused.")]
    id: str | UnsetType = UNSET
    state: State | UnsetType = UNSET
    replayed: Annotated[bool | UnsetType, Meta(description="Stored by an earlier call of the same key.")] = UNSET
    problem: Problem | UnsetType = UNSET


class BulkResults(msgspec.Struct, kw_only=True):
    """What became of each job of a bulk, in their order."""

    results: list[BulkResult]


#: All structs that requests and answers name.
DOCUMENTS: tuple[type[msgspec.Struct], ...] = (
    NewJob, BulkJobs, BulkResults, Job, JobPage, Pause, Nothing, Queue, QueuePage, QueueChanges, Purge, Purged,
    RequeueDead, Requeued, WorkerPage, Health, Problem,
)  # fmt: skip


def is_live(worker: queueing.WorkerRecord, now: datetime) -> bool:
    """Whether a worker gave a sign of life a short time ago."""
    return now - worker.seen_at <= LIVE_WORKER


def instant(moment: datetime) -> str:
    """Return an aware UTC datetime in RFC 3339."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def maybe(moment: datetime | None) -> str | None:
    """Return the instant, or None as it is."""
    return None if moment is None else instant(moment)


def _kept(seconds: float) -> timedelta:
    """Return a duration as it is stored, in whole milliseconds."""
    return timedelta(milliseconds=seconds_to_ms(seconds))
