"""A Redis Cluster: each queue lies in one slot, and each slot on one server, which may change while we run.

The client of redis-py knows which server has which slot. Its pipelines are not used: they send a command again whose
reply was lost, whatever they are told (docs/decisions/0009).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from redis import Redis, RedisCluster
from redis.cluster import NodesManager
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from queueing.keys import queue_keys
from queueing.links import Command, Link, Underway

MEETING_SECONDS = 1.0  # a caller waits for the first server to answer
RENEW_SECONDS = 0.5  # between two questions of which server has which slot
PAUSES_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16)  # before a command is sent again that a moving slot refused
ESCORTS = frozenset({"SCRIPT", "HSET", "WAIT"})  # are for the other commands of their queue, and go where those go

_REFUSED = AskError | TryAgainError  # MOVED is an ASK: the command did not run
_UNREACHABLE = RedisConnectionError | RedisTimeoutError


class Cluster:
    """A cluster that is met when it is first needed: it may be away when the process starts. Threads may share it.

    Each of `meets` asks one server, and returns a client that knows what it said: all are asked at once, for any of
    them may hang. From then on those that were found are asked in turn which of them has which slot, on a thread of its
    own: that may take each of them its time limit, and a caller has one only.
    """

    def __init__(
        self, meets: Sequence[Callable[[], RedisCluster]], *, meeting_seconds: float = MEETING_SECONDS
    ) -> None:
        self._meets = meets
        self._meeting_seconds = meeting_seconds
        self._client: RedisCluster | None = None
        self._failure = "none has so far"
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._question = threading.Thread()

    @classmethod
    def of(cls, client: RedisCluster) -> Cluster:
        """Return the cluster that a client has met."""
        cluster = cls([lambda: client])
        cluster._client = client
        return cluster

    def client(self) -> RedisCluster:
        """Return the client; raises redis-py's ConnectionError when no server of the cluster answers in time."""
        if self._client is None:
            self.renew()
            self._question.join(self._meeting_seconds)
        if self._client is None:
            raise RedisConnectionError(f"no server of the cluster answers: {self._failure}")
        return self._client

    def server_of(self, queue: str) -> tuple[str, Redis]:
        """Return the name and the client of the server that has a queue; raises redis-py's ConnectionError."""
        client = self.client()
        try:
            node = client.nodes_manager.get_node_from_slot(key_slot(queue.encode()))
        except RedisClusterException as error:  # which is no RedisError
            self.renew()
            raise RedisConnectionError(str(error)) from error
        return node.name, client.get_redis_connection(node)

    def named(self, host: str, port: int) -> tuple[str, Redis]:
        """Return the name and the client of the server at an address; raises redis-py's ConnectionError."""
        client = self.client()
        node = client.get_node(host=host, port=port)  # type: ignore[no-untyped-call]
        if node is None:
            self.renew()
            raise RedisConnectionError(f"the cluster names a server that it does not list: {host}:{port}")
        return node.name, client.get_redis_connection(node)

    def primaries(self) -> dict[str, Redis]:
        """Return a client of each primary by its name; raises redis-py's ConnectionError.

        It is asked for the next time who they are now: whoever calls this may never meet a redirection.
        """
        client = self.client()
        self.renew()
        nodes = sorted(client.get_primaries(), key=lambda node: str(node.name))  # type: ignore[no-untyped-call]
        return {node.name: client.get_redis_connection(node) for node in nodes}

    def note_moved(self, error: MovedError) -> None:
        """Note that a slot has another server now."""
        manager = self.client().nodes_manager
        if error.slot_id in manager.slots_cache:
            manager.move_slot(error)
        else:
            self.renew()

    def renew(self, *_: Any, **__: Any) -> None:
        """Ask soon which server has which slot, unless that is being done or was done a moment ago."""
        with self._lock:
            if self._question.is_alive() or time.monotonic() - self._asked_at < RENEW_SECONDS:
                return
            self._asked_at = time.monotonic()
            self._question = threading.Thread(target=self._ask, name="cluster", daemon=True)
            self._question.start()

    def _ask(self) -> None:
        try:
            if self._client is None:
                self._client = self._meet()
            else:
                NodesManager.initialize(self._client.nodes_manager, disconnect_startup_nodes_pools=False)
        except (RedisError, RedisClusterException) as error:
            self._failure = str(error)  # what we knew stays in force
        except IndexError:  # of redis-py, which takes the first primary that it hears of
            self._failure = "they say that no server has a slot"

    def _meet(self) -> RedisCluster:
        """Return a client that asks as we do, when it meets an error by itself: not in its caller's time."""
        client = first_met(self._meets)
        client.nodes_manager.initialize = self.renew  # type: ignore[method-assign]
        return client


def first_met(meets: Sequence[Callable[[], RedisCluster]]) -> RedisCluster:
    """Return the first client that knows where each slot is, else the one that knows most once all have answered.

    Raises the error of one of them when all fail.
    """
    answers = [answer_of(meet) for meet in meets]
    for answer in as_completed(answers):
        if slots_met(answer) == REDIS_CLUSTER_HASH_SLOTS:
            return answer.result()
    return max(answers, key=slots_met).result()


def answer_of(meet: Callable[[], RedisCluster]) -> Future[RedisCluster]:
    """Ask on a thread that keeps no process from ending: an executor's would."""
    answer: Future[RedisCluster] = Future()

    def ask() -> None:
        try:
            answer.set_result(meet())
        except Exception as error:  # noqa: BLE001 - it is for who reads the answer
            answer.set_exception(error)

    threading.Thread(target=ask, name="cluster", daemon=True).start()
    return answer


def slots_met(answer: Future[RedisCluster]) -> int:
    """Return how many slots a server that was asked has told of."""
    return 0 if answer.exception() else len(answer.result().nodes_manager.slots_cache)


class ClusterLink:
    """A link to all servers of a cluster, made of one to each: one that fails, fails for its queues alone.

    A command that is answered by MOVED, ASK or TRYAGAIN did not run, and is sent again to the server that has its slot
    now. Threads may share it if they may share the links that `link_to` makes.
    """

    def __init__(self, cluster: Cluster, link_to: Callable[[Redis], Link]) -> None:
        self._cluster = cluster
        self._link_to = link_to
        self._links: dict[str, Link] = {}
        self._is_interrupted = False

    def execute(self, command: Command, queue: str = "") -> Any:
        """Run one command on the server that has the queue."""
        reply = self.execute_many([command], [queue])[0]
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:
        """Run commands in one round trip to each server, to all at once."""
        trip = _Trip([guarded(*each) for each in zip(commands, queues, strict=True)], queues)
        for pause_seconds in (*PAUSES_SECONDS, 0.0):
            self._send(trip)
            self._follow(trip)
            trip.keep_what_was_refused()
            if not trip.left or not pause_seconds:
                break
            time.sleep(pause_seconds if trip.must_wait else 0)
        return self._ended(trip)

    def begin(self, command: Command, queue: str = "") -> Underway:
        """Run a command: its reply may send it elsewhere, so it is waited for at once."""
        return _Done(self.execute_many([command], [queue])[0])

    def _send(self, trip: _Trip) -> None:
        """Send what is left; an error of a trip to a server stands for each of its replies."""
        groups: dict[Link, list[int]] = defaultdict(list)
        for n in trip.left:
            try:
                groups[self._link(*self._cluster.server_of(trip.queues[n]))].append(n)
            except RedisError as error:
                trip.replies[n] = error
        if len(groups) == 1:
            for link, numbers in groups.items():
                trip.send(link, numbers)
        elif groups:
            with ThreadPoolExecutor(len(groups)) as threads:
                list(threads.map(trip.send, groups.keys(), groups.values()))

    def _follow(self, trip: _Trip) -> None:
        """Note where slots are now, and ask once where they will be."""
        for n in trip.left:
            error = trip.replies[n]
            if isinstance(error, MovedError):
                self._cluster.note_moved(error)
            elif isinstance(error, AskError):
                trip.replies[n] = self._ask(error, trip.commands[n])

    def _ask(self, error: AskError, command: Command) -> Any:
        try:
            return self._link(*self._cluster.named(error.host, error.port)).execute_many([("ASKING",), command])[1]
        except RedisError as failure:
            return failure

    def _ended(self, trip: _Trip) -> list[Any]:
        """Return the replies; raises the error of the trip when no server was reached."""
        if any(isinstance(reply, _UNREACHABLE | ClusterDownError) for reply in trip.replies):
            self._cluster.renew()  # what does not answer or serve may have been replaced
        if trip.replies and all(isinstance(reply, _UNREACHABLE) for reply in trip.replies):
            raise trip.replies[0]
        return [
            ClusterDownError("the slot is on its way to another server") if isinstance(reply, _REFUSED) else reply
            for reply in trip.replies
        ]

    def _link(self, name: str, client: Redis) -> Link:
        if name not in self._links:
            self._links[name] = self._link_to(client)
            if self._is_interrupted:
                self._links[name].interrupt()
        return self._links[name]

    def server_of(self, queue: str) -> str:
        """Return the name of the server that has the queue."""
        return self._cluster.server_of(queue)[0]

    def interrupt(self) -> None:
        """End the trips that another thread is in, and let none be made any more; unless the links are shared."""
        self._is_interrupted = True
        for link in tuple(self._links.values()):
            link.interrupt()

    def close(self) -> None:
        """Close all links."""
        for link in self._links.values():
            link.close()
        self._links.clear()


class _Done:
    """A command whose reply is there."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    def is_answered(self) -> bool:
        """Whether it is, which is so."""
        return True

    def reply(self) -> Any:
        """Return it."""
        return self._reply


class _Trip:
    """Commands of several queues, what was replied to each, and the numbers of those that are left to send."""

    def __init__(self, commands: Sequence[Command], queues: Sequence[str]) -> None:
        self.commands = commands
        self.queues = queues
        self.replies: list[Any] = [None] * len(commands)
        self.left: Sequence[int] = range(len(commands))

    def send(self, link: Link, numbers: Sequence[int]) -> None:
        """Send some of the commands over one link."""
        try:
            replies = link.execute_many([self.commands[n] for n in numbers])
        except RedisError as error:
            replies = [error] * len(numbers)
        for n, reply in zip(numbers, replies, strict=True):
            self.replies[n] = reply

    def keep_what_was_refused(self) -> None:
        """Leave what did not run, and what is about it: the WAIT of another server says nothing of its writes."""
        refused = {n for n in self.left if isinstance(self.replies[n], _REFUSED)}
        queues = {self.queues[n] for n in refused}
        self.left = [
            n
            for n, command in enumerate(self.commands)
            if n in refused or (command[0] in ESCORTS and self.queues[n] in queues)
        ]

    @property
    def must_wait(self) -> bool:
        """Whether a slot is on its way: elsewhere it is not served either."""
        return any(isinstance(self.replies[n], TryAgainError) for n in self.left)


def guarded(command: Command, queue: str) -> Command:
    """Return a call of a script with one key more, which is never there.

    While a slot moves key by key, a server refuses a command of several keys unless it has them all. Without this it
    would run a script whose sets are there, and whose jobs, which are no keys of the call, have left.
    """
    if command[0] != "EVALSHA":
        return command
    count = int(command[2])
    keys_end = 3 + count
    return (*command[:2], count + 1, *command[3:keys_end], queue_keys(queue).never, *command[keys_end:])
