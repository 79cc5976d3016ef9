"""A broker and an inspector on the emptied server of the session."""

from __future__ import annotations

import pytest
from redis import Redis

from queueing import Broker, Inspector


@pytest.fixture
def broker(valkey: Redis) -> Broker:
    return Broker(valkey)


@pytest.fixture
def inspector(valkey: Redis) -> Inspector:
    return Inspector(valkey)
