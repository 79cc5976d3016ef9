"""The seam to Django: brokers and inspectors on the connections that the settings describe."""

from __future__ import annotations

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
    policy = Policy(lease_ms=round(settings.LEASE_SECONDS * 1000))
    return Broker(get_client(), policy)


def get_inspector() -> Inspector:
    """Return an inspector on the shared pool of CACHES["queue"]; threads may share it."""
    return Inspector(get_client())


def known_queues() -> list[str]:
    """Return the names of the queues of this installation (setting QUEUES), in its order."""
    return list(settings.QUEUES)
