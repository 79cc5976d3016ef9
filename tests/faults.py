"""Faults between a broker and its real server: connections refused, requests lost, replies lost, errors answered.

>>> faults = Faults()
>>> broker = FaultyBroker(client, faults=faults)
>>> faults.plan(Fault.DROP_REPLY)  # the next round trip is made, and its replies are lost
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from queueing import Broker, Policy
from queueing.connections import Client, held_link_to, link_to
from queueing.links import Command, Link, Underway, nothing
from queueing.scripts import LUA_FOLDER, script

VERBS = {script(path.stem).sha: path.stem for path in LUA_FOLDER.glob("*.lua")}


class Fault(enum.Enum):
    """What may happen to a round trip."""

    REFUSE = "nothing is executed, the connection is refused"
    TIME_OUT = "nothing is executed, no reply comes in time"
    DROP_REPLY = "everything is executed, no reply comes in time"


class Faults:
    """Which faults befall the round trips of the links that share this, and what these round trips were."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.down: Fault | None = None
        self.answers: dict[str, ResponseError] = {}
        self.on_trip: Callable[[list[str]], None] = lambda verbs: None
        self._planned: deque[Fault | None] = deque()
        self._lock = threading.Lock()

    def plan(self, *faults: Fault | None) -> None:
        """Let these befall the next round trips, one each; None lets one pass."""
        with self._lock:
            self._planned.extend(faults)

    def next(self, verbs: list[str]) -> Fault | None:
        """Note a round trip and return what befalls it."""
        with self._lock:
            self.trips.append(verbs)
            return self._planned.popleft() if self._planned else self.down


class FaultyLink:
    """A link over a real one; what goes wrong is decided by `faults`."""

    def __init__(self, link: Link, faults: Faults) -> None:
        self._link = link
        self._faults = faults

    def execute(self, command: Command, queue: str = "") -> Any:
        """Run one command, unless a fault befalls it."""
        reply = self.execute_many([command], [queue])[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:
        """Run commands, unless a fault befalls the trip or a verb is to be answered with an error."""
        verbs = [verb_of(command) for command in commands]
        fault = self._faults.next(verbs)
        self._faults.on_trip(verbs)
        if fault is Fault.REFUSE:
            raise RedisConnectionError("refused by a test")
        if fault is Fault.TIME_OUT:
            raise RedisTimeoutError("timed out by a test")
        wanted = [n for n, verb in enumerate(verbs) if verb not in self._faults.answers]
        replies = iter(self._pass_on([commands[n] for n in wanted], [queues[n] for n in wanted if queues]))
        if fault is Fault.DROP_REPLY:
            raise RedisTimeoutError("the reply was dropped by a test")
        return [self._faults.answers.get(verb) or next(replies) for verb in verbs]

    def begin(self, command: Command, queue: str = "") -> Underway:
        """Run a command, unless a fault befalls it; what comes of it is told when it is asked for."""
        return _Begun(self, command, queue)

    def _pass_on(self, commands: Sequence[Command], queues: Sequence[str]) -> list[Any]:
        return self._link.execute_many(commands, queues) if commands else []

    def server_of(self, queue: str) -> str:
        """Return what the real link says."""
        return self._link.server_of(queue)

    def interrupt(self) -> None:
        """Interrupt the real link."""
        self._link.interrupt()

    def close(self) -> None:
        """Close the real link."""
        self._link.close()


class _Begun:
    def __init__(self, link: FaultyLink, command: Command, queue: str) -> None:
        self._error: RedisError | None = None
        try:
            (self._reply,) = link.execute_many([command], [queue])
        except RedisConnectionError:
            raise
        except RedisError as error:
            self._error = error

    def is_answered(self) -> bool:
        return True

    def reply(self) -> Any:
        if self._error:
            raise self._error
        return self._reply


class FaultyBroker(Broker):
    """A broker whose round trips, and those of the brokers it dedicates, meet `faults`."""

    def __init__(
        self, client: Client, policy: Policy | None = None, *, faults: Faults, link: Link | None = None
    ) -> None:
        super().__init__(client, policy, link=FaultyLink(link or link_to(client), faults))
        self.faults = faults

    def dedicated(
        self, *, socket_timeout_seconds: float = 5.0, meanwhile: Callable[[], object] = nothing
    ) -> FaultyBroker:
        """Return a broker with one connection of its own and the same faults."""
        link = held_link_to(self._client, socket_timeout_seconds, meanwhile)
        return FaultyBroker(self._client, self.policy, faults=self.faults, link=link)


def verb_of(command: Command) -> str:
    """Return the name of the script that a command runs, or of the command."""
    return VERBS.get(str(command[1]), "evalsha") if command[0] == "EVALSHA" else str(command[0]).lower()
