"""The API behind nginx and behind HAProxy, as deploy/ sets them up, over TLS."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis

from tests.system.deploy.fronts import INSIDE, NAME, OUTSIDE, Front, Server
from tests.system.faults.programs import program
from tests.system.http.server import Answer, ApiServer
from tests.system.processes import is_running, wait_until

JOB = {"kind": "echo", "payload": {"n": 1}}

MakeFront = Callable[..., Front]


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def kind(request: pytest.FixtureRequest) -> str:
    program(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def make_front(kind: str, authority: trustme.CA, tmp_path: Path) -> Iterator[MakeFront]:
    """Start a proxy in front of servers, and end it."""
    fronts: list[Front] = []

    def make(*servers: ApiServer | Server) -> Front:
        fronts.append(Front(kind, tmp_path, [server.port for server in servers], authority))
        return fronts[-1]

    yield make
    for front in fronts:
        front.close()


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Start servers that are no API, and end them."""
    started: list[Server] = []

    def start(**how: Any) -> Server:
        started.append(Server(**how))
        return started[-1]

    yield start
    for server in started:
        server.close()


def start_api(log: Path) -> ApiServer:
    return ApiServer(
        log, PUBLIC_URL=f"https://{NAME}", ALLOWED_HOSTS=f"{NAME},127.0.0.1", TRUSTED_PROXIES=f"{INSIDE}/32"
    )


@pytest.fixture(scope="module")
def api(valkey_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve the API for all tests of this file."""
    server = start_api(tmp_path_factory.mktemp("api") / "api.log")
    server.wait_until_ready()
    yield server
    server.close()


def problem(answer: Answer) -> dict[str, Any]:
    """Return the problem of an answer, which names the request."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    found: dict[str, Any] = json.loads(answer.body)
    assert found["status"] == answer.status
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def log_lines(server: ApiServer, path: str) -> list[dict[str, Any]]:
    """Return the lines of the access log about a path."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("action") == "request" and line["path"] == path]


def test_a_job_is_submitted_over_tls_that_a_client_can_check(
    make_front: MakeFront, api: ApiServer, valkey: Redis
) -> None:
    front = make_front(api)

    answer = front.ask("POST", "/api/v1/jobs", JOB, {"X-Request-ID": "client-0001"})

    assert answer.status == 201
    assert answer.headers["x-request-id"] == "client-0001"
    assert "strict-transport-security" in answer.headers
    assert valkey.zcard("jobs:{default}:ready") == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        front.connect(authority=trustme.CA())


def test_http_2_is_spoken_and_plain_http_is_sent_to_https(
    make_front: MakeFront, api: ApiServer, authority: trustme.CA, tmp_path: Path
) -> None:
    front = make_front(api)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    curl = [program("curl"), "-sS", "--cacert", str(tmp_path / "ca.pem"), "--resolve", f"{NAME}:{front.port}:{INSIDE}"]
    curl += ["--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"https://{NAME}:{front.port}/livez"]

    spoken = subprocess.run(curl, capture_output=True, text=True, timeout=30, check=True).stdout
    plain = front.ask_plainly("/api/v1/queues?a=b")

    assert spoken == "2 200"
    assert (plain.status, plain.headers["location"]) == (308, f"https://{NAME}/api/v1/queues?a=b")


def test_the_api_knows_its_client_whatever_that_says_of_itself(make_front: MakeFront, api: ApiServer) -> None:
    front = make_front(api)
    path = f"/api/v1/jobs/default_{'0' * 32}"
    lies = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}

    before = len(log_lines(api, path))

    answer = front.ask("GET", path, headers={**lies, "X-Request-ID": "unfit id"}, source=OUTSIDE)

    wait_until(lambda: len(log_lines(api, path)) > before)
    line = log_lines(api, path)[-1]
    assert answer.status == 404
    assert (line["client"], line["host_asked"]) == (OUTSIDE, NAME)
    assert line["request_id"] == answer.headers["x-request-id"] != "unfit id"
    wait_until(lambda: line["request_id"] in front.output)


@pytest.mark.parametrize("path", ["/metrics", "/admin/", "/admin/login/", "/dashboard/"])
def test_figures_and_pages_of_staff_are_seen_from_inside_alone(
    make_front: MakeFront, api: ApiServer, path: str
) -> None:
    front = make_front(api)

    assert front.ask("GET", path).status in (200, 302)
    refused = front.ask("GET", path, source=OUTSIDE)

    assert problem(refused)["code"] == "forbidden"


def test_styles_come_through(make_front: MakeFront, api: ApiServer) -> None:
    front = make_front(api)

    answer = front.ask("GET", "/static/dashboard/dashboard.css", source=OUTSIDE)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/css")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(make_front: MakeFront, api: ApiServer) -> None:
    front = make_front(api)

    with closing(front.connect()) as connection:
        connection.putrequest("POST", "/api/v1/jobs")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(16 * 1024 * 1024 + 1))
        connection.endheaders()
        got = connection.getresponse()
        answer = Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())

    assert problem(answer)["code"] == "too_large"


def test_a_submission_that_reached_a_server_is_not_sent_again(
    make_front: MakeFront, servers: Callable[..., Server]
) -> None:
    both = [servers(hangs_up=True), servers(hangs_up=True)]
    front = make_front(*both)

    answer = front.ask("POST", "/api/v1/jobs", JOB)

    assert sum(len(server.requests) for server in both) == 1
    assert problem(answer)["code"] == "no_server"


def test_a_client_that_sends_slowly_does_not_reach_the_api_before_its_body_is_there(
    make_front: MakeFront, servers: Callable[..., Server]
) -> None:
    server = servers()
    front = make_front(server)
    slow = [front.connect() for _ in range(50)]
    for connection in slow:
        connection.putrequest("POST", "/api/v1/jobs")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"01234")

    quick = front.ask("POST", "/api/v1/jobs/bulk", JOB)
    arrived = len(server.requests)
    slow[0].send(b"56789")
    late = slow[0].getresponse().status

    for connection in slow:
        connection.close()
    assert (quick.status, arrived, late) == (200, 1, 200)
    assert b"POST /api/v1/jobs HTTP" in server.requests[1]


def test_a_server_that_is_killed_is_done_without(
    make_front: MakeFront, api: ApiServer, valkey: Redis, tmp_path: Path
) -> None:
    other = start_api(tmp_path / "other.log")
    try:
        other.wait_until_ready()
        front = make_front(api, other)
        before = [front.ask("POST", "/api/v1/jobs", JOB).status for _ in range(10)]
    finally:
        pids = other.pids()
        os.killpg(os.getpgid(pids[0]), signal.SIGKILL)
        other.close()
    wait_until(lambda: not any(is_running(pid) for pid in pids))  # as long as one ends, so may a connection to it

    after = [front.ask("POST", "/api/v1/jobs", JOB).status for _ in range(20)]

    assert set(before) == {201}
    assert set(after) == {201}
    assert valkey.zcard("jobs:{default}:ready") == 30
    assert log_lines(other, "/api/v1/jobs")
