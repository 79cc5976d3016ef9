"""The API as it is served: a real granian process, and what odd clients do to its sockets."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from jobapi.bodies import MAX_BODY_BYTES
from queueing.embedded import EmbeddedServer
from tests.system.http.server import ApiServer

BODY = b'{"kind":"echo"}'
GZIPPED = gzip.compress(BODY, mtime=0)
HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

Exchange = Callable[..., bytes]


@pytest.fixture(scope="module")
def port(valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve the API on a free port."""
    server = ApiServer(tmp_path_factory.mktemp("api") / "api.log")
    try:
        server.wait_until_ready()
        yield server.port
    finally:
        server.close()


@pytest.fixture
def exchange(port: int) -> Exchange:
    """Give a function that sends bytes and returns all that comes back until the server closes."""

    def send(request: bytes, *, cut_off: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            try:
                connection.sendall(request)
                if cut_off:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server has refused the rest
            return b"".join(iter(lambda: received(connection), b""))

    return send


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_job_is_stored(exchange: Exchange, valkey: Redis) -> None:
    answer = exchange(HEAD + b"Connection: close\r\nContent-Length: 15\r\n\r\n" + BODY)

    assert status_of(answer) == 201
    assert valkey.zcard("jobs:{default}:ready") == 1


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n", b"f\r\n" + BODY + b"\r\n0\r\n\r\n", 411),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"f\r\n" + BODY + b"\r\n0\r\n\r\n", 411),
        (b"", b"", 411),
        (b"Content-Length: 0\r\n", b"", 400),
        (b"Content-Length: -1\r\n", BODY, 400),
        (b"Content-Length: 1x\r\n", BODY, 400),
        (b"Content-Length: 15\r\nContent-Length: 16\r\n", BODY, 400),
        (b"Content-Length: 14\r\n", BODY, 400),
        (b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(GZIPPED), GZIPPED, 415),
        (b"Content-Length: 1073741824\r\n", BODY, 413),
        (b"Content-Length: %d\r\n" % (MAX_BODY_BYTES + 1), BODY + b" " * (MAX_BODY_BYTES - 14), 413),
        (b"Content-Length: 220026\r\n", b'{"kind":"echo","payload":' + b"[" * 110_000 + b"]" * 110_000 + b"}", 400),
    ],
)
def test_a_body_that_is_not_plain_json_of_known_length_is_refused(
    exchange: Exchange, valkey: Redis, head: bytes, body: bytes, status: int
) -> None:
    answer = exchange(HEAD + b"Connection: close\r\n" + head + b"\r\n" + body)

    assert status_of(answer) == status
    assert valkey.dbsize() == 0


def test_a_body_that_ends_early_stores_nothing(exchange: Exchange, valkey: Redis) -> None:
    answer = exchange(HEAD + b"Connection: close\r\nContent-Length: 100\r\n\r\n" + BODY, cut_off=True)

    assert answer == b"" or status_of(answer) == 400
    assert valkey.dbsize() == 0


def test_a_pause_sent_in_chunks_is_refused(exchange: Exchange, valkey: Redis) -> None:
    head = HEAD.replace(b"jobs", b"queues/default/pause") + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert status_of(exchange(head + b"2\r\n{}\r\n0\r\n\r\n")) == 411
    assert valkey.dbsize() == 0


def test_the_process_serves_after_all_that(exchange: Exchange) -> None:
    assert status_of(exchange(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")) == 200
