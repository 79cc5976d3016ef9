"""The seam to Django: brokers and inspectors on the connections that the settings describe."""

from __future__ import annotations

import functools
from typing import Any

from django.conf import settings
from django_redis.pool import ConnectionFactory
from redis import Redis, RedisCluster

from queueing.broker import Broker, Policy
from queueing.cluster import Cluster
from queueing.connections import Client, connect, disconnect, kind_of, meet_cluster
from queueing.inspector import Inspector
from queueing.replicas import Reader, connect_replica

CONNECTION_ALIAS = "queue"
PATIENT_CONNECT_SECONDS, PATIENT_SECONDS = 5.0, 30.0


class StoreConnections(ConnectionFactory):  # type: ignore[misc]  # django-redis has no types
    """Gives django-redis its clients: one for all who name the same URL and time limits, whatever the URL names."""

    def connect(self, url: str) -> Redis | RedisCluster:
        """Return the client; raises redis-py's ConnectionError when it is of a cluster that nobody has met yet."""
        client = _shared(url, self.options["SOCKET_CONNECT_TIMEOUT"], self.options["SOCKET_TIMEOUT"])
        return client.client() if isinstance(client, Cluster) else client


@functools.lru_cache(maxsize=16)
def _shared(url: str, connect_timeout_seconds: float, socket_timeout_seconds: float) -> Redis | Cluster:
    make = meet_cluster if kind_of(url) == "cluster" else connect
    return make(url, socket_timeout_seconds=socket_timeout_seconds, connect_timeout_seconds=connect_timeout_seconds)


def get_store() -> Client:
    """Return the client of CACHES["queue"], for brokers and for what is not about jobs (`queueing.audit`).

    It is the one that django-redis has, but of a cluster, which need not be reachable yet.
    """
    told = settings.CACHES[CONNECTION_ALIAS]
    return _shared(_url(told), told["OPTIONS"]["SOCKET_CONNECT_TIMEOUT"], told["OPTIONS"]["SOCKET_TIMEOUT"])


def get_patient_store() -> Client:
    """Return a client of the same store for a command that nobody's request waits for."""
    return _shared(_url(settings.CACHES[CONNECTION_ALIAS]), PATIENT_CONNECT_SECONDS, PATIENT_SECONDS)


def _url(told: dict[str, Any]) -> str:
    url: str = told["LOCATION"] if isinstance(told["LOCATION"], str) else told["LOCATION"][0]
    return url


def disconnect_store() -> None:
    """Close the connections of the store that nobody uses, as before a fork."""
    disconnect(get_store())


def get_broker() -> Broker:
    """Return a broker on the shared connections of CACHES["queue"]; threads may share it."""
    return _broker(get_store(), settings.LEASE_SECONDS, settings.REPLICAS)


@functools.lru_cache(maxsize=64)
def _broker(client: Client, lease_seconds: float, replicas: int) -> Broker:
    """Return the broker of a client, always the same: it keeps a reading of the server for a second."""
    return Broker(client, Policy(lease_ms=round(lease_seconds * 1000), replicas=replicas))


def get_reader() -> Reader:
    """Return what reads from the replicas of the settings, and else from CACHES["queue"]; threads may share it."""
    return _reader(get_store(), tuple(settings.REDIS_REPLICA_URLS), settings.REDIS_REPLICA_MAX_AGE_SECONDS)


@functools.lru_cache(maxsize=64)
def _reader(client: Client, replicas: tuple[str, ...], max_age_seconds: float) -> Reader:
    """Return the reader of a client and its replicas, always the same: it knows which of them failed."""
    return Reader(client, [connect_replica(url) for url in replicas], max_age_seconds=max_age_seconds)


def get_inspector() -> Inspector:
    """Return an inspector on the shared connections of CACHES["queue"]; threads may share it."""
    return Inspector(get_store())


def known_queues() -> list[str]:
    """Return the names of the queues of this installation (setting QUEUES), in its order."""
    return list(settings.QUEUES)
