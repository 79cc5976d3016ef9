"""Private servers of every kind that the queue promises to run on: Valkey and Redis, standalone and in cluster mode."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from redis import Redis

from queueing import connect
from tests.system.faults.programs import program
from tests.system.faults.servers import WrappedServer

KINDS = ("valkey", "valkey-cluster", "redis", "redis-cluster")
CLUSTER_KINDS = tuple(kind for kind in KINDS if kind.endswith("-cluster"))
LAST_SLOT = 16_383


class PrivateServer(WrappedServer):
    """A server of one of KINDS, set up as the embedded one is and with more `settings`, words of a command line.

    It listens on a unix socket; in cluster mode also on a loopback port, and it is the only node and owns all slots.
    """

    def __init__(self, kind: str, folder: Path, *settings: str) -> None:
        self.kind = kind
        self.port = 0
        if kind in CLUSTER_KINDS:
            self.port, bus_port = free_ports(2)
            ports = ["--bind", "127.0.0.1", "--port", str(self.port), "--cluster-port", str(bus_port)]
            settings = ("--cluster-enabled", "yes", *ports, *settings)
        binary = Path(program("redis-server")) if kind.startswith("redis") else None
        super().__init__(folder, settings=settings, program=binary)

    def restart(self, how: signal.Signals) -> None:
        """End the server by TERM or KILL and start it again on its journal."""
        if how is signal.SIGKILL:
            self.kill()
        else:
            self.stop()
        self.start()

    def _serves(self) -> bool:
        return super()._serves() and (self.kind not in CLUSTER_KINDS or self._serves_all_slots())

    def _serves_all_slots(self) -> bool:
        """Give a new node all slots, and tell whether the cluster is up: a node waits up to 2 s after its start."""
        with closing(connect(self.url)) as client:
            about = client.cluster("INFO")
            if about["cluster_slots_assigned"] == "0":
                client.cluster("ADDSLOTSRANGE", 0, LAST_SLOT)
            return bool(about["cluster_state"] == "ok")


def version_of(client: Redis) -> str:
    """Return the server's name and version, such as `valkey 9.1.2`."""
    about = client.info("server")
    name = "valkey" if "valkey_version" in about else "redis"
    return f"{name} {about[f'{name}_version']}"


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]
