"""Tokens of another issuer: signed ones, verified with the issuer's keys, and opaque ones, of which it is asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import jwt

from jobapi.outside import LIMIT_SECONDS, OutsideError, ask
from jobapi.tokens import Grant, IssuerUnavailable, TokenRefused, caller_of_claims

REFETCH_SECONDS = 60  # at least between two fetches of keys, whatever key ids clients make up
RETRY_SECONDS = 5  # after a fetch that failed while there are no keys at all
REFRESH_SECONDS = 300  # an issuer that takes a key back is believed so late
KEYS_SECONDS = 3600  # keys serve so long while the issuer does not answer
METADATA_SECONDS = 3600
BREAK_SECONDS = 1  # nobody else waits for an introspection endpoint that has just failed
LEEWAY_SECONDS = 10  # between two clocks

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
OF_TYPE = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA",)}
KEYS_INSIDE = frozenset({"jku", "jwk", "x5u", "x5c"})  # a token that brings, or points to, its own key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token of the issuer must be like."""

    issuer: str
    audience: str  # for opaque tokens it may be empty: not looked at
    algorithms: frozenset[str] = ALGORITHMS
    types: frozenset[str] = frozenset({"at+jwt"})
    client_claim: str = "client_id"
    scope_claim: str = "scope"


class Metadata:
    """What the issuer says of itself (RFC 8414, or OpenID Connect Discovery), asked anew each hour."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._found: dict[str, Any] = {}
        self._until = 0.0

    def address(self, name: str, until: float) -> str:
        """Return one of the issuer's addresses; raises OutsideError."""
        if monotonic() >= self._until:
            self._found = self._ask(until)
            self._until = monotonic() + METADATA_SECONDS
        address = self._found.get(name)
        if not isinstance(address, str):
            raise OutsideError(f"the issuer's metadata has no {name}")
        return address

    def forget(self) -> None:
        """Ask anew next time: an address did not serve."""
        self._until = 0.0

    def _ask(self, until: float) -> dict[str, Any]:
        parts = urlsplit(self._issuer)
        path = parts.path.rstrip("/")
        try:
            found = ask(f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}", until=until)
        except OutsideError as error:
            if error.status != 404:
                raise
            found = ask(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration", until=until)
        if found.get("issuer") != self._issuer:
            raise OutsideError("the metadata is of another issuer")
        return found


class Keys:
    """The issuer's public keys, by key id and algorithm. One thread fetches; who has keys does not wait for it."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._keys: dict[tuple[str, str], Any] = {}
        self._tried_at = self._fetched_at = float("-inf")
        self._fetching = threading.Lock()

    def find(self, kid: str, algorithm: str) -> Any:
        """Return a key; raises TokenRefused when the issuer has no such key, IssuerUnavailable when it has not said."""
        if self._is_due(kid, algorithm):
            self._fetch(kid, algorithm)
        keys = self._current()
        if not keys:
            raise IssuerUnavailable("the issuer's keys are not known")
        if (kid, algorithm) not in keys:
            raise TokenRefused("signed with a key that the issuer does not have")
        return keys[kid, algorithm]

    def _current(self) -> dict[tuple[str, str], Any]:
        return self._keys if monotonic() < self._fetched_at + KEYS_SECONDS else {}

    def _is_due(self, kid: str, algorithm: str) -> bool:
        now, keys = monotonic(), self._current()
        if not keys:
            return now >= self._tried_at + RETRY_SECONDS
        is_wanted = (kid, algorithm) not in keys or now >= self._fetched_at + REFRESH_SECONDS
        return is_wanted and now >= self._tried_at + REFETCH_SECONDS

    def _fetch(self, kid: str, algorithm: str) -> None:
        until = monotonic() + LIMIT_SECONDS
        if not self._fetching.acquire(timeout=0 if self._current() else LIMIT_SECONDS):
            return
        try:
            if self._is_due(kid, algorithm):
                self._try(until)
        finally:
            self._fetching.release()

    def _try(self, until: float) -> None:
        try:
            self._keys = _usable(ask(self._metadata.address("jwks_uri", until), until=until))
            self._fetched_at = monotonic()
        except OutsideError as error:
            self._metadata.forget()
            logger.warning("the issuer's keys cannot be fetched: %s", error, extra={"action": "keys_unavailable"})
        finally:
            self._tried_at = monotonic()  # not before: who has no keys waits for those that are on their way


def _usable(found: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Return the public signing keys of a key set (RFC 7517), by key id and algorithm; others are left out."""
    keys: dict[tuple[str, str], Any] = {}
    listed = found.get("keys")
    for key in listed if isinstance(listed, list) else ():
        if not isinstance(key, dict) or key.get("use", "sig") != "sig" or "d" in key:
            continue
        algorithms = OF_TYPE.get(str(key.get("kty")), ())
        for algorithm in algorithms:
            if key.get("alg", algorithm) == algorithm:
                try:
                    keys[str(key.get("kid", "")), algorithm] = jwt.PyJWK(key, algorithm)
                except jwt.PyJWTError:
                    continue
    if not keys:
        raise OutsideError("there is no usable key in the issuer's key set")
    return keys


class Signed:
    """Checks JWTs (RFC 9068)."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._keys = Keys(Metadata(expected.issuer))

    def __call__(self, token: str) -> Grant:
        """Return what a token says; raises TokenRefused and IssuerUnavailable."""
        try:
            claims = self._verified(token)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise TokenRefused(f"{type(error).__name__}") from None
        caller = caller_of_claims(
            claims, client_claim=self._expected.client_claim, scope_claim=self._expected.scope_claim
        )
        return Grant(caller=caller, expires_at=float(claims["exp"]))

    def _verified(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        kind = str(header.get("typ", "")).lower().removeprefix("application/")
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if kind not in self._expected.types:
            raise TokenRefused("not an access token, by its typ")
        if algorithm not in self._expected.algorithms:
            raise TokenRefused("signed with an algorithm that is not allowed")
        if KEYS_INSIDE & header.keys() or "crit" in header or not isinstance(kid, str):
            raise TokenRefused("a header that is not allowed")
        return jwt.decode(
            token,
            self._keys.find(kid, algorithm),
            algorithms=[algorithm],
            audience=self._expected.audience,
            issuer=self._expected.issuer,
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["iss", "aud", "exp", "iat", "sub", *(["jti"] if kind == "at+jwt" else [])],
                "enforce_minimum_key_length": True,
            },
        )


class Opaque:
    """Asks the issuer of tokens (RFC 7662). When it has just failed to answer, nobody else waits for it."""

    def __init__(self, expected: Expected, credentials: tuple[str, str]) -> None:
        self._expected = expected
        self._credentials = credentials
        self._metadata = Metadata(expected.issuer)
        self._broken_until = 0.0

    def __call__(self, token: str) -> Grant:
        """Return what the issuer says of a token; raises TokenRefused and IssuerUnavailable."""
        claims = self._ask(token)
        if claims.get("active") is not True:
            raise TokenRefused("not active")
        self._check(claims)
        caller = caller_of_claims(
            claims, client_claim=self._expected.client_claim, scope_claim=self._expected.scope_claim
        )
        return Grant(caller=caller, expires_at=claims.get("exp"))

    def _ask(self, token: str) -> dict[str, Any]:
        if monotonic() < self._broken_until:
            raise IssuerUnavailable("the introspection endpoint has just failed")
        until = monotonic() + LIMIT_SECONDS
        try:
            address = self._metadata.address("introspection_endpoint", until)
            form = {"token": token, "token_type_hint": "access_token"}
            return ask(address, until=until, form=form, credentials=self._credentials)
        except OutsideError as error:
            self._broken_until = monotonic() + BREAK_SECONDS
            self._metadata.forget()
            logger.warning("the issuer tells nothing of tokens: %s", error, extra={"action": "introspection_failed"})
            raise IssuerUnavailable(str(error)) from None

    def _check(self, claims: dict[str, Any]) -> None:
        """Look at what else was said: an issuer's mistake must not become ours."""
        now = time()
        if not _is_later(claims.get("exp"), now) or not _is_later(now + LEEWAY_SECONDS, claims.get("nbf")):
            raise TokenRefused("active, but out of its time")
        if claims.get("iss", self._expected.issuer) != self._expected.issuer:
            raise TokenRefused("of another issuer")
        if self._expected.audience and self._expected.audience not in _listed(claims.get("aud")):
            raise TokenRefused("for another audience")


def _is_later(one: Any, other: Any) -> bool:
    """Whether one moment is later than another; a moment that nobody named always fits, what is no moment never."""
    if one is None or other is None:
        return True
    are_moments = all(isinstance(moment, int | float) and not isinstance(moment, bool) for moment in (one, other))
    return bool(are_moments and one > other)


def _listed(audience: Any) -> Collection[Any]:
    return audience if isinstance(audience, list) else [audience]
