"""How a query string becomes a struct: each parameter known, given once, and valid."""

from __future__ import annotations

import functools
import re
from typing import TypeVar

import msgspec
from django.http import HttpRequest

from jobapi.problems import invalid_parameter

T = TypeVar("T", bound=msgspec.Struct)

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_LOCATED = re.compile(r"(?P<reason>.*) - at `\$\.?(?P<name>[^`.\[]*).*`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


def read_query(request: HttpRequest, document: type[T]) -> T:
    """Return the query string as `document`, or raise Refusal naming the parameter that is wrong."""
    for name, values in request.GET.lists():
        if len(values) > 1:
            raise invalid_parameter(name, "is given more than once")
    try:
        return msgspec.convert(
            {name: _value(document, name, text) for name, text in request.GET.dict().items()}, document
        )
    except msgspec.ValidationError as error:
        message = str(error)
    if unknown := _UNKNOWN.fullmatch(message):
        raise invalid_parameter(unknown["name"], "is not a known parameter")
    located = _LOCATED.fullmatch(message)
    raise invalid_parameter(*((located["name"], located["reason"].replace("`", "")) if located else ("", message)))


def _value(document: type[msgspec.Struct], name: str, text: str) -> str | int:
    """Return a parameter as JSON would have it: a number where the struct has one, else text."""
    return int(text) if name in _numbers(document) and _NUMBER.fullmatch(text) else text


@functools.cache
def _numbers(document: type[msgspec.Struct]) -> frozenset[str]:
    info = msgspec.inspect.type_info(document)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return frozenset(field.encode_name for field in fields if isinstance(_bare(field.type), msgspec.inspect.IntType))


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Return a type without the description that may be wrapped around it."""
    return kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
