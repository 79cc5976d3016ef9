"""The port of a worker that Prometheus scrapes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected

import pytest

from tests.queueing.servers import free_ports
from worker.metrics import MetricsServer, Monitors

TOKEN = "s3cret"

Serve = Callable[..., MetricsServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a function that answers with a text on a free port."""
    started: list[MetricsServer] = []

    def start(
        monitors: Monitors | None = None, host: str = "127.0.0.1", text: Callable[[], bytes] = lambda: b"up 1\n"
    ) -> MetricsServer:
        server = MetricsServer(host, 0, text, monitors or Monitors())
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def ask(server: MetricsServer, path: str = "/metrics", host: str = "127.0.0.1", **headers: str) -> tuple[int, bytes]:
    answer = answer_to(server, path, host, headers)
    return answer.status, answer.read()


def answer_to(server: MetricsServer, path: str, host: str, headers: dict[str, str]) -> HTTPResponse:
    connection = HTTPConnection(host, server.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    connection.close()
    return answer


def test_it_answers_with_the_text(serve: Serve) -> None:
    server = serve()

    assert ask(server) == (200, b"up 1\n")
    assert ask(server, "/metrics?name=up") == (200, b"up 1\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metricsX", "/nothing"])
def test_nothing_else_is_there(serve: Serve, path: str) -> None:
    assert ask(serve(), path)[0] == 404


def test_with_a_token_only_who_has_it_is_answered(serve: Serve) -> None:
    server = serve(Monitors(TOKEN))

    refused = ask(server)
    assert refused[0] == 401
    assert TOKEN.encode() not in refused[1]
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer ", "Bearer s3cret2", "Bearer \xe9"):
        assert ask(server, Authorization=wrong)[0] == 401
    assert ask(server, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(server, Authorization=f"bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 401), ("fd00::/8", 401)])
def test_with_networks_only_who_comes_from_there_is_answered(serve: Serve, network: str, status: int) -> None:
    assert ask(serve(Monitors("", [network])))[0] == status


def test_an_empty_token_opens_nothing_where_networks_are_named(serve: Serve) -> None:
    assert ask(serve(Monitors("", ["10.0.0.0/8"])), Authorization="Bearer ")[0] == 401


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Monitors("", ["nonsense"])


def test_it_listens_on_ipv6_too(serve: Serve) -> None:
    assert ask(serve(host="::1"), host="::1")[0] == 200


def test_a_port_that_is_taken_is_an_error(serve: Serve) -> None:
    taken = serve().port

    with pytest.raises(OSError, match="in use"):
        MetricsServer("127.0.0.1", taken, bytes, Monitors())


def test_a_silent_client_holds_up_nobody(serve: Serve) -> None:
    server = serve()

    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server)[0] == 200


def test_a_request_starts_no_thread(serve: Serve) -> None:
    during: list[set[threading.Thread]] = []

    def text() -> bytes:
        during.append(set(threading.enumerate()))
        return b"up 1\n"

    server = serve(text=text)
    before = set(threading.enumerate())

    assert ask(server)[0] == 200
    assert during == [before]


def test_a_client_that_goes_away_leaves_one_line_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise BrokenPipeError("gone")

    server = MetricsServer("127.0.0.1", 0, broken, Monitors())
    server.start()
    with pytest.raises(RemoteDisconnected):
        ask(server)
    server.stop()

    assert [record.action for record in caplog.records] == ["scrape_failed"]
    assert "gone" in caplog.text


def test_a_port_is_free_again_once_the_server_has_stopped() -> None:
    port = free_ports(1)[0]
    for _ in range(2):
        server = MetricsServer("127.0.0.1", port, lambda: b"", Monitors())
        server.start()
        assert ask(server)[0] == 200
        server.stop()
