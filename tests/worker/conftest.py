"""The parts of a worker, on the emptied server of the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker
from redis import Redis

from tests.worker.rig import Rig


@pytest.fixture(autouse=True)
def database_allowed(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let attempts look at Django's connections, as they do before and after each handler.

    Another test of the same process may have left one open; asking it whether it is usable counts as access.
    """
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Give a pipe by name: a handler writes to it once it runs, and who reads from it waits for that."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def make_rig(valkey: Redis) -> Iterator[Callable[..., Rig]]:
    """Make rigs on the session's server, and end their threads afterwards."""
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(valkey, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
