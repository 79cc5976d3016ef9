"""`echo`: return the payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.registry import handler

if TYPE_CHECKING:
    from worker.context import JobContext


@handler("echo")
def echo(payload: Any, job: JobContext) -> Any:  # noqa: ARG001 - a handler takes both
    """Return the payload unchanged."""
    return payload
