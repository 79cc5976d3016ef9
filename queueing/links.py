"""Links to the database server: one command, or several in one round trip, and none of them ever sent twice."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from hiredis import pack_command
from redis import Redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Argument = str | int | float | bytes
Command = Sequence[Argument]

FRESH_SECONDS = 0.01  # after its last use; a server does not end a connection and come back in less
MAX_JOINED_BYTES = 1024 * 1024  # what is longer costs more to copy than to send in pieces

_TIMEVAL = struct.Struct("ll")  # seconds and microseconds


def nothing() -> None:
    """Do nothing."""


class Underway(Protocol):
    """A command that was sent, and whose reply was not asked for yet."""

    def is_answered(self) -> bool:
        """Whether the reply, or the end of the connection, is there to be read."""

    def reply(self) -> Any:
        """Return the reply, or a RedisError that stands for it; raises redis-py's errors when the trip failed. Once."""


class Link(Protocol):
    """A way to the server that has a queue; several queues may have several (`ClusterLink`)."""

    def execute(self, command: Command, queue: str = "") -> Any:
        """Run one command and return its reply; raises redis-py's errors."""

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:
        """Run commands in order in one round trip to each server, the n-th on that of the n-th queue.

        Returns a RedisError in the place of the reply it stands for; raises redis-py's errors when the whole trip
        failed. Commands of one queue run on one connection.
        """

    def begin(self, command: Command, queue: str = "") -> Underway:
        """Send one command and leave its reply for later; raises redis-py's errors.

        A link with one connection makes no other trip before that reply was asked for.
        """

    def server_of(self, queue: str) -> str:
        """Return a name for the server that has a queue now."""

    def interrupt(self) -> None:
        """End the trip that another thread is in, with an error, and let none be made any more; unless it is shared."""

    def close(self) -> None:
        """Give up what the link holds."""


class _Lent:
    """Connections of one pool that it gave out once, and that calls hand on: it never gets them back.

    To take one from the pool, and give it back, costs a fifth of a call's CPU; nearly all of that is for figures of
    redis-py's that nobody reads.
    """

    def __init__(self) -> None:
        self._idle: deque[tuple[AbstractConnection, float]] = deque()  # with the moment of the last use
        self._pid = os.getpid()

    def take(self, pool: ConnectionPool) -> AbstractConnection:
        """Return a connection for a call, the one that was used last; one that is not fit connects anew."""
        if self._pid != os.getpid():  # the sockets are those of the process that this one was forked from
            self._idle, self._pid = deque(), os.getpid()
        try:
            connection, used_at = self._idle.pop()
        except IndexError:
            return pool.get_connection()
        is_fresh = time.monotonic() - used_at < FRESH_SECONDS
        if connection.is_connected and not (_is_to_primary(pool, connection) and (is_fresh or _is_quiet(connection))):
            connection.disconnect()  # type: ignore[no-untyped-call]
        return connection

    def hand_on(self, connection: AbstractConnection) -> None:
        """Keep a connection for the next call."""
        self._idle.append((connection, time.monotonic()))

    def disconnect(self) -> None:
        """Let all connections that nobody uses connect anew."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._idle.pop()[0])
        for connection in found:
            connection.disconnect()  # type: ignore[no-untyped-call]
            self.hand_on(connection)


def _is_to_primary(pool: ConnectionPool, connection: AbstractConnection) -> bool:
    """Whether a connection is to the server that the Sentinels named last, where there are any."""
    address = getattr(pool, "master_address", None)
    return address is None or address == (connection.host, connection.port)  # type: ignore[attr-defined]


def _is_quiet(connection: AbstractConnection) -> bool:
    """Whether the server has sent nothing, as it should, nor ended it; of one that is closed it would connect."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


_pools: WeakKeyDictionary[ConnectionPool, _Lent] = WeakKeyDictionary()
_pools_lock = threading.Lock()


def _lent_by(pool: ConnectionPool) -> _Lent:
    with _pools_lock:
        found = _pools.get(pool)
        if found is None:
            found = _pools[pool] = _Lent()
        return found


class PooledLink:
    """A link to one server over connections of the client's pool, one for each call; threads may share it."""

    def __init__(self, client: Redis) -> None:
        self._client = client  # closes its connections when nobody has it any more
        self._pool = client.connection_pool
        self._lent = _lent_by(self._pool)

    def execute(self, command: Command, queue: str = "") -> Any:  # noqa: ARG002 - there is one server
        """Run one command."""
        reply = self.execute_many([command])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:  # noqa: ARG002
        """Send all commands on a connection of the pool, then read all replies."""
        connection = self._lent.take(self._pool)
        try:
            replies = _exchange(connection, commands)
        finally:
            self._lent.hand_on(connection)
        if _is_demoted(replies):
            self._lent.disconnect()
        return replies

    def begin(self, command: Command, queue: str = "") -> Underway:  # noqa: ARG002
        """Send a command on a connection of the pool, which gets it back with the reply."""
        connection = self._lent.take(self._pool)
        try:
            _send(connection, [command])
        except BaseException:
            self._lent.hand_on(connection)
            raise
        return _Sent(connection, self._lent.hand_on)

    def server_of(self, queue: str) -> str:  # noqa: ARG002
        """Return the name of the one server."""
        return ""

    def interrupt(self) -> None:
        """Leave others' trips alone."""

    def close(self) -> None:
        """Leave the pool to those who share it."""


class HeldLink:
    """A link to one server over a connection of its own, for one thread; it spares what a pool costs.

    `meanwhile` is called in each trip, once the commands are sent.
    """

    def __init__(
        self, pool: ConnectionPool, socket_timeout_seconds: float, meanwhile: Callable[[], object] = nothing
    ) -> None:
        settings = {**pool.connection_kwargs, "socket_timeout": socket_timeout_seconds}
        self._connection = pool.connection_class(**settings)
        self._meanwhile = meanwhile
        self._is_interrupted = False

    def execute(self, command: Command, queue: str = "") -> Any:  # noqa: ARG002
        """Run one command."""
        reply = self.execute_many([command])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:  # noqa: ARG002
        """Send all commands, then read all replies."""
        replies = _exchange(self._connection, commands, self._while_the_server_works)
        if _is_demoted(replies):
            self._connection.disconnect()
        return replies

    def begin(self, command: Command, queue: str = "") -> Underway:  # noqa: ARG002
        """Send a command; `meanwhile` is not called."""
        _send(self._connection, [command])
        return _Sent(self._connection)

    def _while_the_server_works(self) -> None:
        if self._is_interrupted:  # before there was a connection
            raise RedisConnectionError("the trip was interrupted")
        self._meanwhile()

    def server_of(self, queue: str) -> str:  # noqa: ARG002
        """Return the name of the one server."""
        return ""

    def interrupt(self) -> None:
        """End what the connection waits for, as if the server had ended it; from then on each trip fails."""
        self._is_interrupted = True
        connected = self._connection._sock  # noqa: SLF001 - redis-py itself can only close it, while the other reads
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


class _Sent:
    """A command that was sent on a connection."""

    def __init__(
        self, connection: AbstractConnection, hand_on: Callable[[AbstractConnection], object] | None = None
    ) -> None:
        self._connection = connection
        self._hand_on = hand_on

    def is_answered(self) -> bool:
        """Whether the reply, or the end of the connection, is there to be read."""
        return not (self._connection.is_connected and _is_quiet(self._connection))

    def reply(self) -> Any:
        """Wait for the reply."""
        try:
            reply = _receive(self._connection, 1)[0]
            if _is_demoted([reply]):
                self._connection.disconnect()  # type: ignore[no-untyped-call]
            return reply
        finally:
            if self._hand_on:
                self._hand_on(self._connection)


def _exchange(
    connection: AbstractConnection, commands: Sequence[Command], meanwhile: Callable[[], object] = nothing
) -> list[Any]:
    """Send all commands, then read all replies."""
    _send(connection, commands)
    return _receive(connection, len(commands), meanwhile)


def _send(connection: AbstractConnection, commands: Sequence[Command]) -> None:
    try:
        if not connection.is_connected:
            connection.connect()  # type: ignore[no-untyped-call]  # sending would as well, but not ask Sentinels where
        connection.check_health()  # type: ignore[no-untyped-call]
        if rest := _send_at_once(connection, _packed(commands)):
            connection.send_packed_command(rest, check_health=False)  # type: ignore[no-untyped-call]
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise


def _send_at_once(connection: AbstractConnection, pieces: list[bytes]) -> Sequence[bytes | memoryview]:
    """Send what the kernel takes without waiting; return the rest, which redis-py sends in the time of a trip.

    Nearly always there is none. Then the socket blocks, and the kernel ends what takes too long. Python would, as with
    redis-py alone, ask before each use whether the socket is ready: a twentieth of the CPU of a trip.
    """
    connected: Any = connection._sock  # noqa: SLF001 - a look of redis-py at it is what is spared
    if isinstance(connected, ssl.SSLSocket):  # tries again when the kernel gives up
        return pieces
    if (seconds := connected.gettimeout()) is not None:
        _give_up_in_kernel(connected, seconds)
    for n, piece in enumerate(pieces):
        if (sent := _sent_at_once(connected, piece)) < len(piece):
            connected.settimeout(connection.socket_timeout)
            return [memoryview(piece)[sent:], *pieces[n + 1 :]]
    return ()


def _sent_at_once(connected: socket.socket, piece: bytes) -> int:
    try:
        return connected.send(piece, socket.MSG_DONTWAIT)
    except OSError:  # who sends the rest meets it again
        return 0


def _give_up_in_kernel(connected: socket.socket, seconds: float) -> None:
    """Let a socket block, and the kernel end a call after so many seconds; Python then raises BlockingIOError.

    Sending is limited for what redis-py sends by itself, to look after the connection.
    """
    limit = _TIMEVAL.pack(*divmod(max(1, round(seconds * 1e6)), 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connected.settimeout(None)


def _receive(connection: AbstractConnection, count: int, meanwhile: Callable[[], object] = nothing) -> list[Any]:
    """Read replies.

    After an error of the trip the connection is given up, so that no reply can be taken for that of another
    command; the next trip connects anew.
    """
    try:
        meanwhile()
        return [_read(connection) for _ in range(count)]
    except OSError as error:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise RedisConnectionError(f"Error while reading from the server: {error.args}") from error
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise


def _packed(commands: Sequence[Command]) -> list[bytes]:
    """Return commands as a server reads them, in one piece unless that is long.

    The connection's own `pack_commands` gives the same bytes, and looks at each argument in Python before.
    """
    pieces = [pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]  # its stub lacks a `...`
    if len(pieces) > 1 and sum(map(len, pieces)) <= MAX_JOINED_BYTES:
        return [b"".join(pieces)]
    return pieces


def _read(connection: AbstractConnection) -> Any:
    """Read one reply; an error is one. What redis-py does besides is for messages that servers push: ours push none."""
    parser = connection._parser  # noqa: SLF001 - a tenth of a call's CPU lies in what redis-py has around these two
    reader = parser._reader  # noqa: SLF001
    if reader is None:
        raise RedisConnectionError("the connection was closed")
    reply = reader.gets()
    while reply is NOT_ENOUGH_DATA:
        if not parser.read_from_socket(raise_on_timeout=False):
            raise RedisTimeoutError("Timeout reading from socket")
        reply = reader.gets()
    if isinstance(reply, RedisConnectionError):
        raise reply
    return reply


def _is_demoted(replies: Sequence[Any]) -> bool:
    """Whether the server is a replica now, or has none left and may have been replaced without knowing it.

    Its name may lead to the new primary, but this connection does not.
    """
    for reply in replies:
        if isinstance(reply, ResponseError) and (isinstance(reply, ReadOnlyError) or _lacks_replicas(reply)):
            return True
    return False


def _lacks_replicas(error: ResponseError) -> bool:
    return str(error).startswith("NOREPLICAS")
