"""The seam to Django: brokers and inspectors on the connections that the settings describe."""

from __future__ import annotations

import functools

from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis

from queueing.broker import Broker, Policy
from queueing.inspector import Inspector

CONNECTION_ALIAS = "queue"


def get_client() -> Redis:
    """Return the client of CACHES["queue"], for what is not about jobs (`queueing.audit`)."""
    client: Redis = get_redis_connection(CONNECTION_ALIAS)
    return client


def get_broker() -> Broker:
    """Return a broker on the shared pool of CACHES["queue"]; threads may share it."""
    return _broker(get_client(), settings.LEASE_SECONDS, settings.REPLICAS)


@functools.lru_cache(maxsize=64)
def _broker(client: Redis, lease_seconds: float, replicas: int) -> Broker:
    """Return the broker of a client, always the same: it keeps a reading of the server for a second."""
    return Broker(client, Policy(lease_ms=round(lease_seconds * 1000), replicas=replicas))


def get_inspector() -> Inspector:
    """Return an inspector on the shared pool of CACHES["queue"]; threads may share it."""
    return Inspector(get_client())


def known_queues() -> list[str]:
    """Return the names of the queues of this installation (setting QUEUES), in its order."""
    return list(settings.QUEUES)
