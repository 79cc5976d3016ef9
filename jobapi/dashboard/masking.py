"""What people see of a payload: secrets masked, numbers exact, the text of a bounded length.

A name is secret when it contains one of MASKED_KEYS, whatever its case, hyphens and underscores: `authToken` does.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings

MASK = "***"
NO_JSON = "(the stored bytes are no JSON)"
MAX_SHOWN_CHARS = 20_000
MAX_PREVIEW_CHARS = 100
MAX_PREVIEWED_BYTES = 16 * 1024  # of a larger document a list tells the size alone

_SCHEMES = re.compile(r"\b(bearer|basic|digest)\s+[\w.~+/=-]{4,}", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
# Marks that reorder what follows, or break a line in some readers: text could look like something else
_MISLEADING = re.compile("[\u0080-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: neither rounded nor spelled otherwise."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A document as text for people. `size_bytes` is that of the whole; `is_cut` when the text is not all of it."""

    text: str
    size_bytes: int
    is_cut: bool = False


def shown(document: bytes, *, reveal: bool = False) -> Shown:
    """Return a JSON document over several lines, masked unless `reveal`."""
    return _shown(document, reveal, "\n", MAX_SHOWN_CHARS)


def preview(document: bytes) -> Shown:
    """Return the beginning of a JSON document in one line, masked."""
    if len(document) > MAX_PREVIEWED_BYTES:
        return Shown(text="", size_bytes=len(document), is_cut=True)
    return _shown(document, False, "", MAX_PREVIEW_CHARS)


def _shown(document: bytes, reveal: bool, line_break: str, limit: int) -> Shown:
    try:
        value = read(document)
        text = write(value if reveal else masked(value), line_break)
    except (ValueError, RecursionError):
        text = document.decode(errors="replace") if reveal else NO_JSON
    return Shown(text=text[:limit], size_bytes=len(document), is_cut=len(text) > limit)


def read(document: bytes) -> Any:
    """Return the value of JSON bytes with every number as it is written; raises ValueError or RecursionError."""
    return json.loads(document, parse_int=Number, parse_float=Number)


def masked(value: Any) -> Any:
    """Return a value with what lies under secret names, and the secrets in texts, masked at any depth."""
    if isinstance(value, dict):
        return {name: MASK if is_secret(name) else masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return mask_text(value) if isinstance(value, str) else value


def is_secret(name: str) -> bool:
    """Whether what a name stands for is nobody's business."""
    plain = _plain(name)
    return any(key in plain for key in _secret_names(tuple(settings.MASKED_KEYS)))


def mask_text(text: str) -> str:
    """Return a text without the credentials it may quote: `Bearer x`, `https://name:password@host`, `password=x`."""
    text = _USERINFO.sub(f"{MASK}@", _SCHEMES.sub(rf"\1 {MASK}", text))
    return _assignments(tuple(settings.MASKED_KEYS)).sub(rf"\1{MASK}", text)


def write(value: Any, line_break: str = "", /) -> str:
    """Return a value as JSON text; with a line break every member has a line of its own."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, str):
        return _quoted(value)
    if not isinstance(value, dict | list):
        return json.dumps(value)
    inner = line_break + "  " if line_break else ""
    if isinstance(value, dict):
        members = [f"{_quoted(name)}: {write(member, inner)}" for name, member in value.items()]
        opening, closing = "{", "}"
    else:
        members = [write(member, inner) for member in value]
        opening, closing = "[", "]"
    if not members:
        return opening + closing
    return opening + inner + f",{inner or ' '}".join(members) + line_break + closing


def _quoted(text: str) -> str:
    return _MISLEADING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


@functools.lru_cache(maxsize=8)
def _secret_names(keys: tuple[str, ...]) -> frozenset[str]:
    return frozenset(filter(None, map(_plain, keys)))


@functools.lru_cache(maxsize=8)
def _assignments(keys: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds the values that a text gives to secret names, as in `password=x` or `"api-key": "x"`."""
    names = "|".join(r"[\W_]?".join(re.escape(letter) for letter in name) for name in sorted(_secret_names(keys)))
    value = r"""(?:"[^"]*"?|'[^']*'?|[^\s,;&"'}\])]+)"""
    # Bounded, or a text that repeats a name would be searched in quadratic time
    return re.compile(rf"""((?:{names or "(?!)"})\w{{0,20}}["']?\s{{0,4}}[:=]\s{{0,4}}){value}""", re.IGNORECASE)
