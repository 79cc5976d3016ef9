"""The OpenAPI description of each call. Schemas come from `schemas`; here are words, examples and status codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from django.conf import settings
from django.urls import resolve
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from jobapi import schemas
from jobapi.bodies import JSON, MERGE_PATCH, NDJSON
from jobapi.listing import JobQuery
from jobapi.permissions import ACCESS, OPEN
from jobapi.problems import (
    BAD_REQUEST,
    BY_STATUS,
    DURABILITY_NOT_MET,
    IDEMPOTENCY_KEY_REUSED,
    INSUFFICIENT_SCOPE,
    INTERNAL,
    INVALID,
    INVALID_PARAMETER,
    INVALID_TOKEN,
    JOB_GONE,
    JOB_NOT_FOUND,
    LENGTH_REQUIRED,
    MALFORMED_JSON,
    QUEUE_FULL,
    RATE_LIMITED,
    STORE_FULL,
    TOO_LARGE,
    UNAVAILABLE,
    UNFIT,
    UNFIT_DETAIL,
    UNKNOWN_QUEUE,
    UNSUPPORTED_MEDIA_TYPE,
    WRONG_STATE,
    Kind,
)
from jobapi.throttling import LIMITED
from queueing import JOB_ID_PATTERN, QUEUE_PATTERN

_Example = tuple[Kind, str, dict[str, Any]]

REF = "#/components/schemas/{name}"
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
    "request_id": _REQUEST_ID,
    "attempts": [],
}
JOB_SUMMARY = {name: value for name, value in JOB.items() if name not in ("payload", "result", "attempts")}
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
    "default_max_attempts": 5,
    "default_timeout_seconds": None,
    "retention": {
        "succeeded": {"keep_seconds": 86400.0, "keep_count": 10000},
        "dead": {"keep_seconds": 1209600.0, "keep_count": 100000},
        "cancelled": {"keep_seconds": 86400.0, "keep_count": 10000},
        "expired": {"keep_seconds": 86400.0, "keep_count": 10000},
    },
    "rates_per_minute": {"submitted": 21, "succeeded": 19, "failed": 0},
    "totals": dict.fromkeys(schemas.Totals.__struct_fields__, 0) | {"submitted": 42, "claimed": 40, "succeeded": 40},
    "workers": 1,
}
PAUSE = {"reason": "maintenance", "until": "2026-11-21T09:00:00Z"}
PAUSED_QUEUE = {**QUEUE, "paused": True, "paused_reason": "maintenance", "paused_until": "2026-11-21T09:00:00.000Z"}
WORKER: dict[str, Any] = {
    "id": "host:4711:1a2b3c4d",
    "host": "host",
    "pid": 4711,
    "queues": ["default"],
    "slots": 8,
    "running": [{"job_id": _JOB_ID, "kind": "echo", "attempt": 1}],
    "last_seen_at": "2026-11-21T08:00:00.000Z",
}

BULK_RESULTS: dict[str, Any] = {
    "results": [
        {"index": 0, "status": 201, "id": _JOB_ID, "state": "ready"},
        {
            "index": 1,
            "status": 422,
            "problem": {
                "type": INVALID.type,
                "title": INVALID.title,
                "status": 422,
                "detail": "A member of the body is not valid.",
                "code": INVALID.code,
                "request_id": _REQUEST_ID,
                "errors": [{"pointer": "/priority", "detail": "Expected int <= 9"}],
            },
        },
    ]
}

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
_BAD_PARAMETER: _Example = (
    INVALID_PARAMETER,
    "A parameter of the query is not valid.",
    {"errors": [{"parameter": "limit", "detail": "Expected int <= 100"}]},
)
_NO_JOB: _Example = (JOB_NOT_FOUND, "No job has this id; finished jobs are deleted after a time.", {})
_NO_QUEUE: _Example = (UNKNOWN_QUEUE, "The known queues are: default, mail.", {})

_ANY_CALL = (400, 406, 500, 503)
_WITH_BODY = (411, 413, 415, 422)

_X_REQUEST_ID = OpenApiParameter(
    "X-Request-ID",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="A name for this request, of 8 to 64 letters, digits and dashes. Every answer carries it; one is made "
    "when it is missing or unfit.",
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
    {"type": "string", "pattern": r'^("[!#-\[\]-~]{1,200}"|[!#-\[\]-~]{1,200})$'},
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
_BULK_REPLAYED = OpenApiParameter(
    "Idempotency-Replayed",
    {"type": "string", "enum": ["true"]},
    OpenApiParameter.HEADER,
    description="All of these were submitted before; nothing was stored now.",
    response=[200],
)
_LINK = OpenApiParameter(
    "Link", {"type": "string"}, OpenApiParameter.HEADER, description='The next page, `rel="next"`.', response=[200]
)
_AGE = OpenApiParameter(
    "Age",
    {"type": "integer"},
    OpenApiParameter.HEADER,
    description="How many seconds old the answer may be: a replica gave it (RFC 9111).",
    response=[200],
)
_PREFER = OpenApiParameter(
    "Prefer",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="`wait=N`: hold the answer up to N seconds until the job changes (RFC 7240).",
)
_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The `ETag` of what is known already: the answer to that is 304.",
)
_ETAG = OpenApiParameter(
    "ETag",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="Names what the job is now, its position aside.",
    response=[200, 304],
)
_PREFERENCE_APPLIED = OpenApiParameter(
    "Preference-Applied",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The answer was held, at most so long.",
    response=[200, 304],
)
_JOB_ID_IN_PATH = OpenApiParameter(
    "job_id", {"type": "string", "pattern": JOB_ID_PATTERN}, OpenApiParameter.PATH, description="The job's id."
)
_QUEUE_IN_PATH = OpenApiParameter(
    "queue", {"type": "string", "pattern": QUEUE_PATTERN}, OpenApiParameter.PATH, description="The queue's name."
)


class CallSchema(AutoSchema):
    """Describes a call by what `extend_schema` says of it, and nothing else."""

    def _is_list_view(self, serializer: Any = None) -> bool:  # noqa: ARG002 - its signature
        """Take no answer for an array: the pages of lists are objects."""
        return False


def ref(document: type[msgspec.Struct]) -> dict[str, str]:
    """Return the reference to a struct's schema."""
    return {"$ref": REF.format(name=document.__name__)}


def _answers(document: type[msgspec.Struct], description: str, *examples: tuple[str, Any]) -> OpenApiResponse:
    shown = [OpenApiExample(name, value=value, media_type=JSON) for name, value in examples]
    return OpenApiResponse(ref(document), description=description, examples=shown)


def _problems(
    *statuses: int,
    not_found: Sequence[_Example] = (),
    unavailable: Sequence[_Example] = (),
    bad_request: Sequence[_Example] = (),
) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the descriptions of problem answers, by status and media type."""
    kinds = {status: _PROBLEMS[status] for status in (*_ANY_CALL, *statuses)}
    kinds[503] = [*kinds[503], *unavailable]
    kinds[400] = [*kinds[400], *bad_request]
    if not_found:
        kinds[404] = list(not_found)
    return {(status, PROBLEM): _problem(status, examples) for status, examples in sorted(kinds.items())}


def _problem(status: int, examples: Sequence[_Example]) -> OpenApiResponse:
    shown = [OpenApiExample(example[0].code, value=_shown(*example), media_type=PROBLEM) for example in examples]
    return OpenApiResponse(ref(schemas.Problem), description=HTTPStatus(status).phrase, examples=shown)


def _shown(kind: Kind, detail: str, more: dict[str, Any]) -> dict[str, Any]:
    head = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail, "code": kind.code}
    return {**head, "request_id": _REQUEST_ID, **more}


def _query_parameters(document: type[msgspec.Struct]) -> list[OpenApiParameter]:
    """Return the parameters of a query string as its struct says."""
    (_, components) = msgspec.json.schema_components([document], ref_template=REF)
    properties = components[document.__name__]["properties"]
    return [_query_parameter(name, schema) for name, schema in properties.items()]


def _query_parameter(name: str, schema: dict[str, Any]) -> OpenApiParameter:
    given = next(one for one in schema.get("anyOf", [schema]) if one != {"type": "null"})
    default = {"default": schema["default"]} if schema.get("default") is not None else {}
    rules = {key: value for key, value in given.items() if key not in ("description", "default")}
    return OpenApiParameter(name, {**rules, **default}, description=given["description"])


def _links(parameter: str, expression: str, *operations: str) -> dict[str, Any]:
    """Return links to operations on what the expression finds in an answer."""
    return {
        f"{operation[0].upper()}{operation[1:]}": {"operationId": operation, "parameters": {parameter: expression}}
        for operation in operations
    }


def _body(document: type[msgspec.Struct], *examples: tuple[str, Any]) -> dict[str, Any]:
    shown = {name.lower().replace(" ", "_"): {"summary": name, "value": value} for name, value in examples}
    return {JSON: {"schema": ref(document), "examples": shown}} if shown else {JSON: {"schema": ref(document)}}


def add_schemas(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Put the structs' schemas, and the bodies that calls may be sent, into the document (a drf-spectacular hook)."""
    _schemas, components = msgspec.json.schema_components(schemas.DOCUMENTS, ref_template=REF)
    for component in components.values():
        for member in component.get("properties", {}).values():
            if member.get("default", "") is None:  # generators would take the member for a required one
                del member["default"]
    result.setdefault("components", {})["schemas"] = dict(sorted(components.items()))
    result["security"] = []  # a call that needs a token says so
    for path in result["paths"].values():
        for operation in path.values():
            if operation["operationId"] in _BODIES:
                operation["requestBody"] = _BODIES[operation["operationId"]]
    return result


def add_links(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Tell where the ids in answers lead (a drf-spectacular hook)."""
    for path in result["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if links := _LINKS.get((operation["operationId"], status)):
                    answer["links"] = links
    return result


def add_limits(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Tell of the limits on a client's calls in every answer of the API (a drf-spectacular hook)."""
    result["components"]["headers"] = _LIMIT_HEADERS
    for path, operations in result["paths"].items():
        if path.startswith(LIMITED):
            for operation in operations.values():
                operation["responses"] = _limited(operation["responses"])
    return result


def add_security(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Tell which scope each call needs, as the table of permissions says (a drf-spectacular hook).

    No token is needed where AUTH_MODE is none: that is the last, empty, alternative.
    """
    result["components"]["securitySchemes"] = _SCHEMES
    for path, operations in result["paths"].items():
        needed = ACCESS[resolve(re.sub(r"{\w+}", "x", path)).view_name]
        for method, operation in operations.items():
            scope = needed[method.upper()]
            operation["security"] = [] if scope == OPEN else [{"oauth2": [scope]}, {"bearer": [scope]}, {}]
            if scope != OPEN:
                operation["responses"] = dict(sorted((operation["responses"] | _refusals(scope)).items()))
    return result


def _refusals(scope: str) -> dict[str, Any]:
    lacking: _Example = (INSUFFICIENT_SCOPE, f"The access token lacks the scope {scope}.", {})
    return {
        str(kinds[0][0].status): {
            "description": HTTPStatus(kinds[0][0].status).phrase,
            "headers": {"WWW-Authenticate": _CHALLENGE},
            "content": {
                PROBLEM: {
                    "schema": ref(schemas.Problem),
                    "examples": {one[0].code: {"summary": one[0].code, "value": _shown(*one)} for one in kinds},
                }
            },
        }
        for kinds in ([_NO_TOKEN, _BAD_TOKEN], [lacking])
    }


_NO_TOKEN: _Example = (BY_STATUS[401], "Send an access token: Authorization: Bearer.", {})
_BAD_TOKEN: _Example = (INVALID_TOKEN, "The access token is not valid (any more).", {})
_CHALLENGE = {
    "description": "What is wrong with the token (RFC 6750), and where to learn where tokens come from (RFC 9728).",
    "schema": {"type": "string"},
    "example": 'Bearer error="invalid_token", '
    'resource_metadata="https://jobs.example.org/.well-known/oauth-protected-resource"',
}
_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An access token of the company's own issuer."},
    "oauth2": {
        "type": "oauth2",
        "description": "An access token of this server, which may be its own issuer.",
        "flows": {
            "clientCredentials": {"tokenUrl": "/oauth/token/", "scopes": settings.OAUTH2_PROVIDER["SCOPES"]},
            "authorizationCode": {
                "authorizationUrl": "/oauth/authorize/",
                "tokenUrl": "/oauth/token/",
                "scopes": settings.OAUTH2_PROVIDER["SCOPES"],
            },
        },
    },
}


def _limited(answers: dict[str, Any]) -> dict[str, Any]:
    """Return the answers of a call with the headers of its limit, and with the one beyond the limit."""
    refused = answers.get("429") or {
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}},
        "content": {PROBLEM: {"schema": ref(schemas.Problem), "examples": {}}},
        "description": HTTPStatus(429).phrase,
    }
    refused["content"][PROBLEM]["examples"]["RateLimited"] = {"summary": RATE_LIMITED.code, "value": _TOO_MANY_CALLS}
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in _LIMIT_HEADERS}
    return {
        status: {**answer, "headers": {**answer.get("headers", {}), **named}}
        for status, answer in sorted({**answers, "429": refused}.items(), key=lambda item: max(item[0], "400"))
    }


_JOB_CALLS = ("getJob", "cancelJob", "requeueJob", "deleteJob")
_QUEUE_CALLS = ("getQueue", "changeQueue", "pauseQueue", "resumeQueue", "purgeQueue", "requeueDeadJobs")
_LINKS: dict[tuple[str, str], dict[str, Any]] = {
    ("submitJob", "201"): _links("job_id", "$response.body#/id", *_JOB_CALLS),
    ("submitJob", "200"): _links("job_id", "$response.body#/id", *_JOB_CALLS),
    ("submitJobs", "200"): _links("job_id", "$response.body#/results/0/id", *_JOB_CALLS),
    ("listJobs", "200"): _links("job_id", "$response.body#/items/0/id", *_JOB_CALLS)
    | _links("cursor", "$response.body#/next_cursor", "listJobs"),
    ("listQueues", "200"): _links("queue", "$response.body#/items/0/name", *_QUEUE_CALLS),
}

_LIMIT_HEADERS: dict[str, Any] = {
    "RateLimit": {
        "description": "`r` calls are left to this client; in `t` seconds its window ends. With a limit only "
        "(draft-ietf-httpapi-ratelimit-headers-11).",
        "schema": {"type": "string", "pattern": r'^"(reads|writes)";r=\d+;t=\d+$'},
        "example": '"writes";r=42;t=17',
    },
    "RateLimit-Policy": {
        "description": "A client may make `q` calls in `w` seconds. With a limit only.",
        "schema": {"type": "string", "pattern": r'^"(reads|writes)";q=\d+;w=\d+$'},
        "example": '"writes";q=100;w=60',
    },
}
_TOO_MANY_CALLS = _shown(RATE_LIMITED, "A client may make 100 writes in 60 seconds.", {})

_BODIES: dict[str, dict[str, Any]] = {
    "submitJob": {
        "required": True,
        "content": _body(
            schemas.NewJob,
            ("Now", NEW_JOB),
            ("Later", {"kind": "email.send", "payload": {"to": "a@example.org"}, "delay_seconds": 60, "priority": 5}),
        ),
    },
    "submitJobs": {
        "required": True,
        "content": {
            **_body(
                schemas.BulkJobs,
                ("Two jobs", {"jobs": [NEW_JOB, {"kind": "email.send", "payload": {"to": "a@example.org"}}]}),
                ("All or none", {"jobs": [NEW_JOB, NEW_JOB], "atomic": True}),
            ),
            NDJSON: {
                "schema": {"type": "string", "format": "binary", "description": "A NewJob in each line."},
                "examples": {"two_jobs": {"summary": "Two jobs", "value": '{"kind": "echo"}\n{"kind": "echo"}\n'}},
            },
        },
    },
    "changeQueue": {
        "required": True,
        "content": _body(schemas.QueueChanges, ("Bounded", {"max_depth": 10000, "overflow": "reject"}))
        | {MERGE_PATCH: {"schema": ref(schemas.QueueChanges)}},
    },
    "purgeQueue": {"content": _body(schemas.Purge, ("Dead jobs", {"state": "dead"}))},
    "requeueDeadJobs": {"content": _body(schemas.RequeueDead, ("Of a kind", {"kind": "email.send", "limit": 100}))},
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
SUBMIT_JOBS = extend_schema(
    operation_id="submitJobs",
    tags=["jobs"],
    summary="Submit many jobs",
    description="Store up to 1,000 jobs in one call, as JSON or as a job a line (NDJSON). Each has a status of its "
    "own, as if it had been submitted alone; with `atomic` all are stored, or none and the call fails.",
    parameters=[_X_REQUEST_ID, _IDEMPOTENCY_KEY, _BULK_REPLAYED, _RETRY_SUBMIT_AFTER],
    request=None,
    responses={
        (200, JSON): _answers(schemas.BulkResults, "What became of each job.", ("Both", BULK_RESULTS)),
        **_problems(429, *_WITH_BODY, not_found=[_NO_QUEUE], unavailable=_NOT_STORED),
    },
)
LIST_JOBS = extend_schema(
    operation_id="listJobs",
    tags=["jobs"],
    summary="List jobs",
    description="Return a page of jobs that meet every filter: one state after the other (running, ready, scheduled "
    "and retrying, dead, cancelled, expired, succeeded), ready ones in the order of service, others the latest first. "
    "A page may be short, or empty, and have a next one: `next_cursor` is null at the end.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _LINK, _AGE, *_query_parameters(JobQuery)],
    responses={
        (200, JSON): _answers(
            schemas.JobPage, "The page.", ("The last one", {"items": [JOB_SUMMARY], "next_cursor": None})
        ),
        **_problems(bad_request=[_BAD_PARAMETER]),
    },
)
GET_JOB = extend_schema(
    operation_id="getJob",
    tags=["jobs"],
    summary="Look at a job",
    description="Return a job as it is now, with its attempts. With `Prefer: wait=N` the answer is held up to N "
    "seconds (30 at most) until the job has changed or finished; one that is not held, because too many are, has no "
    "`Preference-Applied`.",
    parameters=[
        _X_REQUEST_ID,
        _RETRY_AFTER,
        _JOB_ID_IN_PATH,
        _PREFER,
        _IF_NONE_MATCH,
        _ETAG,
        _AGE,
        _PREFERENCE_APPLIED,
    ],
    responses={
        (200, JSON): _answers(schemas.Job, "The job.", ("Ready", JOB), ("Succeeded", SUCCEEDED_JOB)),
        304: OpenApiResponse(description="The job is as `If-None-Match` says."),
        **_problems(not_found=[_NO_JOB]),
    },
)
DELETE_JOB = extend_schema(
    operation_id="deleteJob",
    tags=["jobs"],
    summary="Delete a job",
    description="Delete a job that is not running, with all that is known of it.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _JOB_ID_IN_PATH],
    responses={
        204: OpenApiResponse(description="It is deleted."),
        **_problems(409, not_found=[_NO_JOB]),
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
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _AGE],
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
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _AGE, _QUEUE_IN_PATH],
    responses={
        (200, JSON): _answers(schemas.Queue, "The queue.", ("Running", QUEUE), ("Paused", PAUSED_QUEUE)),
        **_problems(not_found=[_NO_QUEUE]),
    },
)
CHANGE_QUEUE = extend_schema(
    operation_id="changeQueue",
    tags=["queues"],
    summary="Change limits of a queue",
    description="Set the limits that are given, and leave the others (RFC 7396): null sets the default.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Queue, "The queue as it is now.", ("Running", QUEUE)),
        **_problems(*_WITH_BODY, not_found=[_NO_QUEUE]),
    },
)
PURGE_QUEUE = extend_schema(
    operation_id="purgeQueue",
    tags=["queues"],
    summary="Purge a queue",
    description="Drop the jobs that are in one state now (`ready` unless named), up to 100,000 a call.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Purged, "What was dropped.", ("All", {"purged": 120, "more": False})),
        **_problems(*_WITH_BODY, not_found=[_NO_QUEUE]),
    },
)
REQUEUE_DEAD = extend_schema(
    operation_id="requeueDeadJobs",
    tags=["queues"],
    summary="Requeue dead jobs",
    description="Make dead jobs that meet every filter ready again, the latest first. Those that die meanwhile stay "
    "dead.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _QUEUE_IN_PATH],
    request=None,
    responses={
        (200, JSON): _answers(schemas.Requeued, "What was requeued.", ("All", {"requeued": 12, "more": False})),
        **_problems(*_WITH_BODY, not_found=[_NO_QUEUE]),
    },
)
LIST_WORKERS = extend_schema(
    operation_id="listWorkers",
    tags=["workers"],
    summary="See who works",
    description="Return the workers that gave a sign of life in the last 30 seconds, and what each runs.",
    parameters=[_X_REQUEST_ID, _RETRY_AFTER, _AGE],
    responses={
        (200, JSON): _answers(schemas.WorkerPage, "The workers.", ("One", {"items": [WORKER], "next_cursor": None})),
        **_problems(),
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
    responses={
        (200, JSON): _answers(schemas.Health, "It lives.", ("Lives", {"status": "ok"})),
        **{(status, PROBLEM): _problem(status, _PROBLEMS[status]) for status in (400, 406, 500)},
    },
)
GET_READYZ = extend_schema(
    operation_id="getReadyz",
    tags=["probes"],
    summary="Whether jobs can be served",
    description="Ask the queue's database for a sign of life, and at times whether its settings keep what it is given.",
    parameters=[_RETRY_AFTER],
    responses={
        (200, JSON): _answers(schemas.Health, "It can.", ("Ready", {"status": "ok"})),
        **_problems(unavailable=[(kind, UNFIT_DETAIL, {}) for kind in UNFIT.values()]),
    },
)
