from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from queueing import MAX_PAYLOAD_BYTES, Broker, InvalidJob, NewJob, PayloadTooLarge, encode, encode_result
from queueing.codec import MAX_DEPTH, MAX_RESULT_BYTES, CheckedJson, check_payload, checksum, decode
from tests.queueing.states import QUEUE, claim_one

texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), floats, texts),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=30,
)


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value


@given(values)
@example({"a": 1e16, "b": -0.0})
@example(1e-7)
@example({"\x7f\u2028": '\x00\x1f"\\/\n'})
@example({"a": 2**64, "b": -(2**63) - 1, "c": 10**400})
def test_a_value_is_written_as_python_writes_it(value: Any) -> None:
    assert encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("value", ["a\ud800", 10**5_000, math.inf], ids=["surrogate", "long", "infinite"])
def test_why_a_value_cannot_be_written_is_said_as_python_says_it(value: Any) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

    with pytest.raises(InvalidJob) as refused:
        encode(value)

    assert refused.value.reason == f"cannot be written as JSON: {raised.value}"


@given(values)
def test_a_value_is_read_as_python_reads_it(value: Any) -> None:
    text = json.dumps(value, indent=1).encode()

    assert repr(decode(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text", [b"-0", b"-0.0", b"1e400", b"NaN", b"\xef\xbb\xbf1", b'"\\ud800"', b'"\xed\xa0\x80"', b'{"a":1,"a":2}']
)
def test_what_is_no_longer_accepted_is_still_read(text: bytes) -> None:
    assert repr(decode(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", [b"", b"[1,]", b"\xff", b'"\xff"', b"1" * 5_000])
def test_what_is_no_json_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@pytest.mark.parametrize("payload", [nested(MAX_DEPTH + 1), b"1" * (MAX_PAYLOAD_BYTES + 1)])
def test_json_that_was_checked_before_keeps_to_the_limits_of_a_payload(payload: bytes) -> None:
    with pytest.raises((InvalidJob, PayloadTooLarge)):
        NewJob(kind="echo", payload=CheckedJson(payload))


@given(values, st.booleans())
def test_any_spelling_of_a_value_is_accepted(value: Any, ascii_only: bool) -> None:
    check_payload(json.dumps(value, ensure_ascii=ascii_only, indent=1).encode())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_the_bytes_that_a_worker_gets_are_those_submitted(value: Any, broker: Broker) -> None:
    payload = json.dumps(value, indent=2).encode()
    broker.enqueue(QUEUE, NewJob(kind="echo", payload=payload))

    job = claim_one(broker)

    assert job.payload == payload
    assert job.value() == value


@given(st.binary(max_size=200))
def test_whatever_is_accepted_every_reader_understands(payload: bytes) -> None:
    try:
        check_payload(payload)
    except InvalidJob:
        return

    json.dumps(decode(payload), ensure_ascii=False, allow_nan=False).encode()


@given(st.text(alphabet='{}[]":,\\ab01 ', max_size=60))
def test_whatever_looks_like_json_is_accepted_exactly_if_it_is(text: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=unique)
    except ValueError:
        with pytest.raises(InvalidJob):
            check_payload(text.encode())
    else:
        check_payload(text.encode())


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_the_deepest_nesting_is_accepted_and_one_more_level_is_not(opening: str, closing: str) -> None:
    inner = "1" if opening != "[" else ""

    check_payload((opening * MAX_DEPTH + inner + closing * MAX_DEPTH).encode())

    with pytest.raises(InvalidJob, match="nested deeper"):
        check_payload((opening * (MAX_DEPTH + 1) + inner + closing * (MAX_DEPTH + 1)).encode())


@pytest.mark.parametrize("payload", [nested(1_100), b"[" * 200_000, nested(100_000), b'{"a":' * 40_000])
def test_deep_nesting_is_refused_before_a_parser_recurses(payload: bytes) -> None:
    with pytest.raises(InvalidJob, match="nested deeper"):
        check_payload(payload)


def test_brackets_side_by_side_are_not_deep() -> None:
    check_payload(b"[" + b",".join([b"[]"] * 10_000) + b"]")


def test_brackets_in_strings_do_not_count() -> None:
    check_payload(json.dumps(["[" * 100, '\\"[' * 100, {"{" * 100: "]"}]).encode())


@pytest.mark.parametrize("ending", [b"", b"\\", b'"'])
def test_a_string_full_of_quotes_that_never_ends_is_refused_in_linear_time(ending: bytes) -> None:
    payload = b"[" * 33 + b'"' + b'\\"' * 131_000 + ending
    started = time.process_time()

    with pytest.raises(InvalidJob):
        check_payload(payload)

    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[-1E400]",
        b'"\\ud800"',
        b'"\\udfff\\ud800"',
        b'{"\\ud800":1}',
        b'{"a\\u0000":1}',
        b'"\x00"',
        b'"a\nb"',
        b"",
        b" ",
        b"nul",
        b"{'a':1}",
        b"[1,]",
        b"1 2",
        b"01",
        b"+1",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        "1".encode("utf-16"),
        b'{"a":1',
    ],
)
def test_what_readers_would_understand_differently_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidJob) as raised:
        check_payload(payload)

    assert raised.value.field == "payload"
    assert raised.value.reason


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"0",
        b" [1 ] ",
        b"-0.0",
        b"1e-999",
        b"9" * 400,
        b'"\\ud83d\\ude00"',
        b'"\\\\ud800"',
        b'"\\u0000"',
        b"{}",
    ],
)
def test_what_every_reader_understands_is_accepted(payload: bytes) -> None:
    check_payload(payload)


def test_the_largest_payload_is_accepted_and_one_byte_more_is_not() -> None:
    check_payload(b'"' + b"a" * (MAX_PAYLOAD_BYTES - 2) + b'"')

    with pytest.raises(PayloadTooLarge) as raised:
        check_payload(b'"' + b"a" * (MAX_PAYLOAD_BYTES - 1) + b'"')

    assert (raised.value.size_bytes, raised.value.limit_bytes) == (MAX_PAYLOAD_BYTES + 1, MAX_PAYLOAD_BYTES)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"a", "\ud800", {1: 1, "1": 2}, {(1,): 1}])
def test_a_value_that_is_no_json_cannot_be_encoded(value: Any) -> None:
    with pytest.raises(InvalidJob):
        encode(value)


def test_a_value_that_holds_itself_cannot_be_encoded() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(InvalidJob):
        encode(value)


@given(values)
def test_a_result_that_is_json_is_kept(value: Any) -> None:
    assert decode(encode_result(value)) == value


def test_a_result_whose_text_cannot_be_read_is_named_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise OSError

    assert "Broken" in decode(encode_result(Broken()))


@pytest.mark.parametrize("value", [math.nan, object(), {1, 2}, b"a", "\ud800"])
def test_a_result_that_is_no_json_becomes_its_text(value: Any) -> None:
    assert decode(encode_result(value)) == repr(value)


@pytest.mark.parametrize("value", ["é" * MAX_RESULT_BYTES, ["\0" * MAX_RESULT_BYTES], list(range(50_000))])
def test_a_result_that_is_too_long_becomes_its_beginning(value: Any) -> None:
    result = encode_result(value)

    shown = decode(result)
    assert len(result) <= MAX_RESULT_BYTES
    assert shown["truncated"] is True
    assert json.dumps(value, ensure_ascii=False, separators=(",", ":")).startswith(shown["head"])


@given(st.binary(min_size=1, max_size=100), st.data())
def test_the_checksum_notices_any_single_changed_bit(payload: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    damaged = bytearray(payload)
    damaged[bit // 8] ^= 1 << bit % 8

    assert checksum(bytes(damaged)) != checksum(payload)
