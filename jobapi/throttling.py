"""How often a client may call: counted in the database that all API processes share, and told in every answer.

A window begins with a client's first call and lasts as long as the limit says; calls beyond the limit are refused until
it ends. The headers are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from jobapi.authentication import client_id_of
from jobapi.counters import CALLS_LIMITED
from jobapi.problems import RATE_LIMITED, Refusal, answer

LIMITED = "/api/v1/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
SITE_PREFIX_BITS = 64  # of an IPv6 address: the rest is the site's own choice, and may change with every call
SECONDS_BETWEEN_WARNINGS = 60

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many calls of a sort one client may make, in how many seconds."""

    name: str
    calls: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls a client has made in its window, this one and refused ones among them, and when that ends."""

    calls: int
    ends_at: float  # by the monotonic clock

    @property
    def ends_in_seconds(self) -> int:
        """How long the window lasts from now; an answer may have been held back since the call was counted."""
        return max(1, math.ceil(self.ends_at - monotonic()))


class ThrottlingMiddleware:
    """Count the calls of each client, tell it how many are left, and refuse those beyond the limit.

    It is not there as long as no limit is set. Calls that cannot be counted are served.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._limits = {name: Limit(name, *limit) for name, limit in settings.RATE_LIMITS.items() if limit}
        self._warn_at = 0.0
        self._lock = threading.Lock()
        if not self._limits:
            raise MiddlewareNotUsed

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        limit = self._limits.get(sort_of(request)) if request.path.startswith(LIMITED) else None
        usage = self._count(limit, client_of(request)) if limit else None
        if limit is None or usage is None:
            return self.get_response(request)
        response = self.get_response(request) if usage.calls <= limit.calls else _refuse(request, limit, usage)
        for name, value in headers_of(limit, usage).items():
            response.headers[name] = value
        return response

    def _count(self, limit: Limit, client: str) -> Usage | None:
        try:
            return count(limit, client)
        except Exception as error:  # noqa: BLE001 - whatever hinders the counting must not hinder the call
            self._warn(error)
            return None

    def _warn(self, error: Exception) -> None:
        with self._lock:
            due = monotonic() >= self._warn_at
            if due:
                self._warn_at = monotonic() + SECONDS_BETWEEN_WARNINGS
        if due:
            logger.warning("calls are served uncounted: %s", error, extra={"action": "rate_limits_unavailable"})


def sort_of(request: HttpRequest) -> str:
    """Return which limit a request falls under."""
    return "reads" if request.method in SAFE_METHODS else "writes"


def client_of(request: HttpRequest) -> str:
    """Return who calls, as limits tell clients apart: the client of a valid token, or else the remote address.

    Of an IPv6 address the /64 counts. An IPv4 client that came over a socket for both is known by its IPv4 address; all
    on a unix socket are one.
    """
    client_id = client_id_of(request)
    if client_id:
        return f"client {client_id}"
    sent: str = request.META.get("REMOTE_ADDR", "")
    try:
        address = ipaddress.ip_address(sent)
    except ValueError:
        return sent
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), SITE_PREFIX_BITS), strict=False))


def count(limit: Limit, client: str) -> Usage:
    """Count a call and return how the client's window stands, in one round trip; raises what the cache raises.

    The three commands are one transaction: no call is counted twice or missed, and no count is left without an end.
    """
    cache: Any = caches["default"]
    key = cache.make_key(f"calls:{limit.name}:{limit.seconds}:{client}")
    pipeline = cache.client.get_client(write=True).pipeline()
    calls, _, ends_in_ms = pipeline.incr(key).expire(key, limit.seconds, nx=True).pttl(key).execute()
    return Usage(calls, monotonic() + ends_in_ms / 1000)


def headers_of(limit: Limit, usage: Usage) -> dict[str, str]:
    """Return what an answer says of a limit and of what is left."""
    left = max(0, limit.calls - usage.calls)
    return {
        "RateLimit-Policy": f'"{limit.name}";q={limit.calls};w={limit.seconds}',
        "RateLimit": f'"{limit.name}";r={left};t={usage.ends_in_seconds}',
    }


def _refuse(request: HttpRequest, limit: Limit, usage: Usage) -> HttpResponseBase:
    CALLS_LIMITED.labels(limit.name).inc()
    detail = f"A client may make {limit.calls} {limit.name} in {limit.seconds} seconds."
    return answer(request, Refusal(RATE_LIMITED, detail, headers={"Retry-After": str(usage.ends_in_seconds)}))
