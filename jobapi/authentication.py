"""Who calls: found out once a request, from its Authorization header alone (RFC 6750)."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass, field

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.urls import reverse

from jobapi.issuer import Expected, Opaque, Signed
from jobapi.problems import (
    BAD_REQUEST,
    BY_STATUS,
    INSUFFICIENT_SCOPE,
    INVALID_TOKEN,
    TOKENS_UNAVAILABLE,
    Kind,
    Refusal,
)
from jobapi.tokens import ANYONE, Caller, Check, IssuerUnavailable, TokenRefused, Verifier, check_own

MAX_TOKEN_CHARS = 8192
RETRY_AFTER_SECONDS = 2

_BEARER = re.compile(r"bearer +(?P<token>[A-Za-z0-9\-._~+/]+=*) *", re.IGNORECASE)
_META_KEY = "jobapi.caller"

logger = logging.getLogger(__name__)


def is_open() -> bool:
    """Whether anyone who reaches the API may use it: AUTH_MODE=none."""
    return bool(settings.AUTH_MODE == "none")


def caller_of(request: HttpRequest) -> Caller:
    """Return who sends a request, or raise Refusal; the token is looked at once a request."""
    if is_open():
        return ANYONE
    found: Caller | Refusal | None = request.META.get(_META_KEY)
    if found is None:
        found = request.META[_META_KEY] = _find_caller(request)
    if isinstance(found, Refusal):
        raise found
    return found


def client_id_of(request: HttpRequest) -> str:
    """Return the client that sends a request; empty without authorization, or when it is refused."""
    try:
        return caller_of(request).client_id
    except Refusal:
        return ""


def _find_caller(request: HttpRequest) -> Caller | Refusal:
    try:
        return verifier(Source.of_settings()).caller(token_of(request))
    except Refusal as refusal:
        return refusal
    except TokenRefused as refused:
        logger.info("token refused: %s", refused, extra={"action": "token_refused"})
        return challenge(request, INVALID_TOKEN, "The access token is not valid (any more).", error="invalid_token")
    except IssuerUnavailable as error:
        logger.warning("token not checked: %s", error, extra={"action": "token_not_checked"})
        detail = "Whether the access token is valid cannot be found out now. Nothing was done."
        return Refusal(TOKENS_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def token_of(request: HttpRequest) -> str:
    """Return the bearer token of a request, or raise Refusal; tokens in the query or the body are none."""
    header = request.headers.get("Authorization", "")
    if header.partition(" ")[0].lower() != "bearer":
        raise challenge(request, BY_STATUS[401], "Send an access token: Authorization: Bearer.")
    found = _BEARER.fullmatch(header)
    if found is None or len(found["token"]) > MAX_TOKEN_CHARS:
        raise challenge(request, BAD_REQUEST, "The Authorization header is malformed.", error="invalid_request")
    return found["token"]


def challenge(request: HttpRequest, kind: Kind, detail: str, *, error: str = "", scope: str = "") -> Refusal:
    """Return a refusal with its WWW-Authenticate header (RFC 6750, section 3; RFC 9728, section 5.1)."""
    said = {"error": error, "scope": scope, "resource_metadata": metadata_url(request)}
    parameters = ", ".join(f'{name}="{value}"' for name, value in said.items() if value)
    return Refusal(kind, detail, headers={"WWW-Authenticate": f"Bearer {parameters}".rstrip()})


def insufficient(request: HttpRequest, scope: str) -> Refusal:
    """Return the refusal of a caller who lacks a scope."""
    detail = f"The access token lacks the scope {scope}."
    return challenge(request, INSUFFICIENT_SCOPE, detail, error="insufficient_scope", scope=scope)


def metadata_url(request: HttpRequest) -> str:
    """Return where clients learn which authorization server to go to; empty when there is nowhere."""
    if is_open():
        return ""
    try:
        return public_url(request) + reverse("oauth2_provider:oauth-resource-metadata")
    except DisallowedHost:
        return ""


def public_url(request: HttpRequest) -> str:
    """Return the address that clients know this server by, without a slash at its end."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


# Which tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whose tokens are valid here; without an issuer those of our own exchange server."""

    expected: Expected | None
    introspection: tuple[str, str] | None = field(repr=False)
    cache_seconds: float

    @classmethod
    def of_settings(cls) -> Source:
        """Return what the settings say."""
        introspection = (settings.OAUTH_INTROSPECTION_CLIENT_ID, settings.OAUTH_INTROSPECTION_CLIENT_SECRET)
        return cls(
            expected=_expected() if settings.OAUTH_ISSUER else None,
            introspection=introspection if introspection[0] else None,
            cache_seconds=settings.OAUTH_CACHE_SECONDS,
        )


def _expected() -> Expected:
    return Expected(
        issuer=settings.OAUTH_ISSUER,
        audience=settings.OAUTH_AUDIENCE,
        algorithms=frozenset(settings.OAUTH_ALGORITHMS),
        types=frozenset(name.lower() for name in settings.OAUTH_TOKEN_TYPES),
        client_claim=settings.OAUTH_CLIENT_CLAIM,
        scope_claim=settings.OAUTH_SCOPE_CLAIM,
    )


_verifiers: dict[Source, Verifier] = {}
_making = threading.Lock()


def verifier(source: Source) -> Verifier:
    """Return the process's one verifier of a source's tokens: two would fetch twice and remember half."""
    found = _verifiers.get(source)
    if found is None:
        with _making:
            found = _verifiers.get(source) or Verifier(_check_of(source), cache_seconds=source.cache_seconds)
            _verifiers[source] = found
    return found


def _check_of(source: Source) -> Check:
    if source.expected is None:
        return check_own
    return Signed(source.expected) if source.introspection is None else Opaque(source.expected, source.introspection)
