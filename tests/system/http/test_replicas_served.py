"""The served API with a replica: who looks at queues and lists of jobs does not trouble the primary, nor need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from queueing import Broker, NewJob, connect
from queueing.embedded import EmbeddedServer
from tests.queueing.servers import free_ports
from tests.system.http.server import ApiServer
from tests.system.processes import wait_until

READS = (
    "/api/v1/queues",
    "/api/v1/queues/default",
    "/api/v1/jobs?state=ready",
    "/api/v1/jobs?queue=mail",
    "/api/v1/workers",
)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "primary") as server:
        yield server


@pytest.fixture
def replica(primary: EmbeddedServer, tmp_path: Path) -> Iterator[EmbeddedServer]:
    port = free_ports(1)[0]
    with (
        EmbeddedServer(tmp_path / "replica") as server,
        closing(connect(primary.url)) as at_primary,
        closing(connect(server.url)) as at_replica,
    ):
        at_primary.config_set("port", port)
        at_primary.config_set("repl-diskless-sync-delay", 0)
        at_replica.replicaof("127.0.0.1", port)
        wait_until(lambda: at_replica.info("replication")["master_link_status"] == "up", 20)
        yield server


@pytest.fixture
def api(primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path) -> Iterator[ApiServer]:
    settings = {"REDIS_URL": primary.url, "REDIS_REPLICA_URLS": replica.url, "QUEUES": "default,mail"}
    server = ApiServer(tmp_path / "api.log", **settings)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


def test_status_reads_leave_the_primary_and_go_on_while_it_is_away(api: ApiServer, primary: EmbeddedServer) -> None:
    with closing(connect(primary.url)) as client:
        job_id = Broker(client).enqueue("default", NewJob.of("echo")).id
        wait_until(lambda: b'"ready":1' in api.ask("GET", "/api/v1/queues/default").body)
        client.config_resetstat()

        there = [api.ask("GET", path) for path in READS]
        ran = {name for name in client.info("commandstats") if "eval" in name or "script" in name}
    primary.kill()
    away = [api.ask("GET", path) for path in READS]
    one = api.ask("GET", f"/api/v1/jobs/{job_id}")
    unknown = api.ask("GET", f"/api/v1/jobs/default_{'0' * 32}")
    refused = api.ask("POST", "/api/v1/jobs", b'{"kind":"echo"}', {"Content-Type": "application/json"})

    assert ran == set()
    assert [answer.status for answer in there + away] == [200] * 2 * len(READS)
    assert all(int(answer.headers["age"]) <= 30 for answer in [*there, *away, one])
    assert [item["id"] for item in json.loads(away[2].body)["items"]] == [job_id]
    assert (one.status, unknown.status, refused.status) == (200, 503, 503)


def test_the_latest_state_of_a_job_is_asked_of_the_primary(api: ApiServer) -> None:
    sent = api.ask("POST", "/api/v1/jobs", b'{"kind":"echo"}', {"Content-Type": "application/json"})

    found = api.ask("GET", sent.headers["location"])

    assert found.status == 200
    assert "age" not in found.headers
