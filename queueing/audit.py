"""Looking after the database: whether the server is set up to keep jobs, and records agree with the sets.

Everything here may run against a live server: each batch of jobs is compared inside one script, so a job that moves
meanwhile is no fault. It is for people (`manage.py doctor`): it walks over all keys, in small steps.
"""

from __future__ import annotations

import dataclasses
import functools
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts
from queueing.connections import Client, link_to, primaries, server_of
from queueing.errors import QueueingError
from queueing.jobs import FINISHED_STATES
from queueing.keys import QueueKeys, queue_keys
from queueing.scripts import Call

BATCH = 100
MIN_VERSIONS = {"redis": (7, 0), "valkey": (7, 2)}
CLOCK_TOLERANCE_SECONDS = 2.0
AWAY = "away"  # the code of a server of several, or of a queue, that cannot be reached
JOURNAL_WRITE = "journal_write"  # the code of an error that may pass by itself

_PLACES = ("ready", "scheduled", "running", "deadlines", *(state.value for state in FINISHED_STATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about the server that a person should know. `level` is error, warning or ok."""

    level: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A job whose record and places do not agree; lua/audit.lua explains `kind`.

    With kind `wrong_type` it is a key of the queue (in `job_id`) that holds something else than it should.
    """

    job_id: str
    kind: str
    mended: bool


def check_server(client: Client, *, volatile_allowed: bool = False) -> list[Finding]:
    """Return what speaks for and against keeping jobs on this server; of a cluster, on each of its primaries.

    One of several that does not answer is a warning; raises QueueingError when none does.
    """
    try:
        servers = primaries(client)
    except RedisError as error:
        raise scripts.translate(error) from error
    with ThreadPoolExecutor(len(servers)) as threads:  # one that does not answer takes its time limit
        check = functools.partial(_check, volatile_allowed=volatile_allowed)
        of_servers = dict(zip(servers, threads.map(check, servers.values()), strict=True))
    errors = [found for found in of_servers.values() if isinstance(found, QueueingError)]
    if len(errors) == len(servers):
        raise errors[0]
    return [
        dataclasses.replace(finding, text=f"{name}: {finding.text}" if name else finding.text)
        for name, found in of_servers.items()
        for finding in (found if isinstance(found, list) else [Finding(level="warning", code=AWAY, text=str(found))])
    ]


def _check(server: Redis, *, volatile_allowed: bool) -> list[Finding] | QueueingError:
    try:
        info: dict[str, Any] = server.info()
        server_time, local_time = server.time(), time.time()
    except RedisError as error:
        return scripts.translate(error)
    return [
        _check_version(info),
        _check_role(info),
        _check_eviction(info),
        _check_journal(info, volatile_allowed=volatile_allowed),
        _check_clock(server_time[0] + server_time[1] / 1e6 - local_time),
    ]


def reasons_to_refuse(findings: Sequence[Finding]) -> list[str]:
    """Return what a start-up refuses: errors of the settings, not a disk that is full at the moment."""
    return [finding.text for finding in findings if finding.level == "error" and finding.code != JOURNAL_WRITE]


def _check_version(info: dict[str, Any]) -> Finding:
    name = "valkey" if "valkey_version" in info else "redis"
    text = str(info[f"{name}_version"])
    version = tuple(int(part) for part in text.split(".")[:2])
    if version < MIN_VERSIONS[name]:
        wanted = ".".join(map(str, MIN_VERSIONS[name]))
        return Finding(level="error", code="version", text=f"{name} {text} is too old, {wanted} is needed")
    return Finding(level="ok", code="version", text=f"{name} {text}")


def _check_role(info: dict[str, Any]) -> Finding:
    if info["role"] != "master":
        return Finding(level="error", code="role", text="the server is a replica: it refuses every write")
    return Finding(level="ok", code="role", text="the server is a primary")


def _check_eviction(info: dict[str, Any]) -> Finding:
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: the server may drop jobs; set it to noeviction"
        return Finding(level="error", code="eviction", text=text)
    return Finding(level="ok", code="eviction", text="nothing is evicted")


def _check_journal(info: dict[str, Any], *, volatile_allowed: bool) -> Finding:
    if not info["aof_enabled"]:
        level = "warning" if volatile_allowed else "error"
        text = "no journal (appendonly no): a restart of the server loses jobs"
        return Finding(level=level, code="journal", text=text)
    if info.get("aof_last_write_status") != "ok":
        text = "the last write of the journal failed; is the disk full?"
        return Finding(level="error", code=JOURNAL_WRITE, text=text)
    return Finding(level="ok", code="journal", text="the journal is on")


def _check_clock(ahead_seconds: float) -> Finding:
    if abs(ahead_seconds) > CLOCK_TOLERANCE_SECONDS:
        text = f"the server's clock is {ahead_seconds:+.1f} s off this machine's"
        return Finding(level="warning", code="clock", text=text)
    return Finding(level="ok", code="clock", text="the server's clock agrees with this machine's")


def audit_queue(store: Client, queue: str, *, repair: bool = False) -> Iterator[Fault]:
    """Compare every job of a queue with its places and yield each fault once, mending it if `repair`."""
    try:
        client = server_of(store, queue)
    except RedisError as error:
        raise scripts.translate(error) from error
    keys, link = queue_keys(queue), link_to(store)
    yield from _check_types(client, keys, repair=repair)
    seen: set[tuple[bytes, bytes]] = set()
    for ids in _batches(_ids(client, keys)):
        for job_id, kind, mended in scripts.run(link, Call("audit", keys, (int(repair), *ids))):
            if (job_id, kind) not in seen:
                seen.add((job_id, kind))
                yield Fault(job_id=job_id.decode(errors="replace"), kind=kind.decode(), mended=mended == 1)


def _check_types(client: Redis, keys: QueueKeys, *, repair: bool) -> Iterator[Fault]:
    """Yield each key of a wrong type, renaming it if `repair`: nothing works on the queue while it is in the way."""
    expected = dict.fromkeys(_PLACES, b"zset") | {"meta": b"hash", "workers": b"hash", "wake": b"list"}
    try:
        for name, kind in expected.items():
            key = getattr(keys, name)
            if client.type(key) not in (kind, b"none"):
                if repair:
                    client.rename(key, f"{key}:damaged:{secrets.token_hex(4)}")
                yield Fault(job_id=key, kind="wrong_type", mended=repair)
    except RedisError as error:
        raise scripts.translate(error) from error


def _batches(ids: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(ids, BATCH)):
        yield batch


def _ids(client: Redis, keys: QueueKeys) -> Iterator[bytes]:
    """Yield the ids of all records, then those of all sets: either may lack the other."""
    prefix = len(keys.job_prefix)
    try:
        for key in client.scan_iter(match=keys.job_prefix + "*", count=1000):
            yield key[prefix:]
        for place in _PLACES:
            for job_id, _score in client.zscan_iter(getattr(keys, place), count=1000):
                yield job_id
    except RedisError as error:
        raise scripts.translate(error) from error
