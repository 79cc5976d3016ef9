"""The access log, as the API is served: one line for each request, also for those that get no further than the door."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from queueing.embedded import EmbeddedServer
from tests.system.http.server import ApiServer
from tests.system.processes import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def api(valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve the API; probes of liveness leave no line."""
    server = ApiServer(tmp_path_factory.mktemp("api") / "api.log", ACCESS_LOG_SKIP="/livez,/metrics", REQUEST_SECONDS=1)
    server.wait_until_ready()
    wait_until(lambda: '"/readyz"' in server.log.read_text())  # a line is written when its answer is sent already
    yield server
    server.close()


class Log:
    """The lines that were written since."""

    def __init__(self, api: ApiServer) -> None:
        self._path = api.log
        self._start = len(api.log.read_text())

    def lines(self) -> list[dict[str, Any]]:
        text = self._path.read_text()[self._start :]
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def requests(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait for so many lines of the access log, and return those there are."""
        wait_until(lambda: len(self._requests()) >= number)
        return self._requests()

    def _requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("action") == "request"]


@pytest.fixture
def log(api: ApiServer) -> Log:
    return Log(api)


def exchange(api: ApiServer, request: bytes) -> None:
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(request)
        while connection.recv(65_536):
            pass


def test_a_request_leaves_one_line_without_its_query(api: ApiServer, log: Log) -> None:
    headers = {
        "X-Request-ID": "a-clients-own-id",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "User-Agent": "curl/8 " + "x" * 1000,
    }

    answer = api.ask("GET", "/api/v1/queues/default?token=canary", headers=headers)

    (line,) = log.requests()
    assert line["message"] == "GET /api/v1/queues/default: 200"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/queues/default", 200)
    assert line["route"].startswith("api/v1/queues/")
    assert "default" not in line["route"]
    assert line["bytes"] == len(answer.body)
    assert 0 < line["duration_seconds"] < 10
    assert (line["client"], line["level"], line["logger"]) == ("127.0.0.1", "INFO", "jobapi.access")
    assert (line["request_id"], line["trace_id"]) == ("a-clients-own-id", TRACE)
    assert len(line["user_agent"]) == 256
    assert "canary" not in json.dumps(log.lines())


def test_the_line_has_the_request_id_of_the_answer(api: ApiServer, log: Log) -> None:
    answer = api.ask("GET", "/api/v1/nothing")

    (line,) = log.requests()
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["status"] == 404
    assert "route" not in line


def test_paths_that_are_left_out_leave_no_line(api: ApiServer, log: Log) -> None:
    api.ask("GET", "/livez")
    api.ask("GET", "/readyz")

    assert [line["path"] for line in log.requests()] == ["/readyz"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
        (b"Host: localhost\r\nContent-Length: 1073741824\r\n\r\n{}", 413),
        (b"Host: localhost\r\nContent-Length: 100\r\n\r\n{}", 400),
        (b"Host: localhost\r\nContent-Length: 0\r\n\r\n", 400),
    ],
)
def test_a_body_that_is_not_taken_leaves_one_line(api: ApiServer, log: Log, head: bytes, status: int) -> None:
    start = b"POST /api/v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"

    exchange(api, start + head)

    assert [line["status"] for line in log.requests()] == [status]


def test_a_host_that_is_not_served_leaves_one_warning_and_no_traceback(api: ApiServer, log: Log) -> None:
    api.ask("GET", "/api/v1/queues", headers={"Host": "evil.example"})

    (line,) = log.requests()
    assert (line["status"], line["host_asked"]) == (400, "evil.example")
    others = [other for other in log.lines() if other != line]
    assert [(other["level"], other["logger"]) for other in others] == [("WARNING", "django.security.DisallowedHost")]
    assert "evil.example" in others[0]["message"]
    assert "error" not in others[0]


def test_a_path_that_is_no_text_leaves_one_line(api: ApiServer, log: Log) -> None:
    exchange(api, b"GET /api/v1/%ff%0a%00x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert [line["status"] for line in log.requests()] == [404]


def test_requests_of_one_connection_leave_a_line_each(api: ApiServer, log: Log) -> None:
    get = b"GET /api/v1/queues HTTP/1.1\r\nHost: localhost\r\n"

    exchange(api, (get + b"\r\n") * 4 + get + b"Connection: close\r\n\r\n")

    assert [line["status"] for line in log.requests(5)] == [200] * 5
    assert len({line["request_id"] for line in log.requests(5)}) == 5
