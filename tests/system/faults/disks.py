"""Disks that a test fills up."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.system.faults.programs import program
from tests.system.faults.servers import WrappedServer

MIB = 2**20
MOUNT = 'mount -t tmpfs -o size=16m tmpfs "$0" && echo mounted && exec cat'


class SmallDisk:
    """A file system of 16 MiB over a folder, in a mount namespace: it goes with the last process in there."""

    def __init__(self, folder: Path) -> None:
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        self._keeper = subprocess.Popen(
            [program("unshare"), "--mount", *as_root, "sh", "-c", MOUNT, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"mounted\n":
            self.close()
            raise PermissionError("this machine lets us make no mount namespace")
        seen_from_outside = Path(f"/proc/{self._keeper.pid}")
        namespaces = [
            f"--{option}={seen_from_outside}/ns/{name}" for option, name in (("user", "user"), ("mount", "mnt"))
        ]
        self.enter = [program("nsenter"), "--preserve-credentials", *(namespaces if as_root else namespaces[1:])]
        self._ballast = seen_from_outside / f"root{folder}" / "ballast"

    def fill(self, pid: int) -> None:
        """Leave no room on it."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(MIB))

    def free(self, pid: int) -> None:
        """Let there be room again."""
        self._ballast.unlink()

    def close(self) -> None:
        """Let it go."""
        self._keeper.communicate(timeout=10)


class NoRoom:
    """What stands in for a small disk where nobody may mount: a limit to the size of a process's files."""

    enter: list[str] = []

    def fill(self, pid: int) -> None:
        """Let a process make no file longer."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        """Lift the limit."""
        with suppress(ProcessLookupError):  # it has ended, and the limit with it
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Do nothing: the limit goes with the process."""


class SmallDiskServer(WrappedServer):
    """A server whose journal lies on a disk that a test fills up."""

    def __init__(self, var_dir: Path, appendfsync: str) -> None:
        folder = var_dir / "disk"
        folder.mkdir()
        try:
            self.disk: SmallDisk | NoRoom = SmallDisk(folder)
        except PermissionError:
            self.disk = NoRoom()
        super().__init__(var_dir, self.disk.enter, ["--dir", str(folder), "--appendfsync", appendfsync])
