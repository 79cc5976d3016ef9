"""Reads that need not see the last change: from a replica, with how old its data may be, or else from the primary."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts
from queueing.connections import Client, connect
from queueing.errors import JobNotFound, StoreUnavailable
from queueing.inspector import Inspector

TIMEOUT_SECONDS = 0.25  # to connect to a replica, and for each of its answers: the primary comes after it, all in 2 s
TRIES = 2  # replicas that may fail one read before the primary is asked
REST_SECONDS = 5.0  # a replica that failed is not asked again for
KNOWN_SECONDS = 1.0  # what a replica said of its age holds for

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[T]):
    """What was read, and how many seconds old it may be: None when the primary said it."""

    value: T
    age_seconds: int | None


class Reader:
    """Reads from replicas in turn. Threads may share it; every read raises StoreUnavailable when nobody answers.

    A replica whose data may be older than `max_age_seconds` is asked only when the primary cannot be reached.
    """

    def __init__(self, primary: Client, replicas: Sequence[Redis] = (), *, max_age_seconds: float = 30.0) -> None:
        self._primary = Inspector(primary)
        self._replicas = [Replica(client) for client in replicas]
        self._max_age_seconds = max_age_seconds
        self._turn = itertools.count()

    def read(self, ask: Callable[[Inspector], T]) -> Seen[T]:
        """Ask a replica, or else the primary, or else a replica whose data is old."""
        first = next(self._turn)
        replicas = [self._replicas[(first + n) % len(self._replicas)] for n in range(len(self._replicas))]
        seen = self._from(replicas, ask, self._max_age_seconds)
        return seen or self._from_primary(replicas, ask)

    def read_latest(self, ask: Callable[[Inspector], T]) -> Seen[T]:
        """Ask the primary, or else a replica, which may not know the latest jobs: then nobody can tell."""
        return self._from_primary(self._replicas, ask)

    def _from_primary(self, replicas: Sequence[Replica], ask: Callable[[Inspector], T]) -> Seen[T]:
        try:
            return Seen(value=ask(self._primary), age_seconds=None)
        except StoreUnavailable:
            seen = self._from(replicas, ask, float("inf"))
            if seen is None:
                raise
            return seen

    def _from(
        self, replicas: Sequence[Replica], ask: Callable[[Inspector], T], max_age_seconds: float
    ) -> Seen[T] | None:
        """Return what the first replica says that can; None when there is none."""
        for replica in [replica for replica in replicas if not replica.is_resting][:TRIES]:
            try:
                age = replica.age_seconds()
                if age <= max_age_seconds:
                    return Seen(value=ask(replica.inspector), age_seconds=round(age))
            except StoreUnavailable:
                replica.rest()
            except JobNotFound:
                return None
        return None


class Replica:
    """One replica, and what is known of it."""

    def __init__(self, client: Redis) -> None:
        self.inspector = Inspector(client)
        self._client = client
        self._rests_until = float("-inf")
        self._known_at = float("-inf")
        self._age_seconds = float("inf")

    @property
    def is_resting(self) -> bool:
        """Whether it failed a short time ago."""
        return time.monotonic() < self._rests_until

    def rest(self) -> None:
        """Note that it failed."""
        self._rests_until = time.monotonic() + REST_SECONDS
        self._known_at = float("-inf")

    def age_seconds(self) -> float:
        """Return how old its data may be, in whole seconds rounded up; raises StoreUnavailable."""
        since = time.monotonic() - self._known_at
        if since > KNOWN_SECONDS:
            try:
                self._age_seconds = age_of(self._client.info("replication"))
            except RedisError as error:
                raise scripts.translate(error) from error
            self._known_at, since = time.monotonic(), 0.0
        return self._age_seconds + since


def age_of(told: dict[str, Any]) -> float:
    """Return how old the data of a server may be by what it tells of its replication (INFO).

    While the link is up that is since anything came from the primary, which says at least once in
    `repl-ping-replica-period` (10 s) that it is there. Raises StoreUnavailable for a replica that has not got it all.
    """
    if told["role"] == "master":
        return 0.0
    silent = int(told.get("master_last_io_seconds_ago", -1))
    if told.get("master_link_status") == "up" and silent >= 0:
        return silent + 1.0
    down = int(told.get("master_link_down_since_seconds", -1))
    if down < 0 or int(told.get("master_sync_in_progress", 0)):
        raise StoreUnavailable("the replica has not got the data of its primary yet")
    return down + 1.0


def connect_replica(url: str) -> Redis:
    """Return a client of a replica that gives up early; raises ValueError."""
    return connect(url, socket_timeout_seconds=TIMEOUT_SECONDS, connect_timeout_seconds=TIMEOUT_SECONDS)
