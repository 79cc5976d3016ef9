"""Every key the queue uses in Redis, and every field of a job's record. Nothing else spells one.

All keys of one queue share the hash tag `{<queue>}`, so they lie in one slot of a Cluster and one script may
touch them all. Times are integer milliseconds since 1970 UTC; an order is `priority * 2**49 + ticks`, with ticks
of 10 us since 2026-01-01 UTC.

A job's record is a HASH with short field names, so that it stays in the compact encoding; a field that does not
apply is absent:

    s   state                     k   kind                    p   payload, the bytes that were submitted
    c   CRC-32 of the payload     o   order in `ready`        t   created, ms
    d   first due, ms             x   expires, ms             m   the last attempt allowed
    a   attempts so far           b   attempts at requeue     n   crashes since (a lease run out, too)
    l   timeout of an attempt, ms g   tags, JSON              u   SHA-256 of the unique key
    tk  lease token               w   worker                  st  attempt started, ms
    pg  progress, JSON            cx  1: cancel requested     f   finished, ms
    ri  id of the request that submitted it             tp  traceparent of that request
    ow  owner, the client that submitted it
    r   result, JSON              h<n>  attempt n that did not succeed: `started|finished|outcome|worker|error JSON`
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

EVERY_KEY = "jobs:*"  # as SCAN takes it
EVERY_META = "jobs:{*}:meta"
EVERY_RECORD = "jobs:{*}:job:*"
RESTORING = "jobs:restoring"  # STRING, the backup that is being restored, while that is not done
RESTORING_LOCK = "jobs:restoring:lock"  # STRING, random; who restores at the moment

_KEY = re.compile(rb"jobs:\{([a-z0-9][a-z0-9-]{0,62})\}:(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)  # hashed for every call of a script: by identity, there is one a queue
class QueueKeys:
    """The keys of one queue; the comments give type, member and score."""

    queue: str
    ready: str  # ZSET id -> order; the highest is claimed first
    scheduled: str  # ZSET id -> due, ms; scheduled and retrying jobs
    running: str  # ZSET id -> lease expiry, ms
    deadlines: str  # ZSET id -> expires, ms; jobs not running that have a time to live
    succeeded: str  # ZSET id -> finished, ms
    dead: str  # ZSET id -> finished, ms
    cancelled: str  # ZSET id -> finished, ms
    expired: str  # ZSET id -> finished, ms
    meta: str  # HASH clock, counters, paused, limits, generation, restored (the backup it came from)
    wake: str  # LIST of at most 16 hints for idle workers; carries no job
    workers: str  # HASH worker -> JSON of its last sign of life
    runs: str  # LIST of JSON, the runs of workers that ended, the latest first
    never: str  # nothing, ever: what a slot that is moved key by key is sure not to have (`queueing.cluster`)
    job_prefix: str  # + id: HASH, the record of a job
    unique_prefix: str  # + SHA-256 of the unique key: STRING, the id of the live job that holds it
    idempotency_prefix: str  # + SHA-256 of client, path and key: STRING `fingerprint id`, kept for 24 h
    minute_prefix: str  # + minutes since 1970: HASH of counters, 25 h; + `start`: HASH, what the last one began with
    staging_prefix: str  # + name of a key above: what a restore has written and not shown yet

    def job(self, job_id: str) -> str:
        """Return the key of one job's record."""
        return self.job_prefix + job_id

    def minute(self, minute: int) -> str:
        """Return the key of the counters of one minute since 1970."""
        return f"{self.minute_prefix}{minute}"


@functools.lru_cache(maxsize=1_000)  # bounded: any job id that a client asks for names a queue
def queue_keys(queue: str) -> QueueKeys:
    """Return the keys of `queue`, a name the caller has checked."""
    root = f"jobs:{{{queue}}}:"
    return QueueKeys(
        queue=queue,
        ready=root + "ready",
        scheduled=root + "scheduled",
        running=root + "running",
        deadlines=root + "deadlines",
        succeeded=root + "succeeded",
        dead=root + "dead",
        cancelled=root + "cancelled",
        expired=root + "expired",
        meta=root + "meta",
        wake=root + "wake",
        workers=root + "workers",
        runs=root + "runs",
        never=root + "never",
        job_prefix=root + "job:",
        unique_prefix=root + "unique:",
        idempotency_prefix=root + "idempotency:",
        minute_prefix=root + "minute:",
        staging_prefix=root + "restoring:",
    )


def split_key(key: bytes) -> tuple[str, bytes] | None:
    """Return the queue of a key and its name there, None for a key of no queue."""
    match = _KEY.fullmatch(key)
    return (match[1].decode(), match[2]) if match else None


def unique_digest(unique_key: str, owner: str = "") -> str:
    """Return what stands for an owner's unique key in the database, so that no client's text becomes part of a key."""
    return hashlib.sha256(f"unique {owner}\n{unique_key}".encode()).hexdigest()


def submission_digest(key: str) -> str:
    """Return what stands for the key of a submission in the database."""
    return hashlib.sha256(b"submission " + key.encode()).hexdigest()
