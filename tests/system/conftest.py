"""What tests of real processes share: seed, form (short or long), a fast disk, and workers on the session's server."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.system.processes import RunWorker

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
    path = Path(tempfile.mkdtemp(prefix="jobapi-test-", dir=MEMORY_DISK))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run_worker(valkey: Redis, tmp_path: Path) -> Iterator[Callable[..., RunWorker]]:
    """Start `runworker` with arguments, and end what is left of it afterwards."""
    started: list[RunWorker] = []

    def start(*arguments: str, **environment: Any) -> RunWorker:
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(RunWorker(arguments, log, {name: str(value) for name, value in environment.items()}))
        return started[-1]

    yield start
    for worker in started:
        worker.kill_all()
