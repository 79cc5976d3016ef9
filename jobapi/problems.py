"""Errors as problem documents (RFC 9457): one table from what was raised to what is answered.

A view raises Refusal or lets an error of the queue or of DRF through; `answer_to` makes the answer. Django's own errors
come by the handlers that urls.py names. Nothing of the inside (traceback, path, version) is ever part of a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from jobapi.counters import note_problem
from jobapi.request_ids import request_id_of
from jobapi.schemas import FieldError, Problem
from queueing import (
    DurabilityNotMet,
    InvalidJob,
    InvalidLimit,
    JobNotFound,
    PayloadTooLarge,
    QueueFull,
    QueueingError,
    State,
    StoreFull,
    StoreUnavailable,
    SubmissionMismatch,
    WrongState,
)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2  # the database fails over or restarts in about this time
MAX_DETAIL_CHARS = 300  # a detail may repeat what the client sent


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: what is the same in all of its occurrences."""

    status: int
    code: str
    title: str

    @property
    def type(self) -> str:
        """The URI that identifies the kind."""
        return f"urn:problem-type:jobapi:{self.code}"


BAD_REQUEST = Kind(400, "bad_request", "Bad request")
MALFORMED_JSON = Kind(400, "malformed_json", "The body is not well-formed JSON")
INCOMPLETE_BODY = Kind(400, "incomplete_body", "The body ended early")
INVALID_TOKEN = Kind(401, "invalid_token", "The access token is not valid")
INSUFFICIENT_SCOPE = Kind(403, "insufficient_scope", "The access token lacks a scope")
NOT_FOUND = Kind(404, "not_found", "Not found")
JOB_NOT_FOUND = Kind(404, "job_not_found", "No such job")
UNKNOWN_QUEUE = Kind(404, "unknown_queue", "No such queue")
WRONG_STATE = Kind(409, "wrong_state", "The job is in another state")
JOB_GONE = Kind(410, "job_gone", "The job was deleted")
LENGTH_REQUIRED = Kind(411, "length_required", "Length required")
TOO_LARGE = Kind(413, "too_large", "Content too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported_media_type", "Unsupported media type")
INVALID_PARAMETER = Kind(400, "invalid_parameter", "A parameter is not valid")
INVALID = Kind(422, "invalid", "The request is not valid")
IDEMPOTENCY_KEY_REUSED = Kind(422, "idempotency_key_reused", "The idempotency key was used for something else")
QUEUE_FULL = Kind(429, "queue_full", "The queue is full")
RATE_LIMITED = Kind(429, "rate_limited", "Too many calls")
INTERNAL = Kind(500, "internal", "Internal error")
UNAVAILABLE = Kind(503, "unavailable", "The database is unavailable")
TOKENS_UNAVAILABLE = Kind(503, "tokens_unavailable", "Access tokens cannot be checked")
STORE_FULL = Kind(503, "store_full", "The database is nearly full")
DURABILITY_NOT_MET = Kind(503, "durability_not_met", "The job is not as safe as was asked")

#: Why a database server is unfit to keep jobs, by the code of what `queueing.audit.check_server` found.
UNFIT = {
    "version": Kind(503, "server_too_old", "The database is too old"),
    "role": Kind(503, "server_is_replica", "The database is a replica"),
    "eviction": Kind(503, "server_evicts", "The database may drop jobs"),
    "journal": Kind(503, "server_volatile", "The database forgets jobs when it restarts"),
    "journal_write": Kind(503, "journal_not_written", "The database cannot write its journal"),
}
UNFIT_DETAIL = "The database server is not set up to keep jobs; `manage.py doctor` tells more."

#: Kinds named by their status alone.
BY_STATUS = {
    kind.status: kind
    for kind in (
        BAD_REQUEST,
        Kind(401, "unauthenticated", "Unauthenticated"),
        Kind(403, "forbidden", "Forbidden"),
        NOT_FOUND,
        Kind(405, "method_not_allowed", "Method not allowed"),
        Kind(406, "not_acceptable", "Not acceptable"),
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INTERNAL,
    )
}


class Refusal(Exception):
    """A request that is answered with a problem of `kind`."""

    def __init__(
        self, kind: Kind, detail: str, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None,
        state: State | None = None, job_id: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.state = state
        self.job_id = job_id


def invalid(pointer: str, detail: str) -> Refusal:
    """Return the refusal of a body that is well formed, for what is wrong with one member of it."""
    error = FieldError(pointer=pointer, detail=shortened(detail))
    return Refusal(INVALID, "A member of the body is not valid.", errors=[error])


def invalid_parameter(name: str, detail: str) -> Refusal:
    """Return the refusal of a query string for what is wrong with one parameter."""
    error = FieldError(parameter=shortened(name), detail=shortened(detail))
    return Refusal(INVALID_PARAMETER, "A parameter of the query is not valid.", errors=[error])


def shortened(detail: str) -> str:
    """Return `detail`, cut when a client's text has made it long."""
    return detail if len(detail) <= MAX_DETAIL_CHARS else f"{detail[:MAX_DETAIL_CHARS]}..."


def kind_of_status(status: int) -> Kind:
    """Return the kind of a problem of which only the status is known."""
    return BY_STATUS.get(status) or Kind(status, f"http_{status}", HTTPStatus(status).phrase)


#: What the queue raises, and how it is answered; an error that is not here is one of ours: 500.
_REFUSALS: dict[type[QueueingError], Callable[[Any], Refusal]] = {
    PayloadTooLarge: lambda error: Refusal(
        TOO_LARGE,
        f"The payload has {error.size_bytes} bytes, the limit is {error.limit_bytes}.",
        errors=[FieldError(pointer="/payload", detail="is too large")],
    ),
    InvalidJob: lambda error: invalid(f"/{error.field}", error.reason),
    InvalidLimit: lambda error: invalid("/" + error.field.replace(".", "/"), error.reason),
    JobNotFound: lambda _: Refusal(JOB_NOT_FOUND, "No job has this id; finished jobs are deleted after a time."),
    WrongState: lambda error: Refusal(WRONG_STATE, f"The job is {error.state}.", state=State(error.state)),
    QueueFull: lambda error: Refusal(
        QUEUE_FULL,
        f"As many jobs wait in {error.queue} as it may hold.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    ),
    SubmissionMismatch: lambda _: Refusal(
        IDEMPOTENCY_KEY_REUSED, "Another body was sent with this Idempotency-Key in the last 24 hours."
    ),
    DurabilityNotMet: lambda error: Refusal(
        DURABILITY_NOT_MET,
        f"{error.level} was asked for, but {error.reason}. "
        + (f"Job {error.job_id} is stored less safely and may run." if error.job_id else "Nothing was stored."),
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        job_id=error.job_id,
    ),
    StoreFull: lambda error: Refusal(
        STORE_FULL,
        f"Nothing new is accepted: {error.reason}. Nothing was stored.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    ),
    StoreUnavailable: lambda _: Refusal(
        UNAVAILABLE,
        "The database does not answer now. What was asked may or may not have been done.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    ),
}


def refusal_of(error: Exception) -> Refusal | None:
    """Return how an error is answered, None for one that nobody foresaw."""
    if isinstance(error, Refusal):
        return error
    for raised in type(error).__mro__:
        if raised in _REFUSALS:
            return _REFUSALS[raised](error)
    return _refusal_of_framework(error)


def _refusal_of_framework(error: Exception) -> Refusal | None:
    if isinstance(error, Http404):
        return Refusal(NOT_FOUND, _DETAILS[404])
    if isinstance(error, PermissionDenied):
        return Refusal(kind_of_status(403), _DETAILS[403])
    if isinstance(error, APIException):
        return Refusal(kind_of_status(error.status_code), shortened(str(error.detail)))
    return None


def problem_of(request: HttpRequest, refusal: Refusal) -> Problem:
    """Return a refusal as a problem document, and count it if it is of a submission."""
    kind = refusal.kind
    note_problem(request, kind.code)
    return Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=refusal.detail,
        code=kind.code,
        request_id=request_id_of(request),
        errors=list(refusal.errors) or msgspec.UNSET,
        state=msgspec.UNSET if refusal.state is None else refusal.state,
        job_id=refusal.job_id or msgspec.UNSET,
    )


def answer(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Return a refusal as the response to a request."""
    document = msgspec.json.encode(problem_of(request, refusal))
    return HttpResponse(document, status=refusal.kind.status, content_type=CONTENT_TYPE, headers=dict(refusal.headers))


def answer_to(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an error that left a view (DRF's EXCEPTION_HANDLER); None lets an unforeseen one go on to Django's 500."""
    refusal = refusal_of(error)
    return None if refusal is None else answer(context["request"], refusal)


_DETAILS = {
    400: "The request cannot be understood.",
    403: "This is not allowed.",
    404: "Nothing is at this address.",
    405: "This address does not know the method.",
    500: "Something went wrong here; the request id finds it in the log.",
}


def answer_to_status(request: HttpRequest, status: int) -> HttpResponse:
    """Return the problem of a status alone."""
    kind = kind_of_status(status)
    return answer(request, Refusal(kind, _DETAILS.get(status, f"{kind.title}.")))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django finds suspicious (handler400)."""
    if isinstance(exception, DisallowedHost):
        return answer(request, Refusal(BAD_REQUEST, "The Host header names no host that is served here."))
    return answer_to_status(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Answer what is not allowed (handler403)."""
    return answer_to_status(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Answer an address that leads nowhere (handler404)."""
    return answer_to_status(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that nobody foresaw (handler500); Django has logged it."""
    return answer_to_status(request, 500)
