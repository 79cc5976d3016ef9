"""Middleware that only pages need: each takes 5 to 30 us, which an answer of the API would wait for."""

from __future__ import annotations

from typing import Any

from csp import middleware as csp
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest

CALLS = ("/api/v1/",)
PROBES = ("/livez", "/readyz", "/metrics")


class _ForPages:
    """Lets requests for `others` pass by."""

    get_response: Any
    others: tuple[str, ...] = CALLS

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request."""
        if request.path_info.startswith(self.others):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]  # of the middleware that comes with it


class PolicyMiddleware(_ForPages, csp.CSPMiddleware):
    """Sends the content security policy (setting CONTENT_SECURITY_POLICY)."""

    others = CALLS + PROBES


class SessionMiddleware(_ForPages, sessions.SessionMiddleware):
    """Knows the session of staff."""


class AuthenticationMiddleware(_ForPages, auth.AuthenticationMiddleware):
    """Knows who of staff it is; calls are made with tokens."""


class MessageMiddleware(_ForPages, messages.MessageMiddleware):
    """Reads messages to staff (django.contrib.messages)."""

    others = CALLS + PROBES
