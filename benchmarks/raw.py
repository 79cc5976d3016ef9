"""The limits: what redis-py, used as its documentation shows, does with the least scripts that make a queue.

    python -m benchmarks.raw KEEP_SECONDS

is their worker: one EVALSHA a job, which finishes the last and claims the next, and BLPOP when there is none. A
finished job is kept so long; 0 deletes it.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from functools import cache
from hashlib import sha1
from pathlib import Path

from redis import Redis
from redis.exceptions import NoScriptError

from benchmarks import marks

READY, SEQUENCE, WAKE, RUNNING, FINISHED = (
    f"raw:{{q}}:{name}" for name in ("ready", "sequence", "wake", "running", "finished")
)
JOB_PREFIX = "raw:{q}:job:"
LEASE_MS = 30_000
PAYLOAD = '{"text": "' + "x" * 88 + '"}'  # 100 bytes


@cache
def client() -> Redis:
    """Return a client with a pool, as redis-py makes it."""
    return Redis.from_url(os.environ["REDIS_URL"])


@cache
def script(name: str) -> str:
    """Load a script and return its hash."""
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
    sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
    if not client().script_exists(sha)[0]:
        client().script_load(text)
    return sha


_IDS = itertools.count(time.time_ns())


def _new_id() -> str:
    return f"q_{next(_IDS):032x}"  # as long as a UUID and a queue's name


def send_noop(payload: str = PAYLOAD) -> None:
    """Submit one job."""
    job_id = _new_id()
    client().evalsha(script("enqueue"), 4, READY, SEQUENCE, WAKE, JOB_PREFIX + job_id, job_id, payload)


def send_stamp() -> None:
    """Submit a job that knows when it was submitted."""
    send_noop(repr(time.monotonic()))


def send_hundred(count: int = 100) -> None:
    """Submit a hundred jobs in one trip, each a call of the script."""
    pipeline, sha = client().pipeline(transaction=False), script("enqueue")
    for _ in range(count):
        job_id = _new_id()
        pipeline.evalsha(sha, 4, READY, SEQUENCE, WAKE, JOB_PREFIX + job_id, job_id, PAYLOAD)
    pipeline.execute()


def send_thousand() -> None:
    """Submit a thousand jobs in one trip, each a call of the script."""
    send_hundred(1000)


def send_hundred_at_once() -> None:
    """Submit a hundred jobs in one call of a script."""
    jobs = [part for _ in range(100) for part in (_new_id(), PAYLOAD)]
    client().evalsha(script("enqueue_many"), 3, READY, SEQUENCE, WAKE, JOB_PREFIX, *jobs)


def work(keep_seconds: int) -> None:
    """Run jobs for ever."""
    done = ""
    while True:
        try:
            job = client().evalsha(
                script("next"), 3, READY, RUNNING, FINISHED, JOB_PREFIX, done, LEASE_MS, keep_seconds
            )
        except NoScriptError:
            script.cache_clear()
            continue
        if job is None:
            done = ""
            client().blpop([WAKE], timeout=1)
            continue
        done = job[0]
        if job[1].startswith(b"{"):
            marks.count()
        else:
            marks.stamp(float(job[1]))


if __name__ == "__main__":
    work(int(sys.argv[1]))
