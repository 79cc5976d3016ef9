"""Links to the database that a queue may use: bounded in time, and never sending a command twice by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

CONNECT_TIMEOUT_SECONDS = 0.5
SOCKET_TIMEOUT_SECONDS = 1.0  # with the connect timeout below the 2 s in which the API must have answered
HELD_TIMEOUT_SECONDS = 2.0  # a worker whose connection is dead must claim within 5 s of the database being back

Argument = str | int | float | bytes
Command = Sequence[Argument]


def plain() -> dict[str, Any]:
    """Return what keeps redis-py from doing more than it is told.

    Its own retries are off: it would send a command again whose reply was lost, and a job twice. So are three round
    trips of a new connection, each of which a slow server may draw out, and the notifications of maintenance, at
    which it would wait ten seconds for a reply.
    """
    return {
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def options(socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return what every connection is made with."""
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": socket_timeout_seconds,
        "decode_responses": False,
        **plain(),
    }


def connect(url: str, *, socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> Redis:
    """Return a client with a pool of its own for `url` (redis://, rediss:// or unix://)."""
    return Redis.from_url(url, **options(socket_timeout_seconds))


class Link(Protocol):
    """A way to the server; `execute_many` returns a ResponseError in the place of the reply it stands for."""

    def execute(self, command: Command) -> Any:
        """Run one command and return its reply; raises redis-py's errors."""

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in order in one round trip; raises redis-py's errors when the trip itself fails."""

    def close(self) -> None:
        """Give up what the link holds."""


class PooledLink:
    """A link that takes a connection from the client's pool for each call; threads may share it."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def execute(self, command: Command) -> Any:
        """Run one command."""
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one pipeline, which is no transaction."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def close(self) -> None:
        """Leave the pool to those who share it."""


class HeldLink:
    """A link over one connection of its own, for one thread: 1.5 times the calls a second of a pooled one.

    After an error of the trip the connection is given up, so that no reply can be taken for that of another
    command; the next call connects anew.
    """

    def __init__(self, pool: ConnectionPool, socket_timeout_seconds: float) -> None:
        settings = {**pool.connection_kwargs, "socket_timeout": socket_timeout_seconds}
        self._connection = pool.connection_class(**settings)

    def execute(self, command: Command) -> Any:
        """Run one command."""
        reply = self.execute_many([command])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, then read all replies."""
        connection = self._connection
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [self._read() for _ in commands]
        except BaseException:
            connection.disconnect()
            raise

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
