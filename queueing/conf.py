"""The seam to Django: brokers and inspectors on the connections that the settings describe."""

from __future__ import annotations

from django.conf import settings
from django_redis import get_redis_connection

from queueing.broker import Broker
from queueing.inspector import Inspector

CONNECTION_ALIAS = "queue"


def get_broker() -> Broker:
    """Return a broker on the shared pool of CACHES["queue"]; threads may share it."""
    return Broker(get_redis_connection(CONNECTION_ALIAS))


def get_inspector() -> Inspector:
    """Return an inspector on the shared pool of CACHES["queue"]; threads may share it."""
    return Inspector(get_redis_connection(CONNECTION_ALIAS))


def known_queues() -> list[str]:
    """Return the names of the queues of this installation (setting QUEUES), in its order."""
    return list(settings.QUEUES)
