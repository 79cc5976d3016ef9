"""The OpenAPI description of each call. Schemas come from `schemas`; here are words, examples and status codes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from jobapi import schemas
from jobapi.problems import (
    BAD_REQUEST,
    BY_STATUS,
    DURABILITY_NOT_MET,
    IDEMPOTENCY_KEY_REUSED,
    INTERNAL,
    INVALID,
    JOB_GONE,
    JOB_NOT_FOUND,
    LENGTH_REQUIRED,
    MALFORMED_JSON,
    QUEUE_FULL,
    STORE_FULL,
    TOO_LARGE,
    UNAVAILABLE,
    UNKNOWN_QUEUE,
    UNSUPPORTED_MEDIA_TYPE,
    WRONG_STATE,
    Kind,
)
from queueing import JOB_ID_PATTERN, QUEUE_PATTERN

_Example = tuple[Kind, str, dict[str, Any]]

REF = "#/components/schemas/{name}"
JSON = "application/json"
PROBLEM = "application/problem+json"

_JOB_ID = "default_019a9f3c5d6e7f008192a3b4c5d6e7f8"
_REQUEST_ID = "019a9f3c5d6e7f008192a3b4c5d6e7f8"

NEW_JOB = {"kind": "echo", "payload": {"hello": "world"}, "tags": ["greeting"]}
JOB: dict[str, Any] = {
    "id": _JOB_ID,
    "kind": "echo",
    "queue": "default",
    "state": "ready",
    "priority": 0,
    "payload": {"hello": "world"},
    "tags": ["greeting"],
    "created_at": "2026-11-21T08:00:00.000Z",
    "run_at": "2026-11-21T08:00:00.000Z",
    "expires_at": None,
    "started_at": None,
    "finished_at": None,
    "attempt": 0,
    "max_attempts": 5,
    "timeout_seconds": None,
    "cancel_requested": False,
    "position": 1,
    "result": None,
    "error": None,
    "progress": None,
    "attempts": [],
}
_FINISHED: dict[str, Any] = {
    "started_at": "2026-11-21T08:00:00.004Z",
    "finished_at": "2026-11-21T08:00:00.006Z",
}
SUCCEEDED_JOB: dict[str, Any] = {
    **JOB,
    **_FINISHED,
    "state": "succeeded",
    "attempt": 1,
    "position": None,
    "result": {"hello": "world"},
    "attempts": [{"number": 1, **_FINISHED, "worker": "host:4711", "outcome": "succeeded", "error": None}],
}
CANCELLED_JOB: dict[str, Any] = {
    **JOB,
    "state": "cancelled",
    "finished_at": "2026-11-21T08:00:01.000Z",
    "position": None,
}
QUEUE: dict[str, Any] = {
    "name": "default",
    "counts": dict.fromkeys(schemas.Counts.__struct_fields__, 0) | {"ready": 2, "succeeded": 40},
    "oldest_ready_age_seconds": 12.5,
    "newest_ready_age_seconds": 0.25,
    "paused": False,
    "paused_reason": None,
    "paused_until": None,
    "fair_every": 0,
    "max_depth": 0,
    "overflow": "reject",
    "rates_per_minute": {"submitted": 21, "succeeded": 19, "failed": 0},
    "totals": dict.fromkeys(schemas.Totals.__struct_fields__, 0) | {"submitted": 42, "claimed": 40, "succeeded": 40},
    "workers": 1,
}
PAUSE = {"reason": "maintenance", "until": "2026-11-21T09:00:00Z"}
PAUSED_QUEUE = {**QUEUE, "paused": True, "paused_reason": "maintenance", "paused_until": "2026-11-21T09:00:00.000Z"}

#: The problems each status may stand for, with an example of what is said of one: kind, detail, further members.
_PROBLEMS: dict[int, list[_Example]] = {
    400: [
        (MALFORMED_JSON, "The body is not valid JSON: Expecting value: line 1 column 10 (char 9).", {}),
        (BAD_REQUEST, "The Host header names no host that is served here.", {}),
    ],
    406: [(BY_STATUS[406], "Could not satisfy the request Accept header.", {})],
    409: [(WRONG_STATE, "The job is succeeded.", {"state": "succeeded"})],
    410: [(JOB_GONE, "This submission was made before; its job was deleted since.", {})],
    411: [(LENGTH_REQUIRED, "Send the body with a Content-Length; chunked bodies are not read.", {})],
    413: [(TOO_LARGE, "The body is larger than 327680 bytes.", {})],
    415: [(UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json, in UTF-8.", {})],
    422: [
        (
            INVALID,
            "A member of the body is not valid.",
            {"errors": [{"pointer": "/priority", "detail": "Expected int <= 9"}]},
        ),
        (IDEMPOTENCY_KEY_REUSED, "Another body was sent with this Idempotency-Key in the last 24 hours.", {}),
    ],
    429: [(QUEUE_FULL, "As many jobs wait in default as it may hold.", {})],
    500: [(INTERNAL, "Something went wrong here; the request id finds it in the log.", {})],
    503: [(UNAVAILABLE, "The database does not answer now. What was asked may or may not have been done.", {})],
}
_NOT_STORED: list[_Example] = [
    (STORE_FULL, "Nothing new is accepted: 84% of the database's memory is used. Nothing was stored.", {}),
    (
        DURABILITY_NOT_MET,
        f"replicated was asked for, but 0 of 1 replicas have it. Job {_JOB_ID} is stored less safely and may run.",
        {"job_id": _JOB_ID},
    ),
]
_NO_JOB: _Example = (JOB_NOT_FOUND, "No job has this id; finished jobs are deleted after a time.", {})
_NO_QUEUE: _Example = (UNKNOWN_QUEUE, "The known queues are: default, mail.", {})

_ANY_CALL = (400, 406, 500, 503)
_WITH_BODY = (411, 413, 415, 422)

_X_REQUEST_ID = OpenApiParameter(
    "X-Request-ID",
    {"type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$"},
    OpenApiParameter.HEADER,
    description="A name for this request; every answer carries it. One is made when it is missing or unfit.",
)
_LOCATION = OpenApiParameter(
    "Location", {"type": "string"}, OpenApiParameter.HEADER, description="The job's address.", response=[200, 201]
)
_RETRY_AFTER = OpenApiParameter(
    "Retry-After", {"type": "integer"}, OpenApiParameter.HEADER, description="Seconds to wait.", response=[503]
)
_RETRY_SUBMIT_AFTER = OpenApiParameter(
    "Retry-After", {"type": "integer"}, OpenApiParameter.HEADER, description="Seconds to wait.", response=[429, 503]
)
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": 202},
    OpenApiParameter.HEADER,
    description="Makes a repeat safe: for 24 hours the same key and body answer the job of the first time.",
)
_IDEMPOTENCY_REPLAYED = OpenApiParameter(
    "Idempotency-Replayed",
    {"type": "string", "enum": ["true"]},
    OpenApiParameter.HEADER,
    description="This submission was made before; nothing was stored now.",
    response=[201],
)
_DURABILITY = OpenApiParameter(
    "Durability",
    {"type": "string", "enum": ["accepted", "fsynced", "replicated"]},
    OpenApiParameter.HEADER,
    description="How safely the job is stored.",
    response=[200, 201],
)
_JOB_ID_IN_PATH = OpenApiParameter(
    "job_id", {"type": "string", "pattern": JOB_ID_PATTERN}, OpenApiParameter.PATH, description="The job's id."
)
_QUEUE_IN_PATH = OpenApiParameter(
    "queue", {"type": "string", "pattern": QUEUE_PATTERN}, OpenApiParameter.PATH, description="The queue's name."
)


def ref(document: type[msgspec.Struct]) -> dict[str, str]:
    """Return the reference to a struct's schema."""
    return {"$ref": REF.format(name=document.__name__)}


def _answers(document: type[msgspec.Struct], description: str, *examples: tuple[str, Any]) -> OpenApiResponse:
    shown = [OpenApiExample(name, value=value, media_type=JSON) for name, value in examples]
    return OpenApiResponse(ref(document), description=description, examples=shown)


def _problems(
    *statuses: int, not_found: Sequence[_Example] = (), unavailable: Sequence[_Example] = ()
) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the descriptions of problem answers, by status and media type."""
    kinds = {status: _PROBLEMS[status] for status in (*_ANY_CALL, *statuses)}
    kinds[503] = [*kinds[503], *unavailable]
    if not_found:
        kinds[404] = list(not_found)
    return {(status, PROBLEM): _problem(status, examples) for status, examples in sorted(kinds.items())}


def _problem(status: int, examples: Sequence[_Example]) -> OpenApiResponse:
    shown = [OpenApiExample(example[0].code, value=_shown(*example), media_type=PROBLEM) for example in examples]
    return OpenApiResponse(ref(schemas.Problem), description=HTTPStatus(status).phrase, examples=shown)


def _shown(kind: Kind, detail: str, more: dict[str, Any]) -> dict[str, Any]:
    head = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail, "code": kind.code}
    return {**head, "request_id": _REQUEST_ID, **more}


def _body(document: type[msgspec.Struct], *examples: tuple[str, Any]) -> dict[str, Any]:
    shown = {name.lower().replace(" ", "_"): {"summary": name, "value": value} for name, value in examples}
    return {JSON: {"schema": ref(document), "examples": shown}} if shown else {JSON: {"schema": ref(document)}}


def add_schemas(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Put the structs' schemas, and the bodies that calls may be sent, into the document (a drf-spectacular hook)."""
    _schemas, components = msgspec.json.schema_components(schemas.DOCUMENTS, ref_template=REF)
    result.setdefault("components", {})["schemas"] = dict(sorted(components.items()))
    for path in result["paths"].values():
        for operation in path.values():
            if operation["operationId"] in _BODIES:
                operation["requestBody"] = _BODIES[operation["operationId"]]
    return result


_BODIES: dict[str, dict[str, Any]] = {
    "submitJob": {
        "required": True,
        "content": _body(
            schemas.NewJob,
            ("Now", NEW_JOB),
            ("Later", {"kind": "email.send", "payload": {"to": "a@example.org"}, "delay_seconds": 60, "priority": 5}),
        ),
    },
    "pauseQueue": {"content": _body(schemas.Pause, ("For an hour", PAUSE))},
    "resumeQueue": {"content": _body(schemas.Nothing)},
    "cancelJob": {"content": _body(schemas.Nothing)},
    "requeueJob": {"content": _body(schemas.Nothing)},
}

SUBMIT_JOB = extend_schema(
    operation_id="submitJob",
    tags=["jobs"],
    summary="Submit a job",
    description="Store a job. The newest ready job of the highest priority is served first.",
    parameters=[
        _X_REQUEST_ID,
        _IDEMPOTENCY_KEY,
        _LOCATION,
        _DURABILITY,
        _IDEMPOTENCY_REPLAYED,
        _RETRY_SUBMIT_AFTER,
    ],
    request=None,
    responses={
        (201, JSON): _answers(schemas.Job, "The job was stored.", ("Ready", JOB)),
        (200, JSON): _answers(
            schemas.Job, "A live job holds the `unique_key`: this is it, and none was stored.", ("Held", JOB)
        ),
        **_problems(410, 429, *_WITH_BODY, not_found=[_NO_QUEUE], unavailable=_NOT_STORED),
    },
)
GET_JOB = extend_schema(
    operation_id="getJob",
    tags=["jobs"],
    summary="Look at a job",
    description="Return a job as it is now, with its attempts.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _JOB_ID_IN_PATH],
    responses={
        (200, JSON): _answers(schemas.Job, "The job.", ("Ready", JOB), ("Succeeded", SUCCEEDED_JOB)),
        **_problems(not_found=[_NO_JOB]),
    },
)
CANCEL_JOB = extend_schema(
    operation_id="cancelJob",
    tags=["jobs"],
    summary="Cancel a job",
    description="Cancel a job that waits, or ask its worker to stop (`cancel_requested`). May be repeated.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _JOB_ID_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Job, "The job as it is now.", ("Cancelled", CANCELLED_JOB)),
        **_problems(409, *_WITH_BODY, not_found=[_NO_JOB]),
    },
)
REQUEUE_JOB = extend_schema(
    operation_id="requeueJob",
    tags=["jobs"],
    summary="Requeue a dead job",
    description="Make a dead job ready again, at its old place and with as many attempts as at first.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _JOB_ID_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Job, "The job as it is now.", ("Ready", JOB)),
        **_problems(409, *_WITH_BODY, not_found=[_NO_JOB]),
    },
)
LIST_QUEUES = extend_schema(
    operation_id="listQueues",
    tags=["queues"],
    summary="Look at all queues",
    description="Return all queues as they are now.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER],
    responses={
        (200, JSON): _answers(schemas.QueuePage, "The queues.", ("One queue", {"items": [QUEUE], "next_cursor": None})),
        **_problems(),
    },
)
GET_QUEUE = extend_schema(
    operation_id="getQueue",
    tags=["queues"],
    summary="Look at a queue",
    description="Return a queue as it is now: its counts, ages, rates and workers, and whether it is paused.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    responses={
        (200, JSON): _answers(schemas.Queue, "The queue.", ("Running", QUEUE), ("Paused", PAUSED_QUEUE)),
        **_problems(not_found=[_NO_QUEUE]),
    },
)
PAUSE_QUEUE = extend_schema(
    operation_id="pauseQueue",
    tags=["queues"],
    summary="Pause a queue",
    description="Stop claims of a queue. Jobs are accepted, and what runs goes on. May be repeated.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Queue, "The queue as it is now.", ("Paused", PAUSED_QUEUE)),
        **_problems(*_WITH_BODY, not_found=[_NO_QUEUE]),
    },
)
RESUME_QUEUE = extend_schema(
    operation_id="resumeQueue",
    tags=["queues"],
    summary="Resume a queue",
    description="Let claims of a queue go on. May be repeated.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Queue, "The queue as it is now.", ("Running", QUEUE)),
        **_problems(*_WITH_BODY, not_found=[_NO_QUEUE]),
    },
)
GET_LIVEZ = extend_schema(
    operation_id="getLivez",
    tags=["probes"],
    summary="Whether the process lives",
    description="Answer without touching anything else.",
    responses={(200, JSON): _answers(schemas.Health, "It lives.", ("Lives", {"status": "ok"}))},
)
GET_READYZ = extend_schema(
    operation_id="getReadyz",
    tags=["probes"],
    summary="Whether jobs can be served",
    description="Ask the queue's database for a sign of life.",
    parameters=[_RETRY_AFTER],
    responses={
        (200, JSON): _answers(schemas.Health, "It can.", ("Ready", {"status": "ok"})),
        (503, PROBLEM): _problem(503, _PROBLEMS[503]),
    },
)
