"""What the fault tests share: the rig."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.rig import Rig


@pytest.fixture
def rig(folder: Path, seed: int) -> Iterator[Rig]:
    """Give a server of its own, running, and what it takes to put a load on it."""
    rig = Rig(folder, seed)
    try:
        rig.server.start()
        yield rig
    finally:
        rig.close()
