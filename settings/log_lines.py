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

_ENCODER = json.JSONEncoder()


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
        if error := self._error(record):
            fields["error"] = error
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields

    def _head(self, record: logging.LogRecord) -> dict[str, Any]:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        return {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }

    def _extras(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            f"extra_{name}" if name in NOT_FOR_EXTRAS else str(name): value
            for name, value in record.__dict__.items()
            if not (name in NOT_EXTRAS or value is None or (isinstance(value, str) and not value) or _is_private(name))
        }

    def _error(self, record: logging.LogRecord) -> dict[str, str] | None:
        if not record.exc_info or record.exc_info[1] is None:
            return None
        error = record.exc_info[1]
        stack = str(self.formatException(record.exc_info))
        return {"type": type(error).__qualname__, "message": _text(error), "stack": stack}

    def _line(self, fields: dict[str, Any]) -> str:
        for max_chars in CUTS:
            plain = _Plain(max_chars, self._is_secret)
            found = {name: plain.item(name, value) for name, value in fields.items()}
            line = _ENCODER.encode({**found, "truncated": True} if plain.is_cut else found)
            if len(line) <= MAX_LINE_CHARS:
                return line
        core = {name: found[name] for name in (*HEAD, *ORIGIN) if name in found}
        return _ENCODER.encode({**core, "truncated": True})


@dataclass(slots=True)
class _Plain:
    """Makes values ones that JSON has; what is cut on the way is noted."""

    max_chars: int
    is_secret: Callable[[str], bool]
    is_cut: bool = False

    def item(self, name: str, value: Any, depth: int = 0) -> Any:
        """Return the value of a name, unless the name says that it is secret."""
        if self.is_secret(name):
            return REDACTED
        if type(value) is str and len(value) <= self.max_chars:  # as most are
            return value
        return self.value(value, depth)

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


def _is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_")


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
