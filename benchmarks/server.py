"""The database server of all contestants: the one that `manage.py up` starts, with its journal, on a loopback port."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from queueing.embedded import EmbeddedServer

PATIENCE_SECONDS = 120.0


class BenchServer:
    """A server that is emptied between two measurements, and says what it has cost."""

    def __init__(self, embedded: EmbeddedServer, port: int) -> None:
        self.pid = embedded.process.pid
        self.folder = embedded.directory.parent
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client: Redis = Redis.from_url(self.url)

    def empty(self) -> None:
        """Delete everything and wait until its memory is free and the journal is short.

        Valkey frees in a thread of its own unless told SYNC, and rewrites a journal that has grown: neither is to
        fall into a measurement.
        """
        self.client.execute_command("FLUSHALL", "SYNC")
        self._wait_for("memory", "lazyfree_pending_objects")
        self.shorten_journal()

    def shorten_journal(self) -> None:
        """Rewrite the journal now, and wait for its end."""
        self._wait_for("persistence", "aof_rewrite_in_progress")
        self.client.bgrewriteaof()
        self._wait_for("persistence", "aof_rewrite_scheduled", "aof_rewrite_in_progress")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the thread that runs the commands."""
        used = self.client.info("cpu")
        return float(used["used_cpu_user_main_thread"]) + float(used["used_cpu_sys_main_thread"])

    def memory_bytes(self) -> int:
        """Return the memory of what is stored: without the buffers of the journal and of clients."""
        used = self.client.info("memory")
        return int(used["used_memory"]) - int(used["mem_aof_buffer"]) - int(used["mem_clients_normal"])

    def journal_bytes(self) -> int:
        """Return the length of the journal."""
        return int(self.client.info("persistence")["aof_current_size"])

    def _wait_for(self, section: str, *fields: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while any(self.client.info(section)[field] for field in fields):
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"the database server does not finish: {', '.join(fields)}")
            time.sleep(0.01)


@contextmanager
def running() -> Iterator[BenchServer]:
    """Run a server in a temporary folder; clients that have a choice reach it over TCP, as one on another machine."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedServer(Path(folder)) as embedded:
        port = free_port()
        with Redis.from_url(embedded.url) as client:
            client.config_set("bind", "127.0.0.1")
            client.config_set("port", port)
        server = BenchServer(embedded, port)
        yield server
        server.client.close()


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
