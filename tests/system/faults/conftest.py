"""What the fault tests share: the rig."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.faults.rig import Rig
from tests.system.processes import wait_until
from tests.topologies import SixNodes, on_fast_disk, store_at


@pytest.fixture(scope="module")
def six_nodes() -> Iterator[SixNodes]:
    """Run a cluster for the tests of a module."""
    with on_fast_disk() as folder, SixNodes(folder) as nodes:
        yield nodes


@pytest.fixture
def nodes(six_nodes: SixNodes) -> SixNodes:
    """Give the module's cluster, whole and emptied."""
    wait_until(six_nodes.is_whole)
    with closing(store_at(six_nodes.url)) as client:
        client.flushall()
    return six_nodes


@pytest.fixture
def rig(folder: Path, seed: int) -> Iterator[Rig]:
    """Give a server of its own, running, and what it takes to put a load on it."""
    rig = Rig(folder, seed)
    try:
        rig.server.start()
        yield rig
    finally:
        rig.close()
