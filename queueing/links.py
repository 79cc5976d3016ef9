"""Links to the database server: one command, or several in one round trip, and none of them ever sent twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis import Redis
from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ReadOnlyError, ResponseError

Argument = str | int | float | bytes
Command = Sequence[Argument]


def nothing() -> None:
    """Do nothing."""


class Link(Protocol):
    """A way to the server that has a queue; several queues may have several (`ClusterLink`)."""

    def execute(self, command: Command, queue: str = "") -> Any:
        """Run one command and return its reply; raises redis-py's errors."""

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:
        """Run commands in order in one round trip to each server, the n-th on that of the n-th queue.

        Returns a RedisError in the place of the reply it stands for; raises redis-py's errors when the whole trip
        failed. Commands of one queue run on one connection.
        """

    def server_of(self, queue: str) -> str:
        """Return a name for the server that has a queue now."""

    def close(self) -> None:
        """Give up what the link holds."""


class PooledLink:
    """A link to one server that takes a connection from the client's pool for each call; threads may share it."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def execute(self, command: Command, queue: str = "") -> Any:  # noqa: ARG002 - there is one server
        """Run one command."""
        reply = self.execute_many([command])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:  # noqa: ARG002
        """Send all commands on a connection of the pool, then read all replies."""
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            replies = _exchange(connection, commands)
        finally:
            pool.release(connection)
        if _is_demoted(replies):
            pool.disconnect(inuse_connections=False)
        return replies

    def server_of(self, queue: str) -> str:  # noqa: ARG002
        """Return the name of the one server."""
        return ""

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

    def execute(self, command: Command, queue: str = "") -> Any:  # noqa: ARG002
        """Run one command."""
        reply = self.execute_many([command])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:  # noqa: ARG002
        """Send all commands, then read all replies."""
        replies = _exchange(self._connection, commands, self._meanwhile)
        if _is_demoted(replies):
            self._connection.disconnect()
        return replies

    def server_of(self, queue: str) -> str:  # noqa: ARG002
        """Return the name of the one server."""
        return ""

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def _exchange(
    connection: AbstractConnection, commands: Sequence[Command], meanwhile: Callable[[], object] = nothing
) -> list[Any]:
    """Send all commands, then read all replies.

    After an error of the trip the connection is given up, so that no reply can be taken for that of another
    command; the next trip connects anew.
    """
    try:
        connection.connect()  # type: ignore[no-untyped-call]  # sending would as well, but not ask Sentinels where
        connection.send_packed_command(connection.pack_commands(commands))  # type: ignore[no-untyped-call]
        meanwhile()
        return [_read(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise


def _read(connection: AbstractConnection) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _is_demoted(replies: Sequence[Any]) -> bool:
    """Whether the server is a replica now, or has none left and may have been replaced without knowing it.

    Its name may lead to the new primary, but this connection does not.
    """
    return any(isinstance(reply, ReadOnlyError) or _lacks_replicas(reply) for reply in replies)


def _lacks_replicas(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("NOREPLICAS")
