"""Conditional answers about one job: `ETag` (RFC 9110) and `Prefer: wait` (RFC 7240)."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from django.http import HttpRequest

from jobapi import schemas
from jobapi.authentication import caller_of
from queueing import Job, JobNotFound
from queueing.conf import get_reader
from queueing.replicas import Seen

MAX_WAIT_SECONDS = 30
MAX_WAITERS = 16  # half of the threads that serve (entrance.THREADS): others get their answer at once
LOOK_SECONDS = 0.1  # between two looks at a job that is waited for

_PREFERENCE = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')

_places = threading.BoundedSemaphore(MAX_WAITERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A job as it was seen, its entity tag, and how long the answer was held for it (None: not at all).

    `age` is the header for a job that a replica told of.
    """

    job: schemas.Job
    etag: str
    age: dict[str, str]
    waited_seconds: int | None = None


def look(request: HttpRequest, job_id: str) -> Look:
    """Return a job as it is now, or as a replica knows it; to one who may not know of it there is none."""
    seen = get_reader().read_latest(lambda inspector: inspector.job(job_id))
    if not caller_of(request).sees(seen.value.owner):
        raise JobNotFound(job_id)
    return _seen(seen)


def age_of(seen: Seen[Any]) -> dict[str, str]:
    """Return the header that tells how old an answer may be (RFC 9111, section 5.1); none of the primary's."""
    return {} if seen.age_seconds is None else {"Age": str(seen.age_seconds)}


def look_when_changed(request: HttpRequest, job_id: str) -> Look:
    """Return a job as it is now or, if the client prefers to wait, once it has changed or is finished.

    A change is measured against what the client knows (If-None-Match), or else against what the job is now; the place
    in the stack is no change. Who finds MAX_WAITERS waiting already is not kept waiting.
    """
    now, asked = look(request, job_id), seconds_to_wait(request)
    known = not request.headers.get("If-None-Match") or is_known(request, now.etag)
    if asked is None or now.job.state.is_finished or not known:
        return now if asked is None else replace(now, waited_seconds=asked)
    if not _places.acquire(blocking=False):
        return now
    try:
        return _wait(request, job_id, now, asked)
    finally:
        _places.release()


def _wait(request: HttpRequest, job_id: str, now: Look, seconds: int) -> Look:
    until, etag = time.monotonic() + seconds, now.etag
    while now.etag == etag and (left := until - time.monotonic()) > 0:
        time.sleep(min(LOOK_SECONDS, left))
        now = look(request, job_id)
    return replace(now, waited_seconds=seconds)


def seconds_to_wait(request: HttpRequest) -> int | None:
    """Return how long the client prefers to wait, MAX_WAIT_SECONDS at most; None when it does not."""
    for preference in request.headers.get("Prefer", "").split(","):
        if found := _PREFERENCE.fullmatch(preference):
            return min(int(found[1]), MAX_WAIT_SECONDS)
    return None


def is_known(request: HttpRequest, etag: str) -> bool:
    """Whether the client has this version already (RFC 9110, section 13.1.2: compared weakly)."""
    sent = request.headers.get("If-None-Match", "")
    return sent.strip() == "*" or etag.removeprefix("W/") in _ENTITY_TAG.findall(sent)


def _seen(seen: Seen[Job]) -> Look:
    """Return a job with its entity tag: a weak one, for the position changes with every other job."""
    shown = schemas.Job.of(seen.value)
    version = msgspec.json.encode(msgspec.structs.replace(shown, position=None))
    return Look(job=shown, etag=f'W/"{hashlib.sha256(version).hexdigest()[:32]}"', age=age_of(seen))
