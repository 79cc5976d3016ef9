"""What holds for every answer: it carries the request's id, and an error is a problem document."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from jobapi.problems import CONTENT_TYPE, answer_to_status
from jobapi.request_ids import HEADER, request_id_of, serving

FOR_OTHERS = ("/admin/", "/dashboard/", "/oauth/")  # pages stay pages, and errors of OAuth as RFC 6749 has them
NOT_STORED = ("/api/v1/", "/livez", "/readyz")
KEPT_HEADERS = ("Allow", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate")


class FrontDoorMiddleware:
    """Name the request in every answer and log line, forbid to store answers, and turn error pages into problems.

    It stands first, so that it sees the answers of all others, Django's refusal of a host included.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with serving(request):
            return self._answer(request)

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
