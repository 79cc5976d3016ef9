"""What the tests of the served API share: the API on the session's server, and programs in node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from queueing.embedded import EmbeddedServer
from tests.system.http.server import ApiServer

NODE_TOOLS = Path(__file__).parent / "node"

Node = Callable[..., str]


@pytest.fixture(scope="session")
def served(valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve the API for the session."""
    server = ApiServer(tmp_path_factory.mktemp("api") / "api.log", QUEUES="default,mail")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


@pytest.fixture
def api(served: ApiServer, valkey: Redis) -> ApiServer:
    """Give the API on an emptied database."""
    return served


@pytest.fixture
def node() -> Node:
    """Give a function that runs a script in node and returns its output; without node there is no test but in CI."""
    if not shutil.which("node") or not (NODE_TOOLS / "node_modules").is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("node or its modules are missing: run `make node`")

    def run(script: Path, *arguments: object) -> str:
        command = ["node", str(script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
