"""One event, one line: the JSON that the API, the worker and the access log write (docs/logging.md has the fields)."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonEncoder, JsonFormatter

MAX_LINE_CHARS = 64 * 1024  # all of it is ASCII
CUTS = (MAX_LINE_CHARS, 8192, 1024, 128)  # characters that a text may have, until the line fits
MAX_ITEMS = 1000
MAX_DEPTH = 8
REDACTED = "[redacted]"
REDACTED_NAMES = (
    "authorization|cookie|credential|idempotency_?key|pass(word|wd|phrase)|payload|(private|api)_?key|secret|session"
    "|signature|token|^results?$"
)
HEAD = ("time", "level", "logger", "message")
ORIGIN = ("service", "env", "version", "host", "pid")
NOT_FOR_EXTRAS = frozenset([*HEAD, *ORIGIN, "truncated"])
NOT_EXTRAS = frozenset([*RESERVED_ATTRS, "request"])  # a request's text has the query, where clients put tokens

_ENCODER = json.JSONEncoder(separators=(",", ":"))


class LineFormatter(JsonFormatter):
    """Turn a record into one line of printable ASCII that is a JSON object, whatever is in the record.

    Extras are redacted by their names, however deep, and never take the place of a field of ours. A line has 64 KiB
    at most.
    """

    def __init__(self, *, service: str = "", env: str = "", version: str = "", redact: Iterable[str] = ()) -> None:
        super().__init__(reserved_attrs=list(NOT_EXTRAS))
        origin = {"service": service, "env": env, "version": version, "host": socket.gethostname()}
        self._origin = {name: value for name, value in origin.items() if value}
        names = [f"^{re.escape(_normal(name))}$" for name in redact]
        secret = re.compile("|".join([REDACTED_NAMES, *names]))
        self._is_secret = functools.lru_cache(1000)(lambda name: secret.search(_normal(name)) is not None)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end; made once for all handlers."""
        found: str | None = record.__dict__.get("_line")
        if found is None:
            found = record.__dict__["_line"] = self._line(self._fields(record))
        return found

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {**self._head(record), **self._extras(record), **self._origin, "pid": record.process}
        if record.exc_info and (error := self._error(record.exc_info)):
            fields["error"] = error
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields

    def _head(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            "time": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }

    def _extras(self, record: logging.LogRecord) -> dict[str, Any]:
        extras = {}
        for name, value in record.__dict__.items():
            if name in NOT_EXTRAS or value is None or (isinstance(value, str) and not value):
                continue
            if (shown := _name_of_extra(name)) is not None:
                extras[shown] = value
        return extras

    def _error(self, exc_info: Any) -> dict[str, str] | None:
        error = exc_info[1]
        if error is None:
            return None
        stack = str(self.formatException(exc_info))
        return {"type": type(error).__qualname__, "message": _text(error), "stack": stack}

    def _line(self, fields: dict[str, Any]) -> str:
        for max_chars in CUTS:
            plain, is_secret = _Plain(max_chars, self._is_secret), self._is_secret
            found = {
                name: value  # as it is, like most
                if type(value) is str and len(value) <= max_chars and not is_secret(name)
                else plain.item(name, value)
                for name, value in fields.items()
            }
            line = _encoded({**found, "truncated": True} if plain.is_cut else found)
            if len(line) <= MAX_LINE_CHARS:
                return line
        core = {name: found[name] for name in (*HEAD, *ORIGIN) if name in found}
        return _encoded({**core, "truncated": True})


@dataclass(slots=True)
class _Plain:
    """Makes values ones that JSON has; what is cut on the way is noted."""

    max_chars: int
    is_secret: Callable[[str], bool]
    is_cut: bool = False

    def item(self, name: str, value: Any, depth: int = 0) -> Any:
        """Return the value of a name, unless the name says that it is secret."""
        return REDACTED if self.is_secret(name) else self.value(value, depth)

    def value(self, value: Any, depth: int) -> Any:
        """Return a value as JSON has it."""
        match value:
            case None | bool():
                return value
            case str():
                return self._cut(value)
            case int():
                return int(value) if value.bit_length() <= 1024 else hex(value)
            case float():
                return float(value) if math.isfinite(value) else str(value)
            case _:
                return self._nested(value, depth)

    def _nested(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            self.is_cut = True
            return "[too deep]"
        try:
            if isinstance(value, Mapping):
                return {
                    self._cut(_text(key)): self.item(_text(key), value[key], depth + 1) for key in self._some(value)
                }
            if isinstance(value, list | tuple | set | frozenset):
                return [self.value(item, depth + 1) for item in self._some(value)]
            return self.value(JsonEncoder().default(value), depth + 1)
        except Exception as error:  # noqa: BLE001 - whatever an object's own code does, its line is written
            return f"[unreadable: {type(error).__name__}]"

    def _some(self, items: Iterable[Any]) -> list[Any]:
        found = list(islice(items, MAX_ITEMS + 1))
        self.is_cut |= len(found) > MAX_ITEMS
        return found[:MAX_ITEMS]

    def _cut(self, text: str) -> str:
        self.is_cut |= len(text) > self.max_chars
        return text[: self.max_chars]


def _encoded(fields: dict[str, Any]) -> str:
    """Return plain fields as JSON in ASCII: as a rule made in C, else by the encoder that escapes what is not ASCII."""
    try:
        line = msgspec.json.encode(fields).decode()
    except (UnicodeError, OverflowError):  # half a surrogate pair, or a number of more than 64 bits
        return _ENCODER.encode(fields)
    return line if line.isascii() else _ENCODER.encode(fields)


def _time(instant: float) -> str:
    """Return an instant (s since 1970) as UTC in ISO 8601, to the microsecond."""
    fraction, second = math.modf(instant)
    carried, microseconds = divmod(round(fraction * 1e6), 1_000_000)
    return f"{_second(second + carried)}.{microseconds:06d}Z"


@functools.lru_cache(maxsize=16)
def _second(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()  # most lines have that of the last one


@functools.lru_cache(maxsize=1000)
def _name_of_extra(name: object) -> str | None:
    """Return the name under which an extra is shown, None for what is private."""
    if isinstance(name, str) and name.startswith("_"):
        return None
    return f"extra_{name}" if name in NOT_FOR_EXTRAS else str(name)


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit: what was meant is worth more than nothing
        return f"{_text(record.msg)} {_text(record.args)}"


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - it is an object's own __str__
        return f"[unreadable: {type(error).__name__}]"
