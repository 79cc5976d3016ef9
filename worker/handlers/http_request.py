"""`http.request`: one HTTP request to an address that was checked first."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import httpcore2
import msgspec
from django.conf import settings

from worker.addresses import MAX_URL_LENGTH, AddressRefused, Endpoint, Target, parse_url, resolve
from worker.errors import GiveUp, RetryLater
from worker.payloads import read_payload
from worker.pinned import Deadline, PinnedBackend, tls_context
from worker.registry import handler

if TYPE_CHECKING:
    from worker.context import JobContext

MAX_TIMEOUT_SECONDS = 60
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_READ_BYTES = 64 * 1024
MAX_KEPT_BYTES = 4 * 1024
MAX_HEADER_VALUE = 1000
MAX_REASON_TEXT = 200

KEPT_HEADERS = ("content-type", "content-length", "etag", "last-modified", "location", "x-request-id")
TEXTUAL = re.compile(
    r"text/|application/(?:[\w.+-]+\+)?(?:json|xml)\b|application/x-www-form-urlencoded\b", re.IGNORECASE
)

# Headers of the connection (RFC 9110, section 7.6.1), of the framing, and one that would change what is read.
OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")]
HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e\t]{0,8000}\Z")]
Status = Annotated[int, msgspec.Meta(ge=200, le=599)]


class RequestFailed(Exception):
    """The request failed in a way that may pass: the network, the time, or trouble at the server."""


class HttpRequestPayload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    url: Annotated[str, msgspec.Meta(max_length=MAX_URL_LENGTH)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] | None = None
    headers: Annotated[dict[HeaderName, HeaderValue], msgspec.Meta(max_length=50)] = {}
    body: Any = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_SECONDS)] = 10.0
    expect_status: Status | list[Status] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request ready to be sent."""

    target: Target
    method: str
    headers: list[tuple[str, str]]
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was read of a response; `is_truncated` when its body goes on after `body`."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_truncated: bool

    def text(self, max_bytes: int) -> str | None:
        """Return the start of the body as text, None when it is not text."""
        encoded = self.headers.get("content-encoding", "identity") != "identity"
        if encoded or not TEXTUAL.match(self.headers.get("content-type", "")):
            return None
        is_whole = not self.is_truncated and len(self.body) <= max_bytes
        return codecs.getincrementaldecoder("utf-8")("replace").decode(self.body[:max_bytes], final=is_whole)


@handler("http.request")
def http_request(payload: Any, job: JobContext) -> dict[str, Any]:
    """Send the payload's request and return what came back.

    Raise `GiveUp` for what no retry can mend (the payload, the address, a redirect, a 4xx), `RetryLater`
    when the server says when to come back, and `RequestFailed` for the rest.
    """
    wish = read_payload(payload, HttpRequestPayload)
    deadline = Deadline(wish.timeout_seconds)
    try:
        target = parse_url(wish.url, settings.HTTP_REQUEST_ALLOWED_HOSTS)
        outgoing = _outgoing(wish, target, job.id)
        answer = _exchange(outgoing, resolve(target, deadline.left()), deadline)
    except AddressRefused as refused:
        raise GiveUp(str(refused)) from refused
    except (OSError, httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise RequestFailed(f"{type(error).__name__}: {error}") from error
    _judge(answer, wish.expect_status, f"{outgoing.method} {target.origin}")
    return _result(answer)


def _outgoing(wish: HttpRequestPayload, target: Target, job_id: str) -> Outgoing:
    content, content_type = _content(wish.body)
    method = wish.method or ("GET" if content is None else "POST")
    if content is None and method in {"POST", "PUT", "PATCH"}:
        content = b""  # RFC 9110, section 8.6: these say Content-Length: 0
    headers = {"user-agent": "jobapi", "accept": "*/*", "idempotency-key": job_id, **content_type}
    headers.update(_permitted(wish.headers))
    headers.update({"host": target.authority, "accept-encoding": "identity", "connection": "close"})
    return Outgoing(target=target, method=method, headers=list(headers.items()), content=content)


def _content(body: Any) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    if isinstance(body, str):
        return body.encode(), {"content-type": "text/plain; charset=utf-8"}
    return msgspec.json.encode(body), {"content-type": "application/json"}


def _permitted(headers: dict[str, str]) -> dict[str, str]:
    permitted = {name.lower(): value.strip(" \t") for name, value in headers.items()}
    refused = sorted(permitted.keys() & OWN_HEADERS)
    if refused:
        raise GiveUp(f"bad payload: a job may not set the header {', '.join(refused)}")
    return permitted


def _exchange(outgoing: Outgoing, endpoints: list[Endpoint], deadline: Deadline) -> Answer:
    """Send a request to the first endpoint that takes a connection.

    httpcore2 itself knows no redirects, cookies, decompression or environment: there is nothing to switch off.
    """
    target = outgoing.target
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    context = tls_context() if target.scheme == "https" else None
    backend = PinnedBackend(endpoints, deadline)
    with (
        httpcore2.HTTPConnection(url.origin, ssl_context=context, network_backend=backend) as connection,
        connection.stream(outgoing.method, url, headers=outgoing.headers, content=outgoing.content) as response,
    ):
        body = _read(response.iter_stream())
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    is_truncated = len(body) > MAX_READ_BYTES
    return Answer(status=response.status, headers=headers, body=body[:MAX_READ_BYTES], is_truncated=is_truncated)


def _read(chunks: Iterable[bytes]) -> bytes:
    """Return the body, or its start when it is too long: one byte or more over the limit tells."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_READ_BYTES:
            break
    return bytes(body)


def _judge(answer: Answer, expected: int | list[int] | None, asked: str) -> None:
    """Return if the status is a wanted one, raise what its failure means otherwise."""
    if _is_wanted(answer.status, expected):
        return
    reason = f"{asked} was answered with {answer.status}"
    if answer.status < 500 and answer.status not in {408, 429}:
        raise GiveUp(reason + _quoted(answer))
    delay_seconds = retry_after_seconds(answer.headers.get("retry-after"))
    if delay_seconds is not None:
        raise RetryLater(delay_seconds, reason + _quoted(answer))
    raise RequestFailed(reason + _quoted(answer))


def _is_wanted(status: int, expected: int | list[int] | None) -> bool:
    if expected is None:
        return 200 <= status < 300
    return status in expected if isinstance(expected, list) else status == expected


def _quoted(answer: Answer) -> str:
    text = " ".join((answer.text(MAX_REASON_TEXT) or "").split())
    return f": {text}" if text else ""


def _result(answer: Answer) -> dict[str, Any]:
    headers = {name: answer.headers[name][:MAX_HEADER_VALUE] for name in KEPT_HEADERS if name in answer.headers}
    result = {"status": answer.status, "headers": headers, "body_bytes": len(answer.body)}
    text = answer.text(MAX_KEPT_BYTES)
    if text:
        result["body"] = text
    if answer.is_truncated or len(answer.body) > MAX_KEPT_BYTES:
        result["body_truncated"] = True
    return result


def retry_after_seconds(value: str | None) -> float | None:
    """Return the delay of a `Retry-After` (RFC 9110, section 10.2.3), at most an hour; None if it is none."""
    if value is None:
        return None
    if value.isdecimal():
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    delay_seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(delay_seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
