"""Keys of a queue damaged at random, and every script run on them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from redis import Redis

from queueing import (
    Broker,
    Claimed,
    JobNotFound,
    LeaseLost,
    NewJob,
    QueueFull,
    QueueingError,
    Run,
    State,
    WrongState,
    scripts,
)
from queueing.audit import audit_queue
from queueing.jobs import to_ms
from queueing.links import PooledLink
from queueing.scripts import Call
from tests.system.faults import damage
from tests.system.faults.damage import ERROR
from tests.system.faults.rig import KEYS, QUEUE

ROUNDS, LONG_ROUNDS = 200, 5_000
RECORD = (2, "st", "ready", "kd", "echo")  # how many fields, and these
NEW_JOB = (f"{QUEUE}:elsewhere", "retrying", 5, 9, "digest", *RECORD)  # its id, state, score, end and unique key
RUN = Run(
    worker="host:1:b", host="host", queues=(QUEUE,), mode="drain", interval_seconds=None, started_at=damage.NEVER,
    ended_at=damage.NEVER, jobs=1, outcome="drained",
)  # fmt: skip
READERS = {"ages", "history", "job", "jobs", "page", "runs", "stats"}


def snapshot(client: Redis) -> dict[bytes, bytes]:
    """Return everything the server holds."""
    keys = sorted(client.scan_iter(count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.dump(key)
    return dict(zip(keys, pipeline.execute(), strict=True))


def calls(client: Redis, broker: Broker, ids: list[str], dice: random.Random) -> dict[str, Callable[[], object]]:
    """Return a call of every script that writes, on jobs that may be damaged."""
    job_id = dice.choice(ids)
    token = client.hget(KEYS.job(job_id), "tk") if client.type(KEYS.job(job_id)) == b"hash" else None
    job = Claimed(
        id=job_id, queue=QUEUE, kind="echo", payload=b"1", payload_crc=0, attempt=1, max_attempts=5, timeout_ms=None,
        tags=(), created_ms=to_ms(damage.NEVER), lease_token=(token or b"0-0").decode(errors="replace"),
    )  # fmt: skip
    finished = dice.choice(["succeeded", "dead", "cancelled", "expired"])
    waiting = dice.choice([State.READY, State.SCHEDULED, State.DEAD, State.SUCCEEDED])
    return {
        "enqueue": lambda: broker.enqueue_many(
            QUEUE, [NewJob.of("echo", unique_key="key 3", ttl_seconds=60), NewJob.of("echo", delay_seconds=5)]
        ),
        "claim": lambda: broker.claim(QUEUE, "host:1:b", 3),
        "claim again": lambda: broker.exchange([broker.claim_step(QUEUE, "b", 3, nonce="0", again=True)]),
        "ack": lambda: broker.ack(job, b"1"),
        "fail": lambda: broker.fail(job, ERROR, outcome=dice.choice(["failed", "crashed", "dead", "cancelled"])),
        "extend": lambda: broker.extend([(job, b"{}")]),
        "release": lambda: broker.release(job),
        "cancel": lambda: broker.cancel(job_id),
        "requeue": lambda: broker.requeue(job_id),
        "delete": lambda: broker.delete(job_id),
        "reap": lambda: Broker(client, damage.STRICT).reap(QUEUE, longest_ms=dice.choice([0, 60_000])),
        "promote": lambda: broker.promote(QUEUE),
        "expire": lambda: broker.expire(QUEUE),
        "prune": lambda: scripts.run(
            PooledLink(client), Call("prune", KEYS, (finished, -1, 0, 10), source=getattr(KEYS, finished))
        ),
        "purge": lambda: broker.purge(QUEUE, waiting),
        "pause": lambda: broker.pause(QUEUE, reason="x"),
        "resume": lambda: broker.resume(QUEUE),
        "configure": lambda: broker.configure(QUEUE, max_depth=dice.choice([0, 5]), overflow="drop_oldest"),
        "beat": lambda: broker.beat(QUEUE, "host:1:b", b"{}", 30_000),
        "run": lambda: broker.note_run(RUN),
        "adopt": lambda: scripts.run(PooledLink(client), Call("adopt", KEYS, ("generation", 5, "max_depth", "7"))),
        "import": lambda: scripts.run(
            PooledLink(client), Call("import", KEYS, ("generation", job_id, "ready", 1, "", "", *RECORD, *NEW_JOB))
        ),
        "install": lambda: scripts.run(PooledLink(client), Call("install", KEYS, ("backup", "generation"))),
        "audit": lambda: list(audit_queue(client, QUEUE, repair=True)),
    }


def test_every_script_that_writes_is_among_those_called(valkey: Redis) -> None:
    broker = Broker(valkey)
    names = calls(valkey, broker, damage.fill(broker), random.Random(0))

    assert {name.split()[0] for name in names} | READERS == {path.stem for path in scripts.LUA_FOLDER.glob("*.lua")}


def half_done(client: Redis, name: str, call: Callable[[], object]) -> str | None:
    """Make a call; say so if it failed and yet changed something."""
    before = snapshot(client)
    try:
        replies = call()
        failed = [reply for reply in replies if isinstance(reply, QueueingError)] if name.startswith("claim ") else []
        if not failed:
            return None
        error: Exception = failed[0]
    except (LeaseLost, JobNotFound, WrongState):
        return None
    except QueueingError as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001 - what a caller is not told of it must not meet
        return f"{name}: {raised!r}"
    return None if snapshot(client) == before else f"{name}: {error}"


@pytest.mark.timeout(900)
def test_a_script_that_fails_on_damaged_keys_has_changed_nothing(valkey: Redis, seed: int, soak: bool) -> None:
    dice, found, made = random.Random(seed), [], 0
    for _ in range(LONG_ROUNDS if soak else ROUNDS):
        valkey.flushall()
        broker = Broker(valkey)
        ids = damage.fill(broker)
        done = [damage.do(valkey, ids, dice) for _ in range(dice.randint(1, 3))]
        some = calls(valkey, broker, ids, dice)
        for name in dice.sample(sorted(some), len(some)):
            made += 1
            if fault := half_done(valkey, name, some[name]):
                found.append(f"{fault} after {done}")

    print(f"seed {seed}, calls {made}, failed half-way {len(found)}")  # noqa: T201 - figures for the reader
    assert found == [], "\n".join(found)


@pytest.mark.timeout(900)
def test_a_repair_leaves_a_queue_that_works(valkey: Redis, seed: int, soak: bool) -> None:
    dice, found = random.Random(seed), []
    rounds = LONG_ROUNDS if soak else ROUNDS
    for _ in range(rounds):
        valkey.flushall()
        broker = Broker(valkey)
        ids = damage.fill(broker)
        done = [damage.do(valkey, ids, dice) for _ in range(dice.randint(1, 3))]
        try:
            list(audit_queue(valkey, QUEUE, repair=True))
            left = {fault.kind for fault in audit_queue(valkey, QUEUE)} - {"damaged"}
            works = broker.enqueue(QUEUE, NewJob.of("echo")).outcome == "created"
            broker.claim(QUEUE, "host:1:b", 50)
            broker.reap(QUEUE)
        except QueueFull:  # max_depth is one of the things damaged
            continue
        except Exception as error:  # noqa: BLE001
            found.append(f"{error!r} after {done}")
        else:
            if left or not works:
                found.append(f"{left} after {done}")

    print(f"seed {seed}, queues {rounds}, left damaged {len(found)}")  # noqa: T201 - figures for the reader
    assert found == [], "\n".join(found)
