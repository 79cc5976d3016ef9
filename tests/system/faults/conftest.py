"""What the fault tests share: the seed, the form (short or long), and the rig."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.rig import Rig

MEMORY_DISK = Path("/dev/shm")  # an fsync there takes no time: a killed server has written all that it answered


@pytest.fixture
def soak() -> bool:
    """Whether to run the long form."""
    return os.environ.get("SOAK", "") not in ("", "0")


@pytest.fixture
def seed() -> int:
    """Return the seed of the run: SEED from the environment to repeat one, else a new one."""
    return int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a directory whose disk is fast where there is one."""
    if not os.access(MEMORY_DISK, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="faults-", dir=MEMORY_DISK))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def rig(folder: Path, seed: int) -> Iterator[Rig]:
    """Give a server of its own, running, and what it takes to put a load on it."""
    rig = Rig(folder, seed)
    try:
        rig.server.start()
        yield rig
    finally:
        rig.close()
