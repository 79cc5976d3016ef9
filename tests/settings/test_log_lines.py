from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import logging
import math
import re
import sys
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from settings.log_lines import MAX_LINE_CHARS, REDACTED, REDACTED_NAMES, LineFormatter

TEXT = st.text(st.characters(codec=None))  # lone surrogates, U+2028, NUL and all
NAMES = TEXT.map("field ".__add__).filter(lambda name: not re.search(REDACTED_NAMES, name.lower().replace("-", "_")))
NUMBERS = st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def line_of(message: Any = "hello", *args: Any, formatter: LineFormatter | None = None, **record: Any) -> str:
    made = logging.getLogger("a.logger").makeRecord(
        "a.logger", logging.INFO, "file.py", 1, message, args, record.pop("exc_info", None), extra=record
    )
    return (formatter or LineFormatter(service="api", env="test", version="1.2")).format(made)


def parsed(*args: Any, **record: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line_of(*args, **record))
    return found


@given(message=TEXT, value=VALUES, name=NAMES)
def test_any_text_in_any_field_gives_one_line_that_parses_back_equal(message: str, value: Any, name: str) -> None:
    line = line_of(message, a_field=value, a_map={name: 1})

    fields = json.loads(line, parse_constant=pytest.fail)
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
    assert fields["message"] == message
    assert value in ("", None) or fields["a_field"] == value
    assert fields["a_map"] == {name: 1}


@example(1.9999996)
@example(59.9999999)
@example(0.4999995)
@given(st.floats(0, 4e9) | st.integers(0, 4 * 10**15).map(lambda microseconds: microseconds / 1e6))
def test_the_time_is_that_of_datetime_to_the_microsecond(instant: float) -> None:
    record = logging.makeLogRecord({"created": instant})

    at = json.loads(LineFormatter().format(record))["time"]

    assert at == dt.datetime.fromtimestamp(instant, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_line_says_when_what_and_where() -> None:
    fields = parsed("%s of %s", 1, 2, action="count")

    at = dt.datetime.fromisoformat(fields["time"])
    assert abs(at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    assert fields["time"].endswith("Z")
    assert (fields["level"], fields["logger"], fields["message"]) == ("INFO", "a.logger", "1 of 2")
    assert (fields["action"], fields["service"], fields["env"], fields["version"]) == ("count", "api", "test", "1.2")
    assert {"host", "pid"} < set(fields)


@pytest.mark.parametrize("name", ["level", "time", "logger", "service", "host", "pid", "truncated"])
def test_an_extra_never_takes_the_place_of_a_field_of_ours(name: str) -> None:
    fields = parsed(**{name: "spoof"})

    assert fields.get(name) != "spoof"
    assert fields[f"extra_{name}"] == "spoof"


def test_an_error_comes_with_type_message_and_stack() -> None:
    try:
        int("line one\nline two")
    except ValueError:
        fields = parsed("it failed", exc_info=sys.exc_info())

    assert fields["error"]["type"] == "ValueError"
    assert "line one" in fields["error"]["message"]
    assert "Traceback" in fields["error"]["stack"]


@pytest.mark.parametrize(
    "name",
    ["password", "Authorization", "X-Api-Key", "idempotency_key", "lease_token", "payload", "result", "client_secret"],
)
def test_what_a_name_says_is_secret_is_redacted_however_deep(name: str) -> None:
    line = line_of(**{name: "canary"}, outer=[{"inner": ({name: {"deeper": "canary"}},)}])

    assert "canary" not in line
    assert json.loads(line)["outer"] == [{"inner": [{name: REDACTED}]}]


def test_names_can_be_added_to_those_redacted() -> None:
    formatter = LineFormatter(redact=["Customer-Name"])

    line = line_of(formatter=formatter, customer_name="canary", customer_name_length=6)

    assert "canary" not in line
    assert json.loads(line)["customer_name_length"] == 6


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Login:
    name: str
    password: str


class Rude:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (dt.datetime(2026, 11, 21, tzinfo=dt.UTC), "2026-11-21T00:00:00+00:00"),
        (Colour.RED, "red"),
        (Login("ann", "canary"), {"name": "ann", "password": REDACTED}),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ({1: 2}, {"1": 2}),
    ],
)
def test_values_that_json_does_not_have_are_written_as_text(value: Any, written: Any) -> None:
    assert parsed(a_field=value)["a_field"] == written


def test_a_number_of_thousands_of_digits_is_written_as_text() -> None:
    assert parsed(a_field=10**6000)["a_field"] == hex(10**6000)


def test_an_object_that_cannot_be_read_does_not_cost_the_line() -> None:
    fields = parsed("hello %s", Rude(), a_field=Rude())

    assert fields["message"].startswith("hello %s")
    assert isinstance(fields["a_field"], str)


def test_arguments_that_do_not_fit_the_message_do_not_cost_the_line() -> None:
    assert parsed("%d jobs", "many")["message"] == "%d jobs ('many',)"


def test_a_structure_without_end_does_not_cost_the_line() -> None:
    endless: list[Any] = []
    endless.append(endless)

    fields = parsed(a_field=endless)

    assert fields["truncated"] is True


@pytest.mark.parametrize(
    "fields",
    [
        {"a_field": "x" * 10**6},
        {"a_field": "\U0001f600" * 10_000},
        {"a_field": list(range(10**5))},
        {"a_field": {str(n): {str(m): "x" * 100 for m in range(100)} for n in range(100)}},
        {f"field_{n}": "x" * 1000 for n in range(1000)},
    ],
)
def test_a_line_has_64_kib_at_most_and_says_when_it_was_cut(fields: dict[str, Any]) -> None:
    line = line_of("hello", **fields)

    assert len(line) <= MAX_LINE_CHARS
    assert json.loads(line)["truncated"] is True
    assert json.loads(line)["message"] == "hello"


def test_a_long_message_keeps_its_beginning() -> None:
    fields = parsed("x" * 10**6)

    assert fields["truncated"] is True
    assert len(fields["message"]) >= 8192
