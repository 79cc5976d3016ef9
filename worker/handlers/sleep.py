"""`sleep`: take time, to try out leases, cancelling and shutting down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from worker.errors import JobCancelled
from worker.payloads import read_payload
from worker.registry import handler

if TYPE_CHECKING:
    from worker.context import JobContext

MAX_SECONDS = 86_400
SLICE_SECONDS = 1.0  # how long the thread may sit in one wait, where no interruption but cancelling reaches it


class SleepPayload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]


@handler("sleep")
def sleep(payload: Any, job: JobContext) -> dict[str, float]:
    """Wait for the payload's seconds and return them; raise `JobCancelled` when the job is cancelled."""
    seconds = read_payload(payload, SleepPayload).seconds
    slept = 0.0
    while slept < seconds:
        step = min(SLICE_SECONDS, seconds - slept)
        if job.wait(step):
            raise JobCancelled(f"cancelled after {slept:g} of {seconds:g} seconds")
        slept += step
        job.progress(min(slept / seconds, 1.0))
    return {"slept_seconds": seconds}
