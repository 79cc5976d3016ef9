"""What processes examine before they start, and how they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from queueing.embedded import EmbeddedServer
from tests.system.faults.api import Api
from tests.system.processes import PROJECT, WAIT_SECONDS, RunWorker, wait_until
from worker.supervisor import PARENT_VARIABLE

EXIT_CONFIGURATION = 78
EVICTS = "maxmemory-policy is allkeys-lru: the server may drop jobs; set it to noeviction"


@pytest.fixture
def start_api(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Start the API, and end it afterwards."""
    started: list[Api] = []

    def start(**environment: Any) -> Api:
        variables = {name: str(value) for name, value in environment.items()}
        started.append(Api(tmp_path / "api.log", {"DJANGO_SETTINGS_MODULE": "settings.test", **variables}))
        return started[-1]

    yield start
    for api in started:
        api.kill()


@contextmanager
def configured(valkey: Redis, name: str, value: str) -> Iterator[None]:
    """Change a setting of the server for a while."""
    before = valkey.config_get(name)[name]
    valkey.config_set(name, value)
    try:
        yield
    finally:
        valkey.config_set(name, before)


def test_the_api_refuses_an_evicting_server_with_78_and_one_line(valkey: Redis, start_api: Callable[..., Api]) -> None:
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        api = start_api()

        assert api.wait() == EXIT_CONFIGURATION

    assert api.log.read_text().splitlines() == [f"CommandError: {EVICTS}"]


def test_the_api_refuses_a_replica(valkey: Redis, start_api: Callable[..., Api]) -> None:
    valkey.replicaof("127.0.0.1", "1")
    try:
        api = start_api()

        assert api.wait() == EXIT_CONFIGURATION
    finally:
        valkey.replicaof("no", "one")

    assert "the server is a replica" in api.log.read_text()


@pytest.mark.parametrize("allowed", [False, True])
def test_the_api_takes_a_server_without_a_journal_only_if_it_may(
    tmp_path: Path, start_api: Callable[..., Api], allowed: bool
) -> None:
    with EmbeddedServer(tmp_path) as server, Redis.from_url(server.url) as client:
        client.config_set("appendonly", "no")

        api = start_api(REDIS_URL=server.url, ALLOW_VOLATILE=int(allowed))

        if allowed:
            api.wait_until_serving()
        else:
            assert api.wait() == EXIT_CONFIGURATION
            assert "no journal" in api.log.read_text()


def test_the_api_starts_without_the_server_and_is_ready_once_it_is_there(
    tmp_path: Path, start_api: Callable[..., Api]
) -> None:
    server = EmbeddedServer(tmp_path)
    api = start_api(REDIS_URL=server.url)
    api.wait_until_serving("/livez")
    assert api.ask("before", "/readyz").status == 503

    with server:
        api.wait_until_serving("/readyz")
        api.kill()


def test_up_refuses_an_unfit_server_with_78_and_one_line(valkey: Redis, valkey_server: EmbeddedServer) -> None:
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        done = manage("up", REDIS_URL=valkey_server.url, PORT="0")

    assert (done.returncode, done.stderr) == (EXIT_CONFIGURATION, f"{EVICTS}\n")


def test_a_worker_that_its_supervisor_starts_again_takes_the_server_as_it_is(
    run_worker: Callable[..., RunWorker], valkey: Redis, broker: Broker, inspector: Inspector
) -> None:
    """The supervisor has examined it; by now the server may be a replica for a moment, or its disk full."""
    job_id = broker.enqueue("default", NewJob.of("echo")).id
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        worker = run_worker("--drain", **{PARENT_VARIABLE: os.getpid()})

        assert worker.wait() == 0

    assert inspector.job(job_id).state is State.SUCCEEDED


def test_a_worker_that_starts_without_the_server_waits_for_it(
    tmp_path: Path, run_worker: Callable[..., RunWorker]
) -> None:
    server = EmbeddedServer(tmp_path)
    worker = run_worker("--drain", REDIS_URL=server.url)
    wait_until(lambda: "store_unavailable" in worker.output)

    with server:
        assert worker.wait() == 0


def test_the_api_refuses_settings_that_do_not_say_who_may_call() -> None:
    done = manage("api", AUTH_MODE="maybe")

    assert done.returncode == EXIT_CONFIGURATION
    assert done.stderr == "AUTH_MODE must be chosen: oauth2, or none where only friends can reach the API\n"


@pytest.mark.parametrize("command", ["runworker", "api", "up"])
def test_wrong_faults_are_a_wrong_configuration(command: str) -> None:
    done = manage(command, FAULTS="nowhere=exit:1")

    assert done.returncode == EXIT_CONFIGURATION
    assert done.stderr.splitlines()[-1].startswith("FAULTS: there is no point 'nowhere'")
    assert len(done.stderr.splitlines()) == 1


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
