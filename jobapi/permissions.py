"""Who may do what: one table of every address and method, deny by default.

The table is held complete by a test that walks the addresses: an address without a row is refused to everybody, in the
tests and at run time, as soon as authorization is on.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from jobapi.authentication import caller_of, insufficient, is_open, token_of
from jobapi.problems import Refusal, answer, kind_of_status
from jobapi.proxies import is_in
from jobapi.tokens import MANAGE, READ, WRITE

OPEN = "open"  # to anyone
MONITORS = "monitors"  # to those who watch the system: see may_monitor
STAFF_PAGES = frozenset({"admin"})  # namespaces whose views ask for Django's own permissions

ACCESS: dict[str, dict[str, str]] = {
    "job-list": {"GET": READ, "POST": WRITE},
    "job-bulk": {"POST": WRITE},
    "job-detail": {"GET": READ, "DELETE": WRITE},
    "job-cancel": {"POST": WRITE},
    "job-requeue": {"POST": WRITE},
    "queue-list": {"GET": READ},
    "queue-detail": {"GET": READ, "PATCH": MANAGE},
    "queue-pause": {"POST": MANAGE},
    "queue-resume": {"POST": MANAGE},
    "queue-purge": {"POST": MANAGE},
    "queue-requeue-dead": {"POST": MANAGE},
    "worker-list": {"GET": MANAGE},  # tells hosts, and the jobs of all clients
    "livez": {"GET": OPEN},
    "readyz": {"GET": OPEN},
    "metrics": {"GET": MONITORS},
    "openapi": {"GET": OPEN},
    "docs": {"GET": OPEN},
    "redoc": {"GET": OPEN},
    "docs-return": {"GET": OPEN},
    "dashboard": {"GET": OPEN},  # leads to the admin pages
    "oauth2_provider:oauth-server-metadata": {"GET": OPEN},
    "oauth2_provider:oauth-resource-metadata": {"GET": OPEN},
    "oauth2_provider:authorize": {"GET": OPEN, "POST": OPEN},  # of staff, by their session
    "oauth2_provider:token": {"POST": OPEN},  # these three look at the client's own credentials
    "oauth2_provider:revoke-token": {"POST": OPEN},
    "oauth2_provider:introspect": {"POST": OPEN},
}

logger = logging.getLogger(__name__)


class ScopeMiddleware:
    """Let a request through to its view if the table does."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponse | None:
        """Answer for the view when the caller may not do this."""
        try:
            check(request)
        except Refusal as refusal:
            return answer(request, refusal)
        return None


def check(request: HttpRequest) -> None:
    """Raise Refusal unless the caller may do what a request asks for."""
    match = request.resolver_match
    if match is None or STAFF_PAGES.intersection(match.app_names):
        return
    methods = ACCESS.get(match.view_name)
    needed = methods.get(_method_of(request)) if methods else None
    if needed == OPEN or (is_open() and needed != MONITORS):
        return
    if needed == MONITORS:
        _check_monitor(request)
        return
    caller = caller_of(request)
    if needed is None:
        raise _nothing_for_anybody(request, methods)
    if needed not in caller.scopes:
        logger.info(
            "%s lacks %s", caller.client_id, needed, extra={"action": "scope_refused", "client_id": caller.client_id}
        )
        raise insufficient(request, needed)


def _method_of(request: HttpRequest) -> str:
    return "GET" if request.method == "HEAD" else str(request.method)


def _nothing_for_anybody(request: HttpRequest, methods: dict[str, str] | None) -> Refusal:
    if not methods:
        return Refusal(kind_of_status(HTTPStatus.FORBIDDEN), "This is not allowed.")
    allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
    return Refusal(kind_of_status(405), f'Method "{request.method}" not allowed.', headers={"Allow": allowed})


# Those who watch the system


def _check_monitor(request: HttpRequest) -> None:
    if may_monitor(request) or (is_open() and not _monitors_are_named()):
        return
    if MANAGE not in caller_of(request).scopes or is_open():
        raise insufficient(request, MANAGE)


def may_monitor(request: HttpRequest) -> bool:
    """Whether a request comes from a network, or with the token, that the settings name for monitoring."""
    return _has_monitoring_token(request) or is_in(request.META.get("REMOTE_ADDR", ""), settings.MONITORING_NETWORKS)


def sees_details(request: HttpRequest) -> bool:
    """Whether an answer of a probe may tell more than whether all is well: to monitors and staff."""
    return may_monitor(request) or (settings.SESSION_COOKIE_NAME in request.COOKIES and _is_staff(request))


def _is_staff(request: HttpRequest) -> bool:
    user = get_user(request)
    return user.is_active and user.is_staff


def _monitors_are_named() -> bool:
    return bool(settings.MONITORING_TOKEN or settings.MONITORING_NETWORKS)


def _has_monitoring_token(request: HttpRequest) -> bool:
    if not settings.MONITORING_TOKEN or "Authorization" not in request.headers:
        return False
    try:
        return hmac.compare_digest(token_of(request).encode(), settings.MONITORING_TOKEN.encode())
    except Refusal:
        return False
