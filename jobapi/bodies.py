"""How a request's body becomes a struct: whole, of known length, JSON that all readers understand alike, valid."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec
from django.http import HttpRequest, UnreadablePostError

from jobapi.problems import (
    BAD_REQUEST,
    INCOMPLETE_BODY,
    LENGTH_REQUIRED,
    MALFORMED_JSON,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
    invalid,
    shortened,
)
from queueing import MAX_PAYLOAD_BYTES
from queueing.codec import check_json

JSON = "application/json"
NDJSON = "application/x-ndjson"
MERGE_PATCH = "application/merge-patch+json"

MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024  # a payload of the greatest size, and room for all else
MAX_BODY_DEPTH = 100  # above the payload's own limit, so that this one's error names the payload

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r"(?P<reason>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_MEMBER = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def read(request: HttpRequest, document: type[T]) -> T:
    """Return the body of a request as `document`, or raise Refusal."""
    body = read_bytes(request)
    check(body)
    return decode(body, document)


def read_optional(request: HttpRequest, document: type[T]) -> T:
    """Return the body of a request as `document`, its defaults when there is no body, or raise Refusal."""
    if _is_absent(request):
        return document()
    return read(request, document) if _length_of(request, MAX_BODY_BYTES) else document()


def _is_absent(request: HttpRequest) -> bool:
    """Whether the request has no body, told by no length; the server is asked whether bytes came nevertheless."""
    meta = request.META
    if meta.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in meta:
        return False
    # Only a server that ends the input by itself may be asked; HTTP/2 sends bodies without a length
    return not (meta.get("wsgi.input_terminated") and meta["wsgi.input"].read(1))


def _length_of(request: HttpRequest, limit_bytes: int) -> int:
    sent: str = request.META.get("CONTENT_LENGTH") or ""
    if not sent or "HTTP_TRANSFER_ENCODING" in request.META:
        raise Refusal(LENGTH_REQUIRED, "Send the body with a Content-Length; chunked bodies are not read.")
    if not (sent.isascii() and sent.isdigit()):
        raise Refusal(BAD_REQUEST, "The Content-Length is not a number.")
    if len(sent) > 18 or int(sent) > limit_bytes:
        raise Refusal(TOO_LARGE, f"The body is larger than {limit_bytes} bytes.")
    return int(sent)


def read_bytes(request: HttpRequest, types: Collection[str] = (JSON,), limit_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body of a request, of one of the media types, or raise Refusal."""
    length = _length_of(request, limit_bytes)
    _check_type(request, types)
    try:
        body = request.body
    except UnreadablePostError:
        body = b""
    if len(body) != length:
        raise Refusal(INCOMPLETE_BODY, "Fewer bytes came in time than the Content-Length says.")
    return body


def check(text: bytes) -> None:
    """Raise Refusal unless the text is JSON that all readers understand alike."""
    try:
        check_json(text, MAX_BODY_DEPTH)
    except ValueError as error:
        raise Refusal(MALFORMED_JSON, shortened(f"The body {error}.")) from None


def _check_type(request: HttpRequest, types: Collection[str]) -> None:
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "Send the body without a Content-Encoding.")
    charset = (request.content_params or {}).get("charset", "utf-8")
    if request.content_type not in types or charset.lower() not in ("utf-8", "utf8"):
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, f"Send the body as {' or '.join(types)}, in UTF-8.")


def decode(body: bytes, document: type[T]) -> T:
    """Return JSON text as `document`, or raise Refusal for the first member that is not valid."""
    try:
        return msgspec.json.decode(body, type=document)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except msgspec.DecodeError as error:
        raise Refusal(MALFORMED_JSON, shortened(str(error))) from None


def _invalid(message: str) -> Refusal:
    """Return the refusal of a body for what msgspec found wrong with it."""
    located = _PATH.fullmatch(message)
    reason, path = (located["reason"], located["path"]) if located else (message, "")
    pointer = "".join(f"/{name or index}" for name, index in _STEP.findall(path))
    member = _MEMBER.fullmatch(reason)
    if member is None:
        return invalid(pointer, reason.replace("`", ""))
    detail = "is not a known field" if member["what"] == "contains unknown" else "is required"
    return invalid(shortened(f"{pointer}/{_escaped(member['name'])}"), detail)


def _escaped(name: str) -> str:
    """Return a member's name as a step of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
