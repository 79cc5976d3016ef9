"""Damage to what the server holds for a queue, of the kinds that a bug, a person or a bad restore could leave."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from redis import Redis

from queueing import Broker, JobError, NewJob, Policy
from queueing.broker import Retention
from queueing.jobs import FINISHED_STATES, Submission
from tests.system.faults.rig import KEYS, QUEUE

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = Retention(keep_ms=-1, keep_count=0)
STRICT = Policy(lease_ms=1, retention=dict.fromkeys(FINISHED_STATES, AT_ONCE))  # nothing finished is kept
ERROR = JobError(type="Boom", message="")
SETS = [KEYS.ready, KEYS.scheduled, KEYS.running, KEYS.deadlines]
SETS += [KEYS.succeeded, KEYS.dead, KEYS.cancelled, KEYS.expired]
FIELDS = ["s", "k", "p", "c", "t", "d", "o", "x", "a", "m", "l", "g", "u", "tk", "w", "st", "n", "f", "b"]
TEXTS = [b"", b"x", b"-1", b"nan", b"inf", b"1e400", b"\xff\x00", b"99999999999999999999", b"1.5"]
COUNTERS = [
    "clock",
    "retrying",
    "claimed",
    "submitted",
    "succeeded",
    "fair_every",
    "max_depth",
    "max_attempts",
    "timeout_ms",
    "overflow",
    "keep_succeeded_ms",
    "keep_dead_count",
    "stale",
    "paused_until",
    "minute",
]


def fill(broker: Broker) -> list[str]:
    """Make jobs in every state and return their ids."""
    ids = []
    for number in range(12):
        job = NewJob.of(
            "echo",
            number,
            ttl_seconds=600 if number % 2 else None,
            unique_key=f"key {number}" if number % 3 == 0 else None,
            submission=Submission(f"key {number}", "print"),
        )
        ids.append(broker.enqueue(QUEUE, job).id)
    first, second, third, fourth, _, _ = broker.claim(QUEUE, "host:1:a", 6).jobs
    broker.ack(first, b"1")
    broker.fail(second, ERROR, outcome="dead")
    broker.fail(third, ERROR, delay_ms=60_000)
    broker.cancel(fourth.id)
    broker.cancel(ids[0])
    ids.append(broker.enqueue(QUEUE, NewJob.of("echo", delay_seconds=60)).id)
    broker.beat(QUEUE, "host:1:a", b"{}", 30_000)
    return ids


def do(client: Redis, ids: list[str], dice: random.Random) -> str:
    """Do one piece of damage and return what it was."""
    job_id, key = dice.choice(ids), dice.choice(SETS)
    field, text, counter = dice.choice(FIELDS), dice.choice(TEXTS), dice.choice(COUNTERS)
    other = dice.choice([KEYS.meta, KEYS.wake, KEYS.workers, KEYS.runs, *SETS])
    minute = next(iter(client.scan_iter(KEYS.minute_prefix + "*", count=1000)), None)
    unique = next(iter(client.scan_iter(KEYS.unique_prefix + "*", count=1000)), None)
    damages: dict[str, Callable[[], object]] = {
        f"no record of {job_id}": lambda: client.delete(KEYS.job(job_id)),
        f"record of {job_id} of a wrong type": lambda: turn_into(client, KEYS.job(job_id), dice),
        f"{job_id} without {field}": lambda: client.hdel(KEYS.job(job_id), field),
        f"{job_id} with {field} {text!r}": lambda: client.hset(KEYS.job(job_id), field, text),
        f"{job_id} in {key} too": lambda: client.zadd(key, {job_id: dice.randrange(10**12)}),
        f"{job_id} not in {key}": lambda: client.zrem(key, job_id),
        f"an id of nothing in {key}": lambda: client.zadd(key, {text: dice.randrange(10**12)}),
        f"{key} gone": lambda: client.delete(key),
        f"{key} with endless scores": lambda: client.zadd(key, {job_id: dice.choice([float("inf"), float("-inf")])}),
        f"{other} of a wrong type": lambda: turn_into(client, other, dice),
        f"meta with {counter} {text!r}": lambda: client.hset(KEYS.meta, counter, text),
        "minute of a wrong type": lambda: minute and turn_into(client, minute, dice),
        f"minute with {counter} {text!r}": lambda: minute and client.hset(minute, counter, text),
        "unique of a wrong type": lambda: unique and turn_into(client, unique, dice),
        f"unique of {text!r}": lambda: unique and client.set(unique, text),
        f"worker {text!r}": lambda: client.hset(KEYS.workers, text, text),
    }
    name = dice.choice(list(damages))
    try:
        damages[name]()
    except Exception as error:  # noqa: BLE001 - what is damaged already cannot always be damaged again
        return f"{name}: {type(error).__name__}"
    return name


def turn_into(client: Redis, key: str | bytes, dice: random.Random) -> None:
    """Put a value of another type at a key."""
    kind = client.type(key)
    client.delete(key)
    makers: dict[bytes, Callable[[], object]] = {
        b"string": lambda: client.set(key, "what is this"),
        b"list": lambda: client.rpush(key, "what", "is", "this"),
        b"hash": lambda: client.hset(key, "what", "is this"),
        b"zset": lambda: client.zadd(key, {"what": 1, "is this": 2}),
    }
    makers[dice.choice([other for other in makers if other != kind])]()
