"""A network between the database server and its clients that can be cut, without either side being told."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from queueing.lifeline import tied_to_us
from tests.system.faults.proxy import SwitchedProxy, Way
from tests.system.faults.rig import Rig
from tests.system.processes import wait_until
from tests.system.test_up import free_port

PROGRAMS = ("ip", "iptables", "nsenter", "sleep", "unshare")
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class NotIsolated(UserWarning):
    """This machine forbids network namespaces: a proxy that swallows everything stood in for the cut network."""


class CannotIsolate(Exception):
    """A network namespace cannot be made here."""


class Network(Protocol):
    """A process of the far side is started `within` a command and reached at `host`, whatever the network does.

    From there, `url` leads to the server.
    """

    name: str
    url: str
    host: str
    within: tuple[str, ...]

    def cut(self) -> None:
        """Let nothing through between the far side and the server, in either direction."""

    def heal(self) -> None:
        """Let everything through again."""


class Namespace:
    """A network namespace, joined to ours by two virtual Ethernet ends; a firewall in it drops packets."""

    name = "network namespace, packets dropped both ways"

    def __init__(self, rig: Rig) -> None:
        block = f"198.18.{rig.random.randrange(256)}"  # RFC 2544: of tests, routed nowhere
        first = 4 * rig.random.randrange(64) + 1
        self.host, self._near_host = f"{block}.{first + 1}", f"{block}.{first}"
        self._port = free_port()
        self.url = f"redis://{self._near_host}:{self._port}"
        self._holder = subprocess.Popen(tied_to_us([program("unshare"), "--net", program("sleep"), "infinity"]))
        self.within = (program("nsenter"), f"--net=/proc/{self._holder.pid}/ns/net")

    def join(self, rig: Rig) -> None:
        """Connect the namespace with the server; raises CannotIsolate."""
        wait_until(self._is_apart)
        near, far = f"near{self._holder.pid}", f"far{self._holder.pid}"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(self._holder.pid))
        run("ip", "address", "add", f"{self._near_host}/30", "dev", near)
        run("ip", "link", "set", near, "up")
        self._run("ip", "address", "add", f"{self.host}/30", "dev", far)
        self._run("ip", "link", "set", far, "up")
        self.cut()
        self.heal()
        for name, value in {"protected-mode": "no", "bind": self._near_host, "port": self._port}.items():
            rig.client.config_set(name, value)

    def _is_apart(self) -> bool:
        if self._holder.poll() is not None:
            raise CannotIsolate("unshare --net is refused")
        return Path(f"/proc/{self._holder.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    def _run(self, name: str, *arguments: str) -> None:
        run("nsenter", self.within[1], program(name), *arguments)

    def cut(self) -> None:
        """Drop every packet to and from the server."""
        for chain, end in (("OUTPUT", "--destination-port"), ("INPUT", "--source-port")):
            self._run("iptables", "--append", chain, "--protocol", "tcp", end, str(self._port), "--jump", "DROP")

    def heal(self) -> None:
        """Drop nothing."""
        self._run("iptables", "--flush")

    def close(self) -> None:
        """Let the namespace go, and with it both ends."""
        self._holder.kill()
        self._holder.wait()


class Swallowing:
    """A proxy that swallows everything while the network is to be cut."""

    name = "proxy that swallows everything"
    host = "127.0.0.1"
    within = ()

    def __init__(self, proxy: SwitchedProxy) -> None:
        self._proxy = proxy
        self.url = proxy.url

    def cut(self) -> None:
        """Swallow everything."""
        self._proxy.way = Way.MUTE

    def heal(self) -> None:
        """Swallow nothing new."""
        self._proxy.way = Way.OPEN


@contextmanager
def network(rig: Rig) -> Iterator[Network]:
    """Give a network namespace, or where these are forbidden, not without saying so, a proxy."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing: {', '.join(missing)}; .ci/run installs them")
    try:
        with isolated(rig, missing) as namespace:
            yield namespace
    except CannotIsolate as reason:
        warnings.warn(f"NO PARTITION BY THE KERNEL ({reason}): a proxy stands in for it", NotIsolated, stacklevel=2)
        with SwitchedProxy(rig.server.socket) as proxy:
            yield Swallowing(proxy)


@contextmanager
def isolated(rig: Rig, missing: list[str]) -> Iterator[Namespace]:
    """Give a network namespace; raises CannotIsolate."""
    if missing:
        raise CannotIsolate(f"missing: {', '.join(missing)}")
    namespace = Namespace(rig)
    try:
        namespace.join(rig)
        yield namespace
    finally:
        namespace.close()


def program(name: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name, path=SEARCHED)
    assert path is not None
    return path


def run(name: str, *arguments: str) -> None:
    """Run a program; raises CannotIsolate, with what it says, when it fails."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise CannotIsolate(f"{name}: {done.stderr.strip()}")
