"""The served API and clients that mean it no good: every request of the table, and hundreds of slow sockets."""

from __future__ import annotations

import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Self

import pytest
from redis import Redis

from queueing import Inspector
from queueing.embedded import EmbeddedServer
from tests.system.http import hostile
from tests.system.http.hostile import Row, submission
from tests.system.http.server import ApiServer
from tests.system.processes import wait_until

MIB = 1024 * 1024
PATIENCE_SECONDS = 1.0  # of the API with a request that does not come
AT_ONCE = 40
SLOW_SOCKETS = 500
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) .*\r\n", re.MULTILINE)


@pytest.fixture(scope="module")
def impatient(valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve the API with little patience for slow clients."""
    server = ApiServer(tmp_path_factory.mktemp("api") / "api.log", REQUEST_SECONDS=PATIENCE_SECONDS)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


def answers(server: ApiServer, row: Row) -> bytes:
    """Send a row and return all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has closed before all was sent
            for piece in row.pieces:
                connection.sendall(piece)
                time.sleep(row.pause)
            if row.cut_off:
                connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: received(connection), b""))


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""


def is_refused(row: Row, answer: bytes) -> bool:
    """Whether all that was answered are refusals, at least one if anything was; 100 is no answer yet."""
    statuses = [status for status in STATUS.findall(answer) if status != b"100"]
    return all(status.startswith(b"4") for status in statuses) and bool(statuses) == bool(answer)


def verdict(server: ApiServer, row: Row) -> str:
    """Return what is wrong with the answer to a row, '' if nothing is."""
    try:
        answer = answers(server, row)
    except TimeoutError:
        return f"{row.name}: left hanging"
    return "" if is_refused(row, answer) else f"{row.name}: {answer[:200]!r}"


def send_all(server: ApiServer, rows: list[Row]) -> list[str]:
    """Send all rows, many at a time, and return what was wrong."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [wrong for wrong in pool.map(lambda row: verdict(server, row), rows) if wrong]


class Watch:
    """Looks at the memory of the API while something goes on, and keeps the most it has seen."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before = self.most = server.resident_bytes()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.most - self.before) / MIB

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, self._server.resident_bytes())


def good_request_ms(server: ApiServer) -> float:
    """Submit a job and return how long the answer took."""
    began = time.monotonic()
    assert server.ask("POST", hostile.JOBS, hostile.JOB, {"Content-Type": "application/json"}).status == 201
    return (time.monotonic() - began) * 1000


@pytest.mark.timeout(180)
def test_every_hostile_request_is_refused_and_leaves_no_trace(impatient: ApiServer, inspector: Inspector) -> None:
    rows = hostile.rows()

    wrong = send_all(impatient, rows)

    assert not wrong, "\n".join(wrong)
    assert inspector.stats("default").counters["submitted"] == 0
    assert not inspector.stats("default").paused
    assert b"Internal Server Error" not in impatient.log.read_bytes()
    say(f"{len(rows)} requests refused")


@pytest.mark.timeout(180)
def test_hostile_requests_take_no_memory(impatient: ApiServer, valkey: Redis) -> None:
    large = [row for row in hostile.rows() if len(b"".join(row.pieces)) > 10_000]
    send_all(impatient, large * 5)

    with Watch(impatient) as watch:
        send_all(impatient, large * 5)

    say(f"memory: {watch.before / MIB:.0f} MiB, growth {watch.growth_mib:.1f} MiB")
    assert watch.growth_mib < 16


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "sent",
    [b"", submission("Content-Length: 15")[:60], submission("Content-Length: 15")[:-1]],
    ids=["silence", "half a head", "half a body"],
)
def test_slow_sockets_hold_up_nobody(served: ApiServer, valkey: Redis, sent: bytes) -> None:
    alone = statistics.median(good_request_ms(served) for _ in range(11))
    files = served.open_files()

    with ExitStack() as stack, Watch(served) as watch:
        for _ in range(SLOW_SOCKETS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
            connection.sendall(sent)
        wait_until(lambda: served.open_files() > files + SLOW_SOCKETS * 0.9)
        beside = statistics.median(good_request_ms(served) for _ in range(21))

    wait_until(lambda: served.open_files() < files + SLOW_SOCKETS * 0.1)
    say(f"good request: {alone:.1f} ms, beside {SLOW_SOCKETS} slow sockets {beside:.1f}; +{watch.growth_mib:.1f} MiB")
    assert beside < 200
    assert watch.growth_mib < 32


def say(figures: str) -> None:
    print(figures)  # noqa: T201 - for the reader
