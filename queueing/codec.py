"""Payloads and results as bytes: what is accepted, and the checksum that shows damage.

A payload is a JSON text (RFC 8259) kept as the bytes that arrived. What other readers would understand
differently is refused: names that occur twice, numbers that are not finite, strings that are not UTF-8.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from typing import Any, NoReturn

import msgspec

from queueing.errors import InvalidJob, PayloadTooLarge

MAX_PAYLOAD_BYTES = 256 * 1024
MAX_RESULT_BYTES = 64 * 1024
MAX_DEPTH = 32

# A string that never ends takes the rest, or each quote in it would be tried as a beginning, in quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class CheckedJson(bytes):
    """JSON of which `check_json` has said that every reader understands it alike: it need not be read once more."""

    __slots__ = ()


def encode(value: Any) -> CheckedJson:
    """Return `value` as compact JSON bytes that `check_payload` accepts, or raise InvalidJob."""
    is_flat = _is_flat(value)
    try:
        payload = (is_flat and _quickly_written(value)) or _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob("payload", f"cannot be written as JSON: {error}") from None
    if len(payload) > MAX_PAYLOAD_BYTES or not is_flat:
        check_payload(payload)
    return CheckedJson(payload)


def _quickly_written(value: Any) -> bytes | None:
    """Return what `_ENCODER` makes of a flat value, to the byte, None for one of which msgspec makes something else."""
    if float in (map(type, value.values()) if type(value) is dict else (type(value),)):
        return None  # it has exponents of its own, and writes what is not finite as null
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return None


def _is_flat(value: Any) -> bool:
    """Whether nothing that can be written can be wrong: names are texts without NUL, and no value has values in it."""
    if type(value) is not dict:
        return type(value) in _SCALARS
    return (
        set(map(type, value)) <= _NAMES
        and _SCALARS.issuperset(map(type, value.values()))
        and "\0" not in "".join(value)
    )


def encode_result(value: Any) -> bytes:
    """Return a handler's result as JSON bytes; what is no JSON becomes its text, what is too long its beginning.

    The attempt has done its work by then, so no result makes it fail.
    """
    try:
        result = _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError):
        result = json.dumps(_text_of(value)).encode()
    if len(result) <= MAX_RESULT_BYTES:
        return result
    head = result[: MAX_RESULT_BYTES // 16].decode(errors="ignore")
    return json.dumps({"truncated": True, "size_bytes": len(result), "head": head}).encode()


def _text_of(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - it is a handler's own __repr__
        return f"a {type(value).__qualname__} whose text could not be read: {type(error).__qualname__}"


def decode(payload: bytes) -> Any:
    """Return the value of stored JSON bytes; raises ValueError when they are no JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of what an earlier check let pass: the slow way reads more
        return json.loads(payload)


def checksum(payload: bytes) -> int:
    """Return the CRC-32 of the payload."""
    return zlib.crc32(payload)


def check_payload(payload: bytes) -> None:
    """Raise InvalidJob unless `payload` is JSON that every reader understands alike, within the limits."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(len(payload), MAX_PAYLOAD_BYTES)
    try:
        if isinstance(payload, CheckedJson):
            _check_depth(payload, MAX_DEPTH)
        else:
            check_json(payload, MAX_DEPTH)
    except ValueError as error:
        raise InvalidJob("payload", str(error)) from None


def check_json(text: bytes, max_depth: int) -> None:
    """Raise ValueError, its text a reason, unless `text` is JSON that every reader understands alike."""
    _check_depth(text, max_depth)
    try:
        _DECODER.decode(text.decode())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except ValueError as error:
        reason = str(error).partition(";")[0]  # what follows is Python's advice to its programmer
        raise ValueError(f"is not valid JSON: {reason}") from None


def _check_depth(text: bytes, max_depth: int) -> None:
    """Raise ValueError when arrays and objects lie deeper than `max_depth`, before a parser recurses into them."""
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return
    outside = _STRING.sub(b"", text) if b"\\" in text else b"".join(text.split(b'"')[::2])
    brackets = outside.translate(_ALIKE, _NO_BRACKETS)
    if not _folds(brackets, max_depth) and _depth_is_above(max_depth, brackets):
        raise ValueError(f"is nested deeper than {max_depth} levels")


def _folds(brackets: bytes, max_depth: int) -> bool:
    """Whether nothing is left once the innermost pairs were taken out so often: one level at a time, all at once."""
    for _ in range(max_depth):
        left = brackets.replace(b"[]", b"")
        if not left or len(left) == len(brackets):
            return not left
        brackets = left
    return False


def _depth_is_above(max_depth: int, brackets: bytes) -> bool:
    """Whether brackets, which need not match, are ever open so many at a time."""
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket == b"["[0] else -1
        if depth > max_depth:
            return True
    return False


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a name that occurs twice and what cannot be stored or shown."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    for name in members:
        if "\0" in name:
            raise ValueError("a name contains NUL")
    return members


def _finite(text: str) -> float:
    """Read a number with a fraction or exponent, refusing one that overflows."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class _StrictDecoder(json.JSONDecoder):
    """The standard decoder, refusing as well the lone surrogates that escapes can spell."""

    def decode(self, text: str, *args: Any) -> Any:
        value = super().decode(text, *args)
        if "\\u" in text and _has_lone_surrogate(value):
            raise ValueError("a string contains a lone surrogate")
        return value


def _has_lone_surrogate(value: Any) -> bool:
    return _SURROGATE.search(json.dumps(value, ensure_ascii=False)) is not None


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_NAMES, _SCALARS = {str}, frozenset({str, int, float, bool, type(None)})
_DECODER = _StrictDecoder(object_pairs_hook=_unique_names, parse_float=_finite, parse_constant=_refuse_constant)
