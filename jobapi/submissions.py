"""How jobs come in: one by one or many at once, each safe to send again."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import msgspec
from django.http import HttpRequest

from jobapi import schemas
from jobapi.authentication import caller_of
from jobapi.bodies import JSON, NDJSON, check, decode, read, read_bytes
from jobapi.problems import (
    BAD_REQUEST,
    INVALID,
    JOB_GONE,
    TOO_LARGE,
    UNKNOWN_QUEUE,
    Refusal,
    invalid,
    problem_of,
    refusal_of,
    shortened,
)
from jobapi.request_ids import TRACEPARENT_KEY, request_id_of, traceparent_of
from queueing import (
    Broker,
    Durability,
    Enqueued,
    JobNotFound,
    NewJob,
    QueueFull,
    QueueingError,
    Submission,
    SubmissionMismatch,
)
from queueing.conf import get_broker, get_inspector, known_queues
from queueing.fault_points import reach
from queueing.traces import is_on, span

MAX_BULK_BYTES = 8 * 1024 * 1024

IDEMPOTENCY_KEY = re.compile(r'"(?P<quoted>[!#-\[\]-~]{1,200})"|(?P<bare>[!#-\[\]-~]{1,200})')


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job: its status, and the job as it is now."""

    status: int
    job: schemas.Job
    durability: Durability
    replayed: bool


def submit_one(request: HttpRequest) -> Submitted:
    """Store the job that a request brings, or find the one that is there instead."""
    new = read(request, schemas.NewJob)
    queue = queue_of(new, known_queues())
    with _enqueuing(request, 1, queue):
        job = new.to_enqueue(origin_of(request), submission_of(request))
        enqueued, held = _enqueue(get_broker(), queue, job, new.durability)
    reach("after_enqueue")
    replayed = held is not None and enqueued.outcome == "replayed"
    return Submitted(
        status=200 if held is not None and not replayed else 201,
        job=held or schemas.Job.created(queue, job, enqueued),
        durability=new.durability,
        replayed=replayed,
    )


def _enqueue(broker: Broker, queue: str, job: NewJob, durability: Durability) -> tuple[Enqueued, schemas.Job | None]:
    """Store a job; with it comes the job that was there instead, None when the job was created."""
    enqueued = broker.enqueue(queue, job, durability=durability)
    if enqueued.outcome == "created":
        return enqueued, None
    try:
        return enqueued, _stored(enqueued.id)
    except JobNotFound:
        if enqueued.outcome == "replayed":
            raise Refusal(JOB_GONE, _GONE) from None
    enqueued = broker.enqueue(queue, job, durability=durability)  # the holder of the unique key was purged meanwhile
    return enqueued, None if enqueued.outcome == "created" else _stored(enqueued.id)


_GONE = "This submission was made before; its job was deleted since."


def _stored(job_id: str) -> schemas.Job:
    return schemas.Job.of(get_inspector().job(job_id))


# Many at once


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    """One valid job of a bulk."""

    index: int
    queue: str
    durability: Durability
    job: NewJob


def submit_many(request: HttpRequest) -> schemas.BulkResults:
    """Store the jobs that a request brings and say what became of each; with `atomic` all of them or none."""
    texts, atomic = _read_bulk(request)
    with _enqueuing(request, len(texts)):
        return schemas.BulkResults(results=_submit_each(request, texts, atomic=atomic))


def _submit_each(request: HttpRequest, texts: Sequence[bytes], *, atomic: bool) -> list[schemas.BulkResult]:
    origin, submission, queues = origin_of(request), submission_of(request), known_queues()
    results: dict[int, schemas.BulkResult] = {}
    refusals: dict[int, Refusal] = {}
    items = []
    for index, text in enumerate(texts):
        try:
            if request.content_type == NDJSON:
                check(text)
            new = decode(text, schemas.NewJob)
            queue = queue_of(new, queues)
            part = submission and replace(submission, key=f"{submission.key} #{index}")
            job = new.to_enqueue(origin, part)
            items.append(_Item(index=index, queue=queue, durability=new.durability, job=job))
        except (Refusal, QueueingError) as error:
            refusals[index] = refusal_of(error) or Refusal(INVALID, "")
    if atomic:
        _require_one_step(items, refusals)
    groups: dict[tuple[str, Durability], list[_Item]] = defaultdict(list)
    for item in items:
        groups[item.queue, item.durability].append(item)
    for group in groups.values():
        results |= _store(group, refusals, atomic=atomic, is_all=len(group) == len(texts))
    for index, refusal in refusals.items():
        results[index] = _refused(request, index, refusal)
    return [results[index] for index in range(len(texts))]


def _read_bulk(request: HttpRequest) -> tuple[Sequence[bytes], bool]:
    """Return the JSON text of each job, and whether they are to be stored all or none."""
    body = read_bytes(request, (JSON, NDJSON), MAX_BULK_BYTES)
    if request.content_type == JSON:
        check(body)
        bulk = decode(body, schemas.BulkJobs)
        return [bytes(job) for job in bulk.jobs], bulk.atomic
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise invalid("", "has no jobs")
    if len(lines) > schemas.MAX_BULK:
        raise Refusal(TOO_LARGE, f"The body has {len(lines)} jobs, the limit is {schemas.MAX_BULK}.")
    return lines, False


def _require_one_step(items: Sequence[_Item], refusals: dict[int, Refusal]) -> None:
    """Refuse a bulk that cannot be stored in one step, naming every member that is wrong."""
    if refusals:
        errors = [
            schemas.FieldError(pointer=f"/jobs/{index}{error.pointer or ''}", detail=error.detail)
            for index, refusal in sorted(refusals.items())
            for error in refusal.errors or [schemas.FieldError(pointer="", detail=refusal.detail)]
        ]
        raise Refusal(INVALID, "Nothing was stored: a member of the body is not valid.", errors=errors)
    if len({(item.queue, item.durability) for item in items}) > 1:
        raise invalid("/jobs", "must be of one queue and one durability to be stored in one step")


def _store(
    group: Sequence[_Item], refusals: dict[int, Refusal], *, atomic: bool, is_all: bool
) -> dict[int, schemas.BulkResult]:
    """Store jobs of one queue; those that are not stored go to `refusals`. When that is all of them it raises."""
    queue, durability = group[0].queue, group[0].durability
    jobs = [item.job for item in group]
    try:
        stored = get_broker().enqueue_many(queue, jobs, durability=durability, atomic=atomic)
    except QueueingError as error:
        if is_all:
            raise
        refusal = refusal_of(error)
        if refusal is None:
            raise
        refusals.update({item.index: refusal for item in group})
        return {}
    if atomic:
        _require_all(queue, stored)
    results = {}
    for item, enqueued in zip(group, stored, strict=True):
        refusal = _refusal_of(queue, enqueued)
        if refusal is None:
            results[item.index] = _accepted(item.index, enqueued)
        else:
            refusals[item.index] = refusal
    return results


def _require_all(queue: str, stored: Sequence[Enqueued]) -> None:
    outcomes = {enqueued.outcome for enqueued in stored}
    if "mismatch" in outcomes:
        raise SubmissionMismatch
    if "full" in outcomes:
        raise QueueFull(queue)


def _refusal_of(queue: str, enqueued: Enqueued) -> Refusal | None:
    if enqueued.outcome == "full":
        return refusal_of(QueueFull(queue))
    if enqueued.outcome == "mismatch":
        return refusal_of(SubmissionMismatch())
    return Refusal(JOB_GONE, _GONE) if enqueued.state is None else None


def _accepted(index: int, enqueued: Enqueued) -> schemas.BulkResult:
    replayed = enqueued.outcome == "replayed"
    return schemas.BulkResult(
        index=index,
        status=200 if enqueued.outcome == "unique" else 201,
        id=enqueued.id,
        state=enqueued.state or msgspec.UNSET,
        replayed=True if replayed else msgspec.UNSET,
    )


def _refused(request: HttpRequest, index: int, refusal: Refusal) -> schemas.BulkResult:
    return schemas.BulkResult(index=index, status=refusal.kind.status, problem=problem_of(request, refusal))


# What a request says besides its body


def _enqueuing(request: HttpRequest, jobs: int, queue: str = "") -> AbstractContextManager[None]:
    """Let the jobs that are stored inside be traced under a span of their own, where there are spans."""
    return _sending(request, jobs, queue) if is_on() else nullcontext()


@contextmanager
def _sending(request: HttpRequest, jobs: int, queue: str) -> Iterator[None]:
    attributes: dict[str, str | int] = {
        "messaging.system": "jobapi",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": jobs,
    }
    if queue:
        attributes["messaging.destination.name"] = queue
    with span(f"send {queue}".rstrip(), "producer", attributes=attributes) as entered:
        request.META[TRACEPARENT_KEY] = entered.traceparent
        yield


def queue_of(new: schemas.NewJob, queues: Sequence[str]) -> str:
    """Return the queue a job is for, or refuse it and name those there are."""
    return queues[0] if new.queue is None else _one_of(queues, new.queue)


def known(queue: str) -> str:
    """Return the name of a queue of this installation, or refuse it and name those there are."""
    return _one_of(known_queues(), queue)


def _one_of(queues: Sequence[str], queue: str) -> str:
    if queue not in queues:
        raise Refusal(UNKNOWN_QUEUE, shortened(f"The known queues are: {', '.join(queues)}."))
    return queue


def origin_of(request: HttpRequest) -> schemas.Origin:
    """Return what jobs keep of their request: id, `traceparent` (W3C Trace Context), and client."""
    return schemas.Origin(request_id_of(request), traceparent_of(request), caller_of(request).client_id)


def submission_of(request: HttpRequest) -> Submission | None:
    """Return what makes this submission recognisable, None without an Idempotency-Key.

    The key is a structured string (draft-ietf-httpapi-idempotency-key-header-07), taken without its quotes too.
    """
    header = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if header is None:
        return None
    found = IDEMPOTENCY_KEY.fullmatch(header.strip())
    if found is None:
        raise Refusal(BAD_REQUEST, "The Idempotency-Key must be 1 to 200 visible ASCII characters.")
    client = caller_of(request).client_id  # has no space
    key = f"{client} {request.path} {found['quoted'] or found['bare']}".lstrip()
    return Submission(key=key, fingerprint=hashlib.sha256(request.body).hexdigest())
