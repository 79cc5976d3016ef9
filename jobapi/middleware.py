"""What holds for every answer: it carries the request's id, and an error is a problem document; and how calls go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from axes.middleware import AxesMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from jobapi.access import ROUTE_KEY
from jobapi.problems import CONTENT_TYPE, answer_to_status
from jobapi.request_ids import HEADER, TRACEPARENT_KEY, request_id_of, serving, traceparent_of
from queueing.traces import NO_SPAN, Span, is_on, span

Handler = Callable[[HttpRequest], HttpResponseBase]

CALLS = "/api/v1/"
FOR_OTHERS = ("/admin/", "/dashboard/", "/oauth/")  # pages stay pages, and errors of OAuth as RFC 6749 has them
FOR_PAGES = (
    WhiteNoiseMiddleware,
    SessionMiddleware,
    CsrfViewMiddleware,  # no cookie makes a call
    AuthenticationMiddleware,
    MessageMiddleware,
    AxesMiddleware,
)
NOT_STORED = (CALLS, "/livez", "/readyz")
NOT_TRACED = ("/livez", "/readyz", "/metrics")
KEPT_HEADERS = ("Allow", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate")


class FrontDoorMiddleware:
    """Name the request in every answer and log line, forbid to store answers, and turn error pages into problems.

    It stands first, so that it sees the answers of all others, Django's refusal of a host included.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with _traced(request) as entered:
            request.META[TRACEPARENT_KEY] = entered.traceparent
            with serving(request):
                response = self._answer(request)
            _note(entered, request, response)
            return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= 400:
            response = _as_problem(request, response)
        if response.status_code >= 400 or request.path.startswith(NOT_STORED):
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers[HEADER] = request_id_of(request)
        return response


def _as_problem(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Return the answer as a problem; a page stays a page where people read it."""
    if response.headers.get("Content-Type") == CONTENT_TYPE or request.path.startswith(FOR_OTHERS):
        return response
    problem = answer_to_status(request, response.status_code)
    for name in KEPT_HEADERS:
        if name in response.headers:
            problem.headers[name] = response.headers[name]
    return problem


def _traced(request: HttpRequest) -> AbstractContextManager[Span]:
    if not is_on() or request.path in NOT_TRACED:
        return nullcontext(NO_SPAN)
    attributes = {
        "http.request.method": str(request.method),
        "url.path": request.path,
        "url.scheme": str(request.scheme),
        "jobapi.request_id": request_id_of(request),
    }
    return span(str(request.method), "server", parent=traceparent_of(request), attributes=attributes)


def _note(entered: Span, request: HttpRequest, response: HttpResponseBase) -> None:
    """Say where a request led and how it was answered, in its span and for the access log."""
    route = request.resolver_match.route.strip("^$") if request.resolver_match else ""
    request.META[ROUTE_KEY] = route
    entered.note(
        {"http.response.status_code": response.status_code, "http.route": route},
        name=f"{request.method} {route}".rstrip(),
    )
    if response.status_code >= 500:
        entered.fail(str(response.status_code))


class CallsMiddleware:
    """Take calls of the API past the middleware that follows and is for pages alone: a tenth of what a call takes.

    The settings name that middleware all the same, for Django's checks and those of others look for it there.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self._beyond_pages = beyond_pages(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(CALLS):
            return self._beyond_pages(request)
        return self.get_response(request)


def beyond_pages(get_response: Handler) -> Handler:
    """Return what a chain of middleware leads to when that for pages, at its beginning, is left out.

    Django hands a middleware the next one inside a function that turns exceptions into answers.
    """
    while isinstance(middleware := getattr(get_response, "__wrapped__", None), FOR_PAGES):
        get_response = cast("Handler", middleware.get_response)
    return get_response
