"""The lines of an export: JSON, with names and units for people, whatever this release calls things in the database.

docs/backup.md explains each name. A line of a queue or a job is turned into what the database keeps and back without
loss; texts that are JSON themselves (payload, result, progress) are strings here, so that not a byte of them changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from queueing.codec import check_json, checksum
from queueing.jobs import (
    FINISHED_STATES,
    TICKS_PER_PRIORITY,
    JobError,
    NewJob,
    State,
    from_ms,
    is_queue_name,
    queue_of,
    to_ms,
)
from queueing.limits import Retention, limits_to_meta

FORMAT = 1
MAX_DEPTH = 500  # of results and progress, which handlers make
MAX_ATTEMPTS_KEPT = 20

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=10**16)]  # as scripts read numbers
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Token = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,16}-[^\s]+$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[^|]*$")]

_HISTORY = re.compile(rb"h([1-9][0-9]{0,8})")


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What lines have in common: what does not apply is left out, and unknown names are refused."""


class HeaderLine(_Line, frozen=True, kw_only=True, tag_field="type", tag="export"):
    """The first line."""

    format: int
    created_at: Instant
    server: str


class EndLine(_Line, frozen=True, kw_only=True, tag_field="type", tag="end"):
    """The last line: a file without it was cut short."""

    jobs: Count


class RetentionLine(_Line, frozen=True, kw_only=True):
    """How long, and how many, finished jobs of a state are kept."""

    keep_seconds: Annotated[float, msgspec.Meta(ge=0)]
    keep_count: Count


class LimitsLine(_Line, frozen=True, kw_only=True):
    """The limits a queue has of its own; it may have none."""

    fair_every: Count | None = None
    max_depth: Count | None = None
    overflow: str | None = None
    max_attempts: Count | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    retention: dict[State, RetentionLine] = {}


class PauseLine(_Line, frozen=True, kw_only=True):
    """That a queue is paused, why, and until when."""

    reason: str = ""
    until: Instant | None = None


class QueueLine(_Line, frozen=True, kw_only=True, tag_field="type", tag="queue"):
    """A queue; `clock` is in ticks of 10 us since 2026-01-01 UTC, all its places and fences lie before it."""

    name: str
    clock: Count
    limits: LimitsLine = LimitsLine()
    pause: PauseLine | None = None


class AttemptLine(_Line, frozen=True, kw_only=True):
    """One claimed run of a job that did not succeed."""

    number: Annotated[int, msgspec.Meta(ge=1, lt=10**9)]
    started_at: Instant
    finished_at: Instant
    outcome: Name
    worker: Name = ""
    error: JobError | None = None


class JobLine(_Line, frozen=True, kw_only=True, tag_field="type", tag="job"):
    """A job, in whatever state."""

    id: str
    kind: str
    state: State
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)]
    place: Annotated[int, msgspec.Meta(ge=0, lt=TICKS_PER_PRIORITY)]
    payload: str
    payload_crc32: Count
    created_at: Instant
    run_at: Instant | None = None
    due_at: Instant | None = None
    expires_at: Instant | None = None
    max_attempts: Count
    attempt: Count | None = None
    attempts_before_requeue: Count | None = None
    crashes: Count | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tags: list[str] | None = None
    unique_sha256: Digest | None = None
    owner: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    worker: Name | None = None
    lease_token: Token | None = None
    lease_expires_at: Instant | None = None
    started_at: Instant | None = None
    progress: str | None = None
    cancel_requested: bool | None = None
    finished_at: Instant | None = None
    result: str | None = None
    attempts: Annotated[list[AttemptLine], msgspec.Meta(max_length=MAX_ATTEMPTS_KEPT)] = []


AnyLine = HeaderLine | QueueLine | JobLine | EndLine

_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


def to_line(line: AnyLine) -> bytes:
    """Return a line with its end."""
    return msgspec.json.encode(line) + b"\n"


def from_line(text: bytes) -> AnyLine:
    """Read a line; raises ValueError."""
    return _decoder.decode(text)


# Jobs

_Way = tuple[Callable[[bytes], Any], Callable[[Any], str]]
_TEXT: _Way = (bytes.decode, str)
_NUMBER: _Way = (int, str)
_INSTANT: _Way = (lambda text: from_ms(int(text)), lambda instant: str(to_ms(instant)))
_SECONDS: _Way = (lambda text: int(text) / 1000, lambda seconds: str(round(seconds * 1000)))
_TAGS: _Way = (json.loads, lambda tags: json.dumps(tags, separators=(",", ":")))
_FLAG: _Way = (lambda text: text == b"1", lambda flag: "1" if flag else "0")

_FIELDS: Mapping[bytes, tuple[str, _Way]] = {  # of a record, see keys.py -> of a line
    b"k": ("kind", _TEXT),
    b"p": ("payload", _TEXT),
    b"c": ("payload_crc32", _NUMBER),
    b"t": ("created_at", _INSTANT),
    b"d": ("run_at", _INSTANT),
    b"x": ("expires_at", _INSTANT),
    b"m": ("max_attempts", _NUMBER),
    b"a": ("attempt", _NUMBER),
    b"b": ("attempts_before_requeue", _NUMBER),
    b"n": ("crashes", _NUMBER),
    b"l": ("timeout_seconds", _SECONDS),
    b"g": ("tags", _TAGS),
    b"u": ("unique_sha256", _TEXT),
    b"tk": ("lease_token", _TEXT),
    b"w": ("worker", _TEXT),
    b"st": ("started_at", _INSTANT),
    b"pg": ("progress", _TEXT),
    b"cx": ("cancel_requested", _FLAG),
    b"f": ("finished_at", _INSTANT),
    b"ri": ("request_id", _TEXT),
    b"tp": ("traceparent", _TEXT),
    b"ow": ("owner", _TEXT),
    b"r": ("result", _TEXT),
}
_OTHERS = frozenset((b"s", b"o"))


def job_line(job_id: str, record: Mapping[bytes, bytes], score: bytes) -> JobLine:
    """Return the line of a job; `score` is when it is due or its lease ends. Raises ValueError for a damaged record."""
    unknown = [name for name in record if name not in _FIELDS and name not in _OTHERS and not _HISTORY.fullmatch(name)]
    if unknown:
        raise ValueError(f"the record has an unknown field {unknown[0].decode(errors='replace')!r}")
    try:
        state, order = State(record[b"s"].decode()), int(record[b"o"])
        fields = {name: way[0](record[field]) for field, (name, way) in _FIELDS.items() if field in record}
        numbers = {name: int(found[1]) for name in record if (found := _HISTORY.fullmatch(name))}
        moment = from_ms(round(float(score))) if score else None
        line = JobLine(
            id=job_id,
            state=state,
            priority=order // TICKS_PER_PRIORITY,
            place=order % TICKS_PER_PRIORITY,
            due_at=moment if state in (State.SCHEDULED, State.RETRYING) else None,
            lease_expires_at=moment if state is State.RUNNING else None,
            attempts=[_attempt(numbers[name], record[name]) for name in sorted(numbers, key=numbers.__getitem__)],
            **fields,
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"the record lacks what it needs: {error}") from None
    job_arguments(line)
    from_line(to_line(line))  # what cannot be imported again is told of now
    return line


def _attempt(number: int, text: bytes) -> AttemptLine:
    started, finished, outcome, worker, error = text.split(b"|", 4)
    return AttemptLine(
        number=number,
        started_at=from_ms(int(started)),
        finished_at=from_ms(int(finished)),
        outcome=outcome.decode(),
        worker=worker.decode(),
        error=JobError.from_json(error) if error else None,
    )


def job_arguments(line: JobLine) -> list[str | int]:
    """Return what lua/import.lua takes for a job; raises ValueError, its text naming the field."""
    _check(line)
    fields: list[str | int] = ["s", line.state, "o", line.priority * TICKS_PER_PRIORITY + line.place]
    for field, (name, way) in _FIELDS.items():
        value = getattr(line, name)
        if value is not None:
            fields += [field.decode(), way[1](value)]
    for attempt in line.attempts:
        fields += [f"h{attempt.number}", _history(attempt)]
    expires = "" if line.expires_at is None else to_ms(line.expires_at)
    return [line.id, line.state, _score(line), expires, line.unique_sha256 or "", len(fields) // 2, *fields]


def _history(attempt: AttemptLine) -> str:
    error = attempt.error.to_json().decode() if attempt.error else ""
    return "|".join(
        (str(to_ms(attempt.started_at)), str(to_ms(attempt.finished_at)), attempt.outcome, attempt.worker, error)
    )


def _score(line: JobLine) -> int:
    """Return its score in the set of its state."""
    if line.state is State.READY:
        return line.priority * TICKS_PER_PRIORITY + line.place
    return to_ms(getattr(line, _SCORED_BY[line.state]))


_SCORED_BY = {
    State.SCHEDULED: "due_at",
    State.RETRYING: "due_at",
    State.RUNNING: "lease_expires_at",
    **dict.fromkeys(FINISHED_STATES, "finished_at"),
}


def _check(line: JobLine) -> None:
    """Raise ValueError for what msgspec could not see: a field that is needed, or does not hold what it should."""
    if queue_of(line.id) is None:
        raise ValueError("id: is no id of a job")
    needed = [_SCORED_BY[line.state]] if line.state is not State.READY else []
    needed += ["lease_token", "started_at"] if line.state is State.RUNNING else []
    for name in needed:
        if getattr(line, name) is None:
            raise ValueError(f"{name}: is missing, the job is {line.state}")
    NewJob(kind=line.kind, payload=line.payload.encode(), tags=tuple(line.tags or ()))
    if checksum(line.payload.encode()) != line.payload_crc32:
        raise ValueError("payload_crc32: is not that of the payload")
    for name in ("result", "progress"):
        text = getattr(line, name)
        if text is not None:
            _check_text(name, text)
    if len({attempt.number for attempt in line.attempts}) != len(line.attempts):
        raise ValueError("attempts: a number occurs twice")


def _check_text(name: str, text: str) -> None:
    try:
        check_json(text.encode(), MAX_DEPTH)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


# Queues


def queue_line(name: str, meta: Mapping[str, str]) -> QueueLine:
    """Return the line of a queue; raises ValueError when what it keeps is damaged."""
    numbers = {field: int(meta[field]) for field in ("fair_every", "max_depth", "max_attempts") if field in meta}
    limits = LimitsLine(
        **numbers,
        overflow=meta.get("overflow"),
        timeout_seconds=int(meta["timeout_ms"]) / 1000 if "timeout_ms" in meta else None,
        retention={
            state: RetentionLine(
                keep_seconds=int(meta[f"keep_{state}_ms"]) / 1000, keep_count=int(meta[f"keep_{state}_count"])
            )
            for state in sorted(FINISHED_STATES)
            if f"keep_{state}_ms" in meta and f"keep_{state}_count" in meta
        },
    )
    return QueueLine(name=name, clock=int(meta.get("clock", 0)), limits=limits, pause=_pause(meta))


def _pause(meta: Mapping[str, str]) -> PauseLine | None:
    if "paused" not in meta:
        return None
    until = from_ms(int(meta["paused_until"])) if "paused_until" in meta else None
    return PauseLine(reason=meta.get("paused_reason", ""), until=until)


def queue_settings(line: QueueLine) -> dict[str, str | int]:
    """Return limits and pause as a queue keeps them; raises ValueError (InvalidLimit)."""
    if not is_queue_name(line.name):
        raise ValueError(f"name: {line.name!r} is no name of a queue")
    limits = line.limits
    numbers = {
        "fair_every": limits.fair_every,
        "max_depth": limits.max_depth,
        "max_attempts": limits.max_attempts,
        "timeout_ms": None if limits.timeout_seconds is None else round(limits.timeout_seconds * 1000),
    }
    retention = {
        state: Retention(keep_ms=round(kept.keep_seconds * 1000), keep_count=kept.keep_count)
        for state, kept in limits.retention.items()
    }
    settings = limits_to_meta(numbers, limits.overflow, retention)
    if line.pause:
        settings |= {"paused": 1, "paused_reason": line.pause.reason}
        if line.pause.until:
            settings["paused_until"] = to_ms(line.pause.until)
    return settings
