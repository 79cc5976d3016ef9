"""The shape a handler expects of its payload."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from worker.errors import GiveUp

Shape = TypeVar("Shape", bound=msgspec.Struct)


def read_payload(payload: Any, shape: type[Shape]) -> Shape:
    """Return `payload` as a `shape`; raise `GiveUp` naming the wrong field, for no retry can mend it."""
    try:
        return msgspec.convert(payload, shape)
    except msgspec.ValidationError as error:
        raise GiveUp(f"bad payload: {error}") from error
