"""Access tokens: who calls with one, and what they may do.

Verifier     remembers what a check said, at most a minute and never past the token's end
├─ own       tokens of our own exchange server, found in the database by their hash
├─ signed    JWTs of another issuer (RFC 9068), verified with its public keys      see issuer.py
└─ opaque    tokens of another issuer that it tells about (RFC 7662)               see issuer.py
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Generic, TypeVar

from django.db import DatabaseError
from oauth2_provider.models import get_access_token_model

READ, WRITE, MANAGE = "jobs:read", "jobs:write", "queues:manage"
SCOPES = frozenset({READ, WRITE, MANAGE})

MAX_CACHED = 10_000  # tokens remembered; about 3 MB
MAX_REFUSED = 1_000  # kept apart, so that a flood of bad tokens drives no good one out
REFUSED_SECONDS = 5

_CLIENT_ID = re.compile(r"[!-~]{1,255}")


class TokenRefused(Exception):
    """The token is not valid; the reason is for the log."""


class IssuerUnavailable(Exception):
    """Nobody can tell now whether the token is valid; the reason is for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: a client, and its scopes. Without authorization it has no name and every scope."""

    client_id: str
    scopes: frozenset[str]

    def sees(self, owner: str) -> bool:
        """Whether the caller may know of an owner's jobs."""
        return owner == self.client_id or MANAGE in self.scopes


ANYONE = Caller(client_id="", scopes=SCOPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a valid token says: who calls, and until when (seconds since 1970; None when nobody said)."""

    caller: Caller
    expires_at: float | None


V = TypeVar("V")
Check = Callable[[str], Grant]  # raises TokenRefused, IssuerUnavailable


class Verifier:
    """Tells who calls with a token; a check that went well is good for `cache_seconds`, one that did not for 5."""

    def __init__(self, check: Check, *, cache_seconds: float) -> None:
        self._check = check
        self._cache_seconds = cache_seconds
        self._callers = _Cache[Caller](MAX_CACHED)
        self._refused = _Cache[str](MAX_REFUSED)

    def caller(self, token: str) -> Caller:
        """Return who calls; raises TokenRefused and IssuerUnavailable."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._callers.get(digest)
        return known if known is not None else self._look(token, digest)

    def _look(self, token: str, digest: bytes) -> Caller:
        reason = self._refused.get(digest)
        if reason is not None:
            raise TokenRefused(reason)
        try:
            grant = self._check(token)
        except TokenRefused as refused:
            self._refused.put(digest, str(refused), min(REFUSED_SECONDS, self._cache_seconds))
            raise
        left = self._cache_seconds if grant.expires_at is None else grant.expires_at - time()
        self._callers.put(digest, grant.caller, min(self._cache_seconds, left))
        return grant.caller


class _Cache(Generic[V]):
    """Values that last for some seconds, the oldest making room; for any thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[bytes, tuple[float, V]] = {}
        self._lock = threading.Lock()

    def get(self, key: bytes) -> V | None:
        found = self._values.get(key)
        return found[1] if found is not None and monotonic() < found[0] else None

    def put(self, key: bytes, value: V, seconds: float) -> None:
        if seconds <= 0:
            return
        with self._lock:
            self._values.pop(key, None)
            while len(self._values) >= self._size:
                del self._values[next(iter(self._values))]
            self._values[key] = (monotonic() + seconds, value)


def caller_of_claims(claims: Mapping[str, Any], *, client_claim: str, scope_claim: str) -> Caller:
    """Return who the claims of another issuer say calls, or raise TokenRefused."""
    client_id, scopes = claims.get(client_claim), claims.get(scope_claim, "")
    if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
        raise TokenRefused(f"no fit {client_claim}")
    if "cnf" in claims:
        raise TokenRefused("bound to a key of its sender (cnf), of which a bearer token is no proof")
    names = scopes.split() if isinstance(scopes, str) else scopes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TokenRefused(f"no fit {scope_claim}")
    return Caller(client_id=client_id, scopes=SCOPES.intersection(names))


def check_own(token: str) -> Grant:
    """Return what a token of our own exchange server says; raises TokenRefused and IssuerUnavailable.

    A client, or a person, who lost a right since the token was made has lost it. Only superusers hand on the
    right to steer queues.
    """
    digest = hashlib.sha256(token.encode()).hexdigest()
    fields = (
        "application__client_id",
        "application__scope",
        "scope",
        "expires",
        "user__is_active",
        "user__is_superuser",
    )
    try:
        found = get_access_token_model().objects.filter(token_checksum=digest).values_list(*fields).first()
    except DatabaseError as error:
        raise IssuerUnavailable(f"the database of tokens: {error}") from error
    if found is None or found[0] is None:
        raise TokenRefused("unknown")
    client_id, allowed, scope, expires, is_active, is_superuser = found
    if expires.timestamp() <= time():
        raise TokenRefused("expired")
    if is_active is False:
        raise TokenRefused("the person may not log in any more")
    scopes = SCOPES.intersection(scope.split()).intersection(allowed.split())
    if is_superuser is False:
        scopes -= {MANAGE}
    return Grant(caller=Caller(client_id=client_id, scopes=scopes), expires_at=expires.timestamp())
