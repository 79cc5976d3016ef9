"""All that a server holds at one instant, fetched over the network in the way that a replica fetches it.

The server forks and sends an RDB file, as for `redis-cli --rdb`; nothing is written to its disk, and it serves on
meanwhile. It sends newlines while it prepares, then `$<length>` or `$EOF:<mark>`, then the file.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from redis import Redis
from redis.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from queueing import scripts
from queueing.errors import BackupError

READ_SECONDS = 30.0  # without a byte; a server that prepares sends a newline each second
PREPARE_SECONDS = 3600.0  # until the file begins: another child of the server, a rewrite of the journal, ends first
CHUNK_BYTES = 256 * 1024
MARK_BYTES = 40
HEAD_BYTES = 200  # of the line before the file, or an error

Progress = Callable[[int, int | None], None]
"""Called with how many bytes there are, and how many there will be if that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was fetched."""

    bytes: int
    sha256: str


def fetch(server: Redis, into: BinaryIO, progress: Progress = lambda _done, _total: None) -> Snapshot:
    """Write an RDB file of the server into `into`; raises BackupError, StoreUnavailable, and OSError of the file.

    It has all that the server had answered when this was called.
    """
    connection = _connection_to(server)
    try:
        stream = _ask(connection)
        length, mark = _read_head(stream)
        body = _read_sized(stream, length) if mark is None else _read_marked(stream, mark)
        return _write(body, into, lambda done: progress(done, length))
    except NoPermissionError as error:
        raise BackupError(f"the user of the database may not do this, `admin` of users.acl may: {error}") from None
    except ResponseError as error:
        raise BackupError(f"the server gives no snapshot: {error}") from None
    except RedisError as error:
        raise scripts.translate(error) from error
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]


def _connection_to(server: Redis) -> AbstractConnection:
    """Return a connection like those of the client's pool, which its user, password and TLS are taken from."""
    pool = server.connection_pool
    connection: AbstractConnection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": READ_SECONDS})
    return connection


def _ask(connection: AbstractConnection) -> _Stream:
    """Ask for the file, and for nothing after it; `capa eof` spares the server's disk."""
    connection.connect()  # type: ignore[no-untyped-call]
    for option in (("capa", "eof"), ("rdb-only", "1")):
        connection.send_command("REPLCONF", *option)  # type: ignore[no-untyped-call]
        connection.read_response()
    connection.send_command("SYNC")  # type: ignore[no-untyped-call]
    connected: Any = connection._sock  # noqa: SLF001 - what follows is no reply that redis-py could read
    return _Stream(connected)


class _Stream:
    """What a server sends, read piece by piece, each within READ_SECONDS."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def read(self, limit: int) -> bytes:
        """Return some bytes, at least one."""
        try:
            piece = self._socket.recv(limit)
        except TimeoutError:
            raise BackupError(f"the server has sent nothing for {READ_SECONDS:g} s") from None
        except OSError as error:
            raise BackupError(f"the connection to the server broke: {error}") from None
        if not piece:
            raise BackupError("the server closed the connection before the snapshot was complete; its log says why")
        return piece


def _read_head(stream: _Stream) -> tuple[int | None, bytes | None]:
    """Return the length of the file, or the mark that ends it."""
    line, give_up_at = b"", time.monotonic() + PREPARE_SECONDS
    while not line.endswith(b"\n"):
        line = (line + stream.read(1)).lstrip(b"\r\n")
        if len(line) > HEAD_BYTES:
            raise BackupError("the server does not answer as a database server does")
        if time.monotonic() > give_up_at:
            raise BackupError(f"the server has prepared no snapshot within {PREPARE_SECONDS:g} s")
    text = line.rstrip()
    if text.startswith(b"$EOF:") and len(text) == len(b"$EOF:") + MARK_BYTES:
        return None, text[len(b"$EOF:") :]
    if text[:1] == b"$" and text[1:].isdigit():
        return int(text[1:]), None
    raise BackupError(f"the server gives no snapshot: {text.decode(errors='replace').lstrip('-')}")


def _read_sized(stream: _Stream, length: int | None) -> Iterator[bytes]:
    left = length or 0
    while left:
        piece = stream.read(min(CHUNK_BYTES, left))
        left -= len(piece)
        yield piece


def _read_marked(stream: _Stream, mark: bytes) -> Iterator[bytes]:
    """Yield what comes before the mark, with which the server ends: it sends nothing more."""
    kept = b""
    while not kept.endswith(mark):
        data = kept + stream.read(CHUNK_BYTES)
        kept = data[-MARK_BYTES:]
        yield data[:-MARK_BYTES]


def _write(body: Iterator[bytes], into: BinaryIO, progress: Callable[[int], None]) -> Snapshot:
    digest, done = hashlib.sha256(), 0
    for piece in body:
        into.write(piece)
        digest.update(piece)
        done += len(piece)
        progress(done)
    return Snapshot(bytes=done, sha256=digest.hexdigest())
