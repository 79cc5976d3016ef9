"""What every test may ask for: a private Valkey server for the session, and a clean one for each test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from redis import Redis, RedisCluster

from queueing import Broker, Inspector
from queueing.embedded import EmbeddedServer
from tests.topologies import SixNodes, on_fast_disk, store_at


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of the queue run on six nodes of a cluster: `pytest tests/queueing --store cluster`."""
    parser.addoption("--store", choices=("server", "cluster"), default="server", help="what the tests of the queue use")


def pytest_configure(config: pytest.Config) -> None:
    """Take TERM like Ctrl-C: the servers stop and their directories go. No example fails for a slow machine."""
    config.addinivalue_line("markers", "one_server(reason): is about one server, and left out with --store cluster")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, when there are six servers, what is about one, or uses servers of its own."""
    if config.getoption("store") == "cluster":
        alone = [item for item in items if not uses_the_store(item) or item.get_closest_marker("one_server")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in alone]


def uses_the_store(item: pytest.Item) -> bool:
    """Tell whether a test uses the session's server."""
    return isinstance(item, pytest.Function) and "store_url" in item.fixturenames


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


@pytest.fixture(scope="session")
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of the session's server, or with `--store cluster` of six nodes."""
    if request.config.getoption("store") == "server":
        yield request.getfixturevalue("valkey_server").url
        return
    with on_fast_disk() as folder, SixNodes(folder) as nodes:
        yield nodes.url


@pytest.fixture
def valkey(store_url: str) -> Iterator[Redis | RedisCluster]:
    """Give a client of the session's server, emptied; the client never sends a command twice."""
    client = store_at(store_url)
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
