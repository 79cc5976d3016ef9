"""Restore a backup into a server that has no jobs, as writes like any other, so that its journal has them all.

Records are written first, where nobody meets them, and the places of jobs under names of their own; when all are there
and counted, one step for each queue shows it whole. So a worker or a client sees a queue empty, and then as it was, and
its clock never runs back. What was cut short can be done again: it goes on with the queues that are not shown yet.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts
from queueing.archives import Manifest, read_archive
from queueing.audit import audit_queue, check_server, reasons_to_refuse
from queueing.backup import Progress, contents_of, loaded, silent
from queueing.connections import Client, link_to, primaries
from queueing.errors import BackupError, TargetUnfit
from queueing.keys import EVERY_KEY, RESTORING, RESTORING_LOCK, queue_keys, split_key
from queueing.links import Command, Link
from queueing.scripts import Call

SOURCE_BATCH = 100  # keys read at once; a record has 400 KB at most
CHUNK = 1_000  # members of a big key read, and written, at once
TRIP_COMMANDS, TRIP_BYTES = 500, 1_000_000  # of one round trip to the target
LOCK_MS = 15_000  # how long a restore that was killed keeps others away
LOCK_LOOK_SECONDS = 0.2
CLOCK_TOLERANCE_SECONDS = 2.0
NAMED_KEYS = 20

#: Written under names of their own until they are shown (lua/install.lua).
STAGED = frozenset(
    ("ready", "scheduled", "running", "deadlines", "succeeded", "dead", "cancelled", "expired", "runs", "meta")
)
#: Signs of life and hints of processes that are gone.
LEFT_OUT = frozenset(("wake", "workers"))


@dataclass(slots=True, kw_only=True)
class Restored:
    """What was done; `left_out` are the first keys that are no part of a queue as this release knows it."""

    manifest: Manifest
    continued: bool = False
    keys: int = 0
    left_out_count: int = 0
    left_out: list[str] = field(default_factory=list)

    def note_left_out(self, key: bytes) -> None:
        """Count a key that was not restored, naming the first ones."""
        self.left_out_count += 1
        if len(self.left_out) < NAMED_KEYS:
            self.left_out.append(key.decode(errors="replace"))


def restore(
    client: Client,
    path: Path,
    *,
    program: Path | None = None,
    volatile_allowed: bool = False,
    progress: Progress = silent,
) -> Restored:
    """Write what a backup has into the queues of `client`, which must have none.

    Raises BackupError, TargetUnfit and StoreUnavailable; until queues are shown nothing is visible of it.
    """
    with tempfile.TemporaryDirectory(dir=_roomy_folder(path), prefix=f"{path.name}.") as folder:
        progress("checking", 0, None)
        manifest, parts = read_archive(path, Path(folder))
        try:
            _refuse_unfit(client, manifest, volatile_allowed=volatile_allowed)
            with _Target(link_to(client), manifest, progress) as target:
                return _restore_parts(client, target, _placed(parts), program, progress)
        except RedisError as error:
            raise scripts.translate(error) from error


def _roomy_folder(path: Path) -> Path | None:
    """Return the folder of a backup, which has room for one, or None (TMPDIR) where nothing can be written."""
    return path.parent if os.access(path.parent, os.W_OK) else None


def _placed(parts: Sequence[Path]) -> list[Path]:
    """Move each part to where a server looks for it (`loaded`)."""
    return [_place(part) for part in parts]


def _place(part: Path) -> Path:
    place = part.with_suffix("") / "valkey"
    place.mkdir(parents=True, mode=0o700)
    return part.rename(place / "dump.rdb")


def _restore_parts(
    client: Client, target: _Target, parts: Sequence[Path], program: Path | None, progress: Progress
) -> Restored:
    manifest = target.manifest
    done = Restored(manifest=manifest, continued=_begin(client, target))
    for part, path in zip(manifest.parts, parts, strict=True):
        with loaded(path, manifest.database, program) as source:
            _compare_with_manifest(source, manifest, part.name)
            target.mark()
            _copy(source, target, done, progress)
            _compare_sizes(source, target, part.name)
    for content in manifest.queues:
        target.show(content.queue)
    _audit(client, manifest)
    target.finish()
    return done


# Whether to begin


def _refuse_unfit(client: Client, manifest: Manifest, *, volatile_allowed: bool) -> None:
    """Raise unless every primary would keep what is written, and its clock goes on where that of the backup was."""
    reasons = reasons_to_refuse(check_server(client, volatile_allowed=volatile_allowed))
    if reasons:
        raise TargetUnfit(f"the server is not fit to keep jobs: {'; '.join(reasons)}")
    for server in primaries(client).values():
        seconds, _ = server.time()
        behind = manifest.created_at.timestamp() - seconds
        if behind > CLOCK_TOLERANCE_SECONDS:
            raise TargetUnfit(f"the server's clock is {behind:.0f} s behind the moment of the backup: set it first")


def _begin(client: Client, target: _Target) -> bool:
    """Refuse a target that has anything else; returns whether this goes on with a restore that was cut short."""
    mark = target.one(("GET", RESTORING))
    if mark is None:
        _refuse_keys(client)
        return False
    if mark != target.backup.encode():
        raise BackupError(f"a restore of another backup into this server was not finished; {HOW_TO_EMPTY}")
    return True


HOW_TO_EMPTY = "to begin anew empty it (FLUSHDB on each primary, which drops rate limits and caches as well)"


def _refuse_keys(client: Client) -> None:
    for server in primaries(client).values():
        ours = (key.decode(errors="replace") for key in server.scan_iter(match=EVERY_KEY, count=1000))
        found = [key for key in islice(ours, 4) if key != RESTORING_LOCK]
        if found:
            more = ", ..." if len(found) > 3 else ""
            raise BackupError(
                f"the server is not empty, it has {', '.join(found[:3])}{more}: nothing was changed. "
                "Restore into a new server, or stop the API and all workers and empty this one (FLUSHDB)"
            )


def _compare_with_manifest(source: Redis, manifest: Manifest, part: str) -> None:
    """Raise BackupError unless a part holds the jobs that the manifest names."""
    contents, _ = contents_of(source, part)
    if contents != [content for content in manifest.queues if content.part == part]:
        raise BackupError(f"{part} does not hold the jobs that the manifest names")


# What is written, and where


class _Target:
    """The server or cluster that is restored into, for as long as no other restore has it.

    Use it as a context: it waits until no other process restores here, and gives up what it holds.
    """

    def __init__(self, link: Link, manifest: Manifest, progress: Progress) -> None:
        self.manifest = manifest
        self.backup = f"{manifest.created_at:%Y-%m-%dT%H:%M:%SZ} {manifest.id}"
        self._link = link
        self._progress = progress
        self._nonce = secrets.token_hex(16)
        self._commands: list[Command] = []
        self._queues: list[str] = []
        self._bytes = 0
        self._shown: dict[str, bool] = {}
        self._leaving = threading.Event()
        self._keeper = threading.Thread(target=self._keep_lock, daemon=True)

    def __enter__(self) -> _Target:
        give_up_at = time.monotonic() + 2 * LOCK_MS / 1000
        while self.one(("SET", RESTORING_LOCK, self._nonce, "NX", "PX", LOCK_MS)) is None:
            if time.monotonic() > give_up_at:
                raise BackupError("another process restores into this server")
            self._progress("waiting for another restore to end, or to be long gone", 0, None)
            time.sleep(LOCK_LOOK_SECONDS)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._keeper.join()
        with suppress(RedisError):  # it passes by itself
            if self.one(("GET", RESTORING_LOCK)) == self._nonce.encode():
                self.one(("DEL", RESTORING_LOCK))

    def _keep_lock(self) -> None:
        """Keep the lock while this process lives; `flush` notices when it was lost all the same."""
        while not self._leaving.wait(LOCK_MS / 3000):
            with suppress(RedisError):
                self.one(("PEXPIRE", RESTORING_LOCK, LOCK_MS))

    def one(self, command: Command) -> Any:
        """Run a command whose first argument is a key of no queue."""
        return self._link.execute(command, str(command[1]))

    def mark(self) -> None:
        """Note that this backup is being restored, so that no other is begun in between."""
        self.one(("SET", RESTORING, self.backup))

    def is_shown(self, queue: str) -> bool:
        """Whether the queue is there as the backup has it, shown by an earlier run."""
        if queue not in self._shown:
            command = ("HGET", queue_keys(queue).meta, "restored")
            self._shown[queue] = self._link.execute(command, queue) == self.backup.encode()
        return self._shown[queue]

    def write(self, queue: str, commands: Iterable[Command]) -> None:
        """Write, some time soon; see `flush`."""
        for command in commands:
            self._commands.append(command)
            self._queues.append(queue)
            self._bytes += sum(len(part) if isinstance(part, bytes) else 16 for part in command)
            if len(self._commands) >= TRIP_COMMANDS or self._bytes >= TRIP_BYTES:
                self.flush()

    def flush(self) -> None:
        """Send what was to be written; raises BackupError when it is refused.

        A process that was stopped for longer than its lock lasts writes nothing: the queue may be in use by now.
        """
        if self.one(("GET", RESTORING_LOCK)) != self._nonce.encode():
            raise BackupError("another process restores into this server; run this again when it is done")
        replies = self._link.execute_many(self._commands, self._queues) if self._commands else []
        self._commands, self._queues, self._bytes = [], [], 0
        for reply in replies:
            if isinstance(reply, RedisError):
                raise BackupError(f"the server refused a write: {reply}. Mend that and restore again: it goes on")

    def sizes(self, queue: str) -> list[int]:
        """Return how much each of the staged keys of a queue has."""
        prefix = queue_keys(queue).staging_prefix
        commands = [_size_command(name, prefix + name) for name in sorted(STAGED)]
        return _checked(self._link.execute_many(commands, [queue] * len(commands)))

    def show(self, queue: str) -> None:
        """Show a queue, all of it at once."""
        self.flush()
        reply = scripts.run(self._link, Call("install", queue_keys(queue), (self.backup, secrets.token_hex(8))))
        if reply != b"shown":
            raise BackupError(
                f"queue {queue} was used while it was restored, by the API or a worker: stop them; {HOW_TO_EMPTY}"
            )

    def finish(self) -> None:
        """Forget that a restore goes on."""
        self.one(("DEL", RESTORING))


def _checked(replies: Sequence[Any]) -> list[int]:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return [int(reply) for reply in replies]


def _size_command(name: str, key: str) -> Command:
    return ({"meta": "HLEN", "runs": "LLEN"}.get(name, "ZCARD"), key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """A key to be written; `into` is its name there, `expires` is -1 for never."""

    name: bytes
    queue: str
    into: bytes
    kind: bytes
    expires: int

    @property
    def is_small(self) -> bool:
        """Whether it can be read at once, with others: a record, or a string."""
        is_record = self.name.startswith(queue_keys(self.queue).job_prefix.encode())
        return self.kind == b"string" or (self.kind == b"hash" and is_record)


def _copy(source: Redis, target: _Target, done: Restored, progress: Progress) -> None:
    """Write every key of the queues that are not shown yet."""
    names = source.scan_iter(match=EVERY_KEY, count=1000)
    while batch := list(islice(names, SOURCE_BATCH)):
        keys = _keys_to_write(source, batch, target, done)
        small = [key for key in keys if key.is_small]
        for key, contents in [
            *zip(small, _read_small(source, small), strict=True),
            *((key, _BIG[key.kind](source, key.name)) for key in keys if not key.is_small),
        ]:
            target.write(key.queue, _write_key(key, contents))
        done.keys += len(keys)
        progress("keys", done.keys, None)
    target.flush()


def _keys_to_write(source: Redis, batch: Sequence[bytes], target: _Target, done: Restored) -> list[_Key]:
    """Return what is to be written of some keys, noting those that no queue has."""
    pipeline = source.pipeline(transaction=False)
    for name in batch:
        pipeline.type(name)
        pipeline.execute_command("PEXPIRETIME", name)  # type: ignore[no-untyped-call]
    replies = pipeline.execute()
    keys = []
    for name, kind, expires in zip(batch, replies[::2], replies[1::2], strict=True):
        split = split_key(name)
        if split is None or kind not in _WRITERS:
            done.note_left_out(name)
            continue
        queue, place = split[0], split[1].decode(errors="replace")
        if place in LEFT_OUT or target.is_shown(queue):
            continue
        into = (queue_keys(queue).staging_prefix + place).encode() if place in STAGED else name
        keys.append(_Key(name=name, queue=queue, into=into, kind=kind, expires=expires))
    return keys


def _write_key(key: _Key, contents: Iterable[list[Any]]) -> Iterator[Command]:
    """Yield the commands that write a key anew, whatever an earlier run wrote of it."""
    yield "DEL", key.into
    for arguments in contents:
        yield (_WRITERS[key.kind], key.into, *arguments)
    if key.expires >= 0:
        yield "PEXPIREAT", key.into, key.expires


_WRITERS = {b"string": "SET", b"hash": "HSET", b"zset": "ZADD", b"list": "RPUSH"}


def _read_small(source: Redis, keys: Sequence[_Key]) -> list[list[list[Any]]]:
    """Return of each key what it is written with, in one round trip; nothing of one that has expired by now."""
    pipeline = source.pipeline(transaction=False)
    for key in keys:
        if key.kind == b"hash":
            pipeline.hgetall(key.name)
        else:
            pipeline.get(key.name)
    return [_small(value) for value in pipeline.execute()]


def _small(value: Any) -> list[list[Any]]:
    if isinstance(value, dict):
        return [[part for pair in value.items() for part in pair]]
    return [] if value is None else [[value]]


def _read_hash(source: Redis, name: bytes) -> Iterator[list[Any]]:
    pairs = source.hscan_iter(name, count=CHUNK)
    while batch := list(islice(pairs, CHUNK)):
        yield [part for pair in batch for part in pair]


def _read_sorted_set(source: Redis, name: bytes) -> Iterator[list[Any]]:
    for start in count(0, CHUNK):
        found: Any = source.zrange(name, start, start + CHUNK - 1, withscores=True)
        if not found:
            return
        yield [part for member, score in found for part in (repr(float(score)), member)]


def _read_list(source: Redis, name: bytes) -> Iterator[list[Any]]:
    for start in count(0, CHUNK):
        found = source.lrange(name, start, start + CHUNK - 1)
        if not found:
            return
        yield list(found)


_BIG = {b"hash": _read_hash, b"zset": _read_sorted_set, b"list": _read_list}


# Whether it is all there


def _compare_sizes(source: Redis, target: _Target, part: str) -> None:
    """Raise BackupError unless every staged key of every queue of a part has as much as in the backup."""
    for content in target.manifest.queues:
        if content.part != part or target.is_shown(content.queue):
            continue
        keys, names = queue_keys(content.queue), sorted(STAGED)
        pipeline = source.pipeline(transaction=False)
        for name in names:
            pipeline.execute_command(*_size_command(name, getattr(keys, name)))  # type: ignore[no-untyped-call]
        if target.sizes(content.queue) != pipeline.execute():
            raise BackupError(f"queue {content.queue} has not arrived whole; {HOW_TO_EMPTY}")


def _audit(client: Client, manifest: Manifest) -> None:
    """Raise BackupError when more jobs are at wrong places than in the backup."""
    for content in manifest.queues:
        found = sum(1 for _ in audit_queue(client, content.queue))
        if found > content.faults:
            raise BackupError(f"{found} jobs of queue {content.queue} are not where their records say: see `doctor`")
