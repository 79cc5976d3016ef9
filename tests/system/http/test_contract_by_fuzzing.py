"""The served API against its contract: schemathesis makes up requests, good and bad ones, and follows the links.

It tries each call's examples, each boundary of each schema, random values, and random walks over the links; every check
it knows is on. The long form (SOAK=1) makes up 2,000 requests for each call and walk.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from redis import Redis

from queueing.embedded import EmbeddedServer
from tests.system.http.server import ApiServer
from tests.system.processes import RunWorker

HERE = Path(__file__).parent
SCHEMATHESIS = [str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml"), "run"]


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """Serve the API with a worker, on a server that meets every durability a job may ask for."""
    with EmbeddedServer(folder / "var") as valkey, Redis.from_url(valkey.url) as client:
        client.config_set("appendfsync", "always")
        environment = {"REDIS_URL": valkey.url, "QUEUES": "default,mail", "REPLICAS": "0"}
        api = ApiServer(folder / "api.log", **environment)
        worker = RunWorker(["--concurrency", "2"], folder / "worker.log", environment)
        try:
            api.wait_until_ready()
            yield api.url
            assert "Internal Server Error" not in api.log.read_text()
        finally:
            worker.kill()
            api.close()


@pytest.mark.timeout(4 * 3600)
def test_no_request_gets_a_5xx_or_an_answer_that_the_contract_does_not_have(url: str, soak: bool, seed: int) -> None:
    arguments = ["--url", url, "--max-examples", "2000" if soak else "20", "--seed", str(seed), "--no-color"]

    run = subprocess.run(
        [*SCHEMATHESIS, str(settings.BASE_DIR / "openapi.yaml"), *arguments],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=3 * 3600 if soak else 240,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    print(f"seed {seed}: {run.stdout[run.stdout.index('Test cases:') :]}")  # noqa: T201 - figures for the reader
