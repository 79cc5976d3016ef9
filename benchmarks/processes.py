"""Real worker processes for the benchmarks, with handlers that only the benchmarks know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from queueing.embedded import EmbeddedServer

MANAGE = Path(__file__).parent.parent / "manage.py"
STOP_SECONDS = 20


def environment(server: EmbeddedServer) -> dict[str, str]:
    """Return the environment of a process that works on `server`, in the benchmarks' settings."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "REDIS_URL": server.url,
        "VAR_DIR": str(server.directory.parent),
        "LOG_LEVEL": "ERROR",
    }


def drain(server: EmbeddedServer, *arguments: str) -> None:
    """Run one worker until the queue is empty."""
    command = [sys.executable, str(MANAGE), "runworker", "--drain", *arguments]
    subprocess.run(command, env=environment(server), check=True, timeout=300)


@contextmanager
def worker(server: EmbeddedServer, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one worker for a while."""
    process = subprocess.Popen([sys.executable, str(MANAGE), "runworker", *arguments], env=environment(server))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
