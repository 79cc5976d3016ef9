"""`fail`: fail on request, to try out retries, dead jobs and alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec

from worker.errors import GiveUp
from worker.payloads import read_payload
from worker.registry import handler

if TYPE_CHECKING:
    from worker.context import JobContext


class FailedOnRequest(Exception):
    """The payload asked for this failure."""


class FailPayload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    message: Annotated[str, msgspec.Meta(max_length=4096)]
    permanent: bool = False


@handler("fail")
def fail(payload: Any, job: JobContext) -> NoReturn:  # noqa: ARG001 - a handler takes both
    """Raise an exception with the payload's message; with `permanent`, one that no retry follows."""
    wish = read_payload(payload, FailPayload)
    raise GiveUp(wish.message) if wish.permanent else FailedOnRequest(wish.message)
