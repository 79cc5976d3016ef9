"""What every test may ask for: a private Valkey server for the session, and a clean one for each test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from queueing import Broker, Inspector
from queueing.embedded import EmbeddedServer


def pytest_configure() -> None:
    """Take TERM like Ctrl-C: the servers stop and their directories go. No example fails for a slow machine."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def var_dir() -> Iterator[Path]:
    """Make the VAR_DIR that the test settings name, and remove it at the end."""
    settings.VAR_DIR.mkdir(mode=0o700)
    yield settings.VAR_DIR
    shutil.rmtree(settings.VAR_DIR)


@pytest.fixture(scope="session")
def valkey_server(var_dir: Path) -> Iterator[EmbeddedServer]:
    """Run one Valkey server for the session: the one that the test settings' REDIS_URL leads to."""
    with EmbeddedServer(var_dir) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: EmbeddedServer) -> Iterator[Redis]:
    """Give a client of the session's server, emptied; the client never sends a command twice."""
    client = Redis.from_url(valkey_server.url, retry=Retry(NoBackoff(), 0))
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def broker(valkey: Redis) -> Broker:
    """Give a broker on the session's server, emptied."""
    return Broker(valkey)


@pytest.fixture
def inspector(valkey: Redis) -> Inspector:
    """Give an inspector of the session's server, emptied."""
    return Inspector(valkey)
