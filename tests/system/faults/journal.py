"""The journal of a stopped server, cut and damaged, and the server started on what is left of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from queueing import connect
from queueing.embedded import EmbeddedServer


def file_of(folder: Path) -> Path:
    """Return the file that a server appends to."""
    return next((folder / "valkey" / "appendonlydir").glob("*.incr.aof"))


@contextmanager
def served(original: Path, journal: bytes) -> Iterator[Redis]:
    """Start a server on a copy of the data of a stopped one, with another journal."""
    copy = Path(tempfile.mkdtemp(dir=original))
    shutil.copytree(original / "valkey" / "appendonlydir", copy / "valkey" / "appendonlydir")
    file_of(copy).write_bytes(journal)
    server = EmbeddedServer(copy)
    try:
        server.start(10)
        with connect(server.url) as client:
            yield client
        server.kill()
    finally:
        shutil.rmtree(copy)
