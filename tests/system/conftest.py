"""Real workers on the emptied server of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.system.processes import RunWorker


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
        worker.kill()
