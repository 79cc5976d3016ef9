"""Jobs of queues as lines of JSON (`queueing.lines`), out of one installation and into another, of any release.

An export reads job by job beside a live system: it is no instant, as a backup is. A job that is there all the time is
in it, perhaps twice; an import leaves alone what is there already, so a file may be imported any number of times.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO

from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts
from queueing.backup import version_of
from queueing.connections import Client, link_to, primaries
from queueing.errors import BackupError, InvalidJob
from queueing.jobs import State, queue_of
from queueing.keys import EVERY_META, EVERY_RECORD, queue_keys, split_key
from queueing.lines import (
    FORMAT,
    AnyLine,
    EndLine,
    HeaderLine,
    JobLine,
    QueueLine,
    from_line,
    job_arguments,
    job_line,
    queue_line,
    queue_settings,
    to_line,
)
from queueing.links import Argument, Link
from queueing.scripts import Call

READ_BATCH = 50  # jobs of one call; a record has 400 KB at most
WRITE_BATCH, WRITE_BYTES = 100, 2_000_000  # jobs of one call, and the length of their lines
MAX_LINE_BYTES = 8 * 1024 * 1024

Progress = Callable[[int], None]
"""Called with how many jobs there are by now."""


def silent(_jobs: int) -> None:
    """Show no progress."""


# Out


@dataclass(slots=True)
class Exported:
    """What was written, and how much could not be."""

    queues: int = 0
    jobs: int = 0
    damaged: int = 0


def export_jobs(
    client: Client,
    file: BinaryIO,
    *,
    queues: Collection[str] = (),
    states: Collection[State] = (),
    report: Callable[[str], None] = lambda _text: None,
    progress: Progress = silent,
) -> Exported:
    """Write queues and their jobs, all of them or those named; raises StoreUnavailable, and OSError of the file.

    `report` is called with what is damaged and cannot be written, and why.
    """
    done = Exported()
    try:
        servers = primaries(client)
        file.write(to_line(_header(next(iter(servers.values())))))
        link = link_to(client)
        found = sorted({queue for server in servers.values() for queue in _queues_of(server)})
        for queue in (queue for queue in found if not queues or queue in queues):
            _write_queue(link, queue, file, done, report)
        for server in servers.values():
            for queue, ids in _batches(server, queues):
                for name, line in _read_jobs(link, queue, ids):
                    _write_job(name, line, states, file, done, report)
                progress(done.jobs)
    except RedisError as error:
        raise scripts.translate(error) from error
    file.write(to_line(EndLine(jobs=done.jobs)))
    return done


def _header(server: Redis) -> HeaderLine:
    return HeaderLine(format=FORMAT, created_at=datetime.now(UTC), server=version_of(server))


def _queues_of(server: Redis) -> Iterator[str]:
    for key in server.scan_iter(match=EVERY_META, count=1000):
        if (split := split_key(key)) and split[1] == b"meta":
            yield split[0]


def _batches(server: Redis, queues: Collection[str]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield ids of jobs with their queue, READ_BATCH at most, of the queues named or of all."""
    waiting: dict[str, list[bytes]] = defaultdict(list)
    for key in server.scan_iter(match=EVERY_RECORD, count=1000):
        split = split_key(key)
        if split is None or (queues and split[0] not in queues) or not split[1].startswith(b"job:"):
            continue
        queue, name = split
        waiting[queue].append(name.removeprefix(b"job:"))
        if len(waiting[queue]) == READ_BATCH:
            yield queue, waiting.pop(queue)
    yield from waiting.items()


def _write_queue(link: Link, queue: str, file: BinaryIO, done: Exported, report: Callable[[str], None]) -> None:
    try:
        meta = _pairs(link.execute(("HGETALL", queue_keys(queue).meta), queue))
        line = queue_line(queue, {name.decode(): value.decode() for name, value in meta.items()})
    except ValueError as error:
        done.damaged += 1
        report(f"queue {queue}: {error}")
        return
    file.write(to_line(line))
    done.queues += 1


def _read_jobs(link: Link, queue: str, ids: Sequence[bytes]) -> Iterator[tuple[str, JobLine | Exception]]:
    """Yield the lines of jobs that are still there, or what is wrong with a job."""
    for job_id, record, score in scripts.run(link, Call("jobs", queue_keys(queue), ids)):
        name = job_id.decode(errors="replace")
        try:
            if record is None:
                yield name, ValueError("what is stored under its id is no record")
            elif record:
                yield name, job_line(name, _pairs(record), score)
        except (ValueError, InvalidJob) as error:
            yield name, error


def _write_job(
    name: str,
    line: JobLine | Exception,
    states: Collection[State],
    file: BinaryIO,
    done: Exported,
    report: Callable[[str], None],
) -> None:
    if isinstance(line, Exception):
        done.damaged += 1
        report(f"job {name}: {line}")
    elif not states or line.state in states:
        file.write(to_line(line))
        done.jobs += 1


def _pairs(flat: Any) -> Mapping[bytes, bytes]:
    if isinstance(flat, Mapping):
        return flat
    return dict(zip(flat[::2], flat[1::2], strict=True))


# In


@dataclass(slots=True)
class Imported:
    """What became of the lines; `refused` ones were reported."""

    stored: int = 0
    existed: int = 0
    refused: int = 0
    adopted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


class Importer:
    """Reads the lines of an export and stores what they name.

    `known` are the queues that somebody serves; a line of another is refused. `report` is called with the number of
    each line that is refused, and why. With `strict` the first one ends the import, raising BackupError; with
    `check_only` nothing is stored.
    """

    def __init__(
        self,
        client: Client,
        known: Collection[str],
        report: Callable[[int, str], None],
        *,
        strict: bool = False,
        check_only: bool = False,
    ) -> None:
        self.done = Imported()
        self._link = link_to(client)
        self._known = known
        self._report = report
        self._strict = strict
        self._check_only = check_only
        self._waiting: dict[str, list[tuple[int, list[str | int]]]] = defaultdict(list)
        self._waiting_jobs = self._waiting_bytes = self._jobs = self._unreadable = 0
        self._is_ended = False

    def read(self, file: BinaryIO, progress: Progress = silent) -> Imported:
        """Import a file; raises BackupError when it is no export, and StoreUnavailable."""
        lines = enumerate(_lines(file), start=1)
        _check_header(lines)
        number = 1
        try:
            for number, text in lines:
                self._take(number, text)
                progress(self._jobs)
            if not self._is_ended:
                self._refuse(number, "the file ends without its last line: it was cut short")
        finally:
            self._flush()
        return self.done

    def _take(self, number: int, text: bytes | None) -> None:
        try:
            self._take_line(number, len(text or b""), self._read(text))
        except (ValueError, InvalidJob) as error:
            self._refuse(number, str(error))

    def _read(self, text: bytes | None) -> AnyLine:
        """Read a line, counting those of jobs and those that may have been."""
        try:
            line = _decode(text)
        except ValueError:
            self._unreadable += 1
            raise
        self._jobs += isinstance(line, JobLine)
        return line

    def _take_line(self, number: int, length: int, line: AnyLine) -> None:
        if self._is_ended:
            raise ValueError("comes after the last line")
        match line:
            case QueueLine():
                self._adopt(line)
            case JobLine():
                self._put(number, length, line)
            case EndLine():
                self._is_ended = True
                if not self._jobs <= line.jobs <= self._jobs + self._unreadable:
                    raise ValueError(f"the file was written with {line.jobs} jobs and has {self._jobs}")
            case HeaderLine():
                raise ValueError("another export begins here: import one file at a time")

    def _adopt(self, line: QueueLine) -> None:
        settings = queue_settings(line)
        self._check_known(line.name)
        if self._check_only:
            return
        pairs = [part for pair in settings.items() for part in pair]
        call = Call("adopt", queue_keys(line.name), (secrets.token_hex(8), line.clock, *pairs))
        (self.done.adopted if scripts.run(self._link, call) else self.done.kept).append(line.name)

    def _put(self, number: int, length: int, line: JobLine) -> None:
        arguments = job_arguments(line)
        queue = queue_of(line.id) or ""
        self._check_known(queue)
        self._waiting[queue].append((number, arguments))
        self._waiting_jobs += 1
        self._waiting_bytes += length
        if self._waiting_jobs >= WRITE_BATCH or self._waiting_bytes >= WRITE_BYTES:
            self._flush()

    def _check_known(self, queue: str) -> None:
        if queue not in self._known:
            raise ValueError(f"queue {queue} is none of QUEUES: nobody would serve it")

    def _flush(self) -> None:
        """Store what waits, in one step for each queue."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        self._waiting_jobs = self._waiting_bytes = 0
        for queue, jobs in waiting.items():
            outcomes = [b"stored"] * len(jobs) if self._check_only else self._store(queue, jobs)
            for (number, _), outcome in zip(jobs, outcomes, strict=True):
                self._note(number, outcome)

    def _store(self, queue: str, jobs: Sequence[tuple[int, list[str | int]]]) -> list[bytes]:
        arguments: list[Argument] = [secrets.token_hex(8)]
        for _, job in jobs:
            arguments += job
        outcomes: list[bytes] = scripts.run(self._link, Call("import", queue_keys(queue), arguments))
        return outcomes

    def _note(self, number: int, outcome: bytes) -> None:
        if outcome == b"stored":
            self.done.stored += 1
        elif outcome == b"exists":
            self.done.existed += 1
        else:
            self._refuse(number, "another live job has its unique key")

    def _refuse(self, number: int, reason: str) -> None:
        self.done.refused += 1
        self._report(number, reason)
        if self._strict:
            raise BackupError(f"stopped at line {number}; what came before is imported")


def _decode(text: bytes | None) -> AnyLine:
    if text is None:
        raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes")
    return from_line(text)


def _check_header(lines: Iterator[tuple[int, bytes | None]]) -> None:
    try:
        header = from_line(next((text for _, text in islice(lines, 1)), b"") or b"")
    except ValueError as error:
        raise BackupError(f"this is no export of ours, its first line cannot be read: {error}") from None
    if not isinstance(header, HeaderLine):
        raise BackupError("this is no export of ours, or its first line is missing")
    if header.format != FORMAT:
        raise BackupError(f"the export has format {header.format}; this release reads format {FORMAT}")


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a file, None for one that is too long to be any of ours."""
    while text := file.readline(MAX_LINE_BYTES):
        if len(text) < MAX_LINE_BYTES or text.endswith(b"\n"):
            yield text
            continue
        while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None
