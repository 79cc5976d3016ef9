"""Backups: every job of every queue as it is at one instant, proved to be readable before the file gets its name.

Each primary gives a snapshot over the network; a private server loads it, without a journal, and every job in it is
compared with the places it is in. A cluster's primaries have an instant each: a queue lies on one of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts
from queueing.archives import FORMAT, Manifest, Part, QueueContent, write_archive
from queueing.audit import Fault, audit_queue
from queueing.connections import Client, connect, link_to, primaries
from queueing.embedded import EmbeddedServer, EmbeddedServerError
from queueing.errors import BackupError
from queueing.files import new_file, refuse_existing
from queueing.inspector import Inspector
from queueing.keys import EVERY_KEY, RESTORING, split_key
from queueing.snapshots import fetch

LOCAL_TIMEOUT_SECONDS = 60.0  # of the private server
START_SECONDS, LOAD_BYTES_A_SECOND = 60.0, 5_000_000  # it loads 100 MB a second where it has a core of its own
NAMED_FAULTS = 5

Progress = Callable[[str, int, int | None], None]
"""Called with what is done, how much of it, and how much it will be if that is known."""

# Its data is a file that it must not touch: no journal, which it would read instead, and no snapshot at its end.
CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir {directory}
dbfilename dump.rdb
appendonly no
save ""
databases 1024
maxmemory 0
maxmemory-policy noeviction
hash-max-listpack-value 1024
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a backup is made: with which server it is read again, and whether it may have jobs at wrong places."""

    program: Path | None = None
    faults_allowed: bool = False


def silent(_what: str, _done: int, _total: int | None) -> None:
    """Show no progress."""


def back_up(client: Client, path: Path, options: Options | None = None, progress: Progress = silent) -> Manifest:
    """Write a backup to `path`, which must not exist, and return what is in it.

    Raises BackupError, StoreUnavailable, and OSError when the file cannot be written.
    """
    refuse_existing(path)
    options = options or Options()
    with new_file(path) as file, tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
        try:
            manifest, parts = _collect(client, Path(folder), options, progress)
        except RedisError as error:
            raise scripts.translate(error) from error
        write_archive(file, manifest, parts)
    return manifest


def _collect(client: Client, folder: Path, options: Options, progress: Progress) -> tuple[Manifest, list[Path]]:
    """Fetch and examine a snapshot of each primary, into files of `folder`."""
    _refuse_unfinished_restore(client)
    servers = primaries(client)
    first = next(iter(servers.values()))
    before, created_at = _slots_of(servers), _time_of(first)
    parts: list[Part] = []
    queues: list[QueueContent] = []
    paths: list[Path] = []
    for number, (name, server) in enumerate(servers.items(), start=1):
        paths.append(_place_for(folder / str(number)))
        parts.append(_fetch(server, paths[-1], number, partial(progress, name or "the server")))
        progress("checking", 0, None)
        with loaded(paths[-1], _database_of(server), options.program) as copy:
            queues += _contents_of(copy, parts[-1].name, options)
    _refuse_moved_slots(before, _slots_of(primaries(client)), queues)
    database = _database_of(first)
    return Manifest(format=FORMAT, created_at=created_at, database=database, parts=parts, queues=queues), paths


def _place_for(folder: Path) -> Path:
    """Return where a server started on `folder` (see `loaded`) looks for its data."""
    place = folder / "valkey"
    place.mkdir(parents=True, mode=0o700)
    return place / "dump.rdb"


def _fetch(server: Redis, path: Path, number: int, progress: Callable[[int, int | None], None]) -> Part:
    with path.open("xb") as file:
        snapshot = fetch(server, file, progress)
    return Part(name=f"primary-{number}.rdb", server=version_of(server), sha256=snapshot.sha256, bytes=snapshot.bytes)


def version_of(server: Redis) -> str:
    """Return a server's name and version, such as `valkey 9.1.2`."""
    about: dict[str, Any] = server.info("server")
    name = "valkey" if "valkey_version" in about else "redis"
    return f"{name} {about[f'{name}_version']}"


def _time_of(server: Redis) -> datetime:
    seconds, microseconds = server.time()
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def _database_of(server: Redis) -> int:
    return int(server.connection_pool.connection_kwargs.get("db") or 0)


def _slots_of(servers: dict[str, Redis]) -> dict[str, Any]:
    """Return which primary has which slots, as each of a cluster's primaries says; nothing of one server alone."""
    return {name: _slots_as_told_by(server) for name, server in servers.items() if name}


def _slots_as_told_by(server: Redis) -> list[tuple[int, int, bytes]]:
    """Return ranges of slots with the id of the node that has them (CLUSTER SLOTS)."""
    ranges = server.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    return sorted((first, last, primary[2]) for first, last, primary, *_replicas in ranges)


def _refuse_unfinished_restore(client: Client) -> None:
    if link_to(client).execute(("EXISTS", RESTORING), RESTORING):
        raise BackupError("a restore into this server was not finished: finish it first")


def _refuse_moved_slots(before: dict[str, Any], after: dict[str, Any], queues: Sequence[QueueContent]) -> None:
    """Raise BackupError when a queue may be in no snapshot, or is in two."""
    names = [content.queue for content in queues]
    if before != after or len(names) != len(set(names)):
        raise BackupError("slots of the cluster moved meanwhile: a queue may be missing; make the backup again")


@contextmanager
def loaded(path: Path, database: int, program: Path | None = None) -> Iterator[Redis]:
    """Give a client of a private server that has loaded an RDB file, `<folder>/valkey/dump.rdb`, and nothing else."""
    server = EmbeddedServer(path.parent.parent, config=CONFIG, program=program)
    try:
        server.start(START_SECONDS + path.stat().st_size / LOAD_BYTES_A_SECOND)
    except (EmbeddedServerError, OSError) as error:
        raise BackupError(_why_not_loaded(path, str(error), program)) from None
    try:
        with closing(connect(f"{server.url}?db={database}", socket_timeout_seconds=LOCAL_TIMEOUT_SECONDS)) as client:
            yield client
    finally:
        server.stop()


def _why_not_loaded(path: Path, error: str, program: Path | None) -> str:
    with path.open("rb") as file:
        head = file.read(9).decode(errors="replace")
    if "RDB format version" in error:
        name = program or "the Valkey that comes with this program"
        return (
            f"{name} cannot read the format of this snapshot ({head}): name a server of the release it was made by, "
            "or a later one, with --server-program"
        )
    return f"the snapshot ({head}) cannot be loaded: {error}"


def _contents_of(copy: Redis, part: str, options: Options) -> list[QueueContent]:
    """Return what there is of each queue; raises BackupError for jobs at wrong places, unless they are allowed."""
    contents, named = contents_of(copy, part)
    if named and not options.faults_allowed:
        count = sum(content.faults for content in contents)
        shown = named[:NAMED_FAULTS]
        text = ", ".join(f"{fault.kind} {fault.job_id}" for fault in shown) + (", ..." if count > len(shown) else "")
        raise BackupError(
            f"{count} jobs are not where their records say: {text}. "
            "Mend them with `doctor --repair`, or keep them as they are with --allow-faults"
        )
    return contents


def contents_of(copy: Redis, part: str) -> tuple[list[QueueContent], list[Fault]]:
    """Return what there is of each queue on a server, and the first faults of each."""
    contents: list[QueueContent] = []
    named: list[Fault] = []
    inspector = Inspector(copy)
    for queue in queues_on(copy):
        faults = audit_queue(copy, queue)
        first = list(islice(faults, NAMED_FAULTS))
        named += first
        count = len(first) + sum(1 for _ in faults)
        stats = inspector.stats(queue)
        contents.append(
            QueueContent(queue=queue, part=part, generation=stats.generation, counts=dict(stats.counts), faults=count)
        )
    return contents, named


def queues_on(server: Redis) -> list[str]:
    """Return the names of the queues that have any key on a server."""
    names = {split[0] for key in server.scan_iter(match=EVERY_KEY, count=1000) if (split := split_key(key))}
    return sorted(names)
