"""What a scrape costs, and what it says when the database is away."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from queueing import Broker, NewJob
from queueing.embedded import EmbeddedServer
from queueing.exposition import Exposition, LogMirror
from queueing.metrics import QueueCollector
from tests.queueing.servers import free_ports
from tests.system.http.server import ApiServer
from tests.system.processes import RunWorker, wait_until
from tests.system.test_runworker import Start

ECHO = NewJob.of("echo")
BULK = 1_000
REPEATS = 60
LONGEST_SECONDS = 0.05
pytestmark = pytest.mark.timeout(240)


def exposition_of(queue: str, client: Redis) -> Exposition:
    """Return what a process tells of one queue, without what other tests have counted."""
    collector = QueueCollector(lambda: client, lambda: [queue], lambda: 300.0)
    return Exposition(collector, logs=LogMirror(dict), own=CollectorRegistry())


def scrape_seconds(exposition: Exposition) -> float:
    """Return how long a scrape takes."""
    began = time.perf_counter()
    assert b"jobapi_store_up 1.0" in exposition.text()
    return time.perf_counter() - began


@pytest.mark.timeout(900)
def test_a_scrape_takes_as_long_with_many_jobs_as_with_few(valkey: Redis, broker: Broker, soak: bool) -> None:
    many = 1_000_000 if soak else 100_000
    broker.enqueue_many("few", [ECHO] * 100)
    for _ in range(many // BULK):
        broker.enqueue_many("many", [ECHO] * BULK)
    of_few, of_many = exposition_of("few", valkey), exposition_of("many", valkey)

    turns = [(scrape_seconds(of_few), scrape_seconds(of_many)) for _ in range(REPEATS)]

    few_seconds, many_seconds = (min(times) for times in zip(*turns, strict=True))
    figures = f"{few_seconds * 1000:.1f} ms with 100 jobs, {many_seconds * 1000:.1f} ms with {many}"
    print(figures)  # noqa: T201 - figures for the reader
    assert many_seconds < 2 * few_seconds
    assert many_seconds < LONGEST_SECONDS


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    """Run a database server that may be stopped."""
    with EmbeddedServer(folder) as server:
        yield server
        server.process.send_signal(signal.SIGCONT)


def read_page(url: str, token: str = "") -> str:
    request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def has_page(url: str, token: str = "") -> bool:
    """Tell whether a page comes, with the figures of queues."""
    try:
        return "\njobapi_store_up 1.0\n" in read_page(url, token)
    except OSError:
        return False


def assert_is_away(url: str) -> None:
    """Assert that a page comes in time, and tells of the process alone."""
    began = time.monotonic()
    page = read_page(url)
    took = time.monotonic() - began
    assert took < 2
    assert "\njobapi_store_up 0.0\n" in page
    assert "\nprocess_resident_memory_bytes " in page
    assert "\njobapi_queue_" not in page


def test_without_the_database_the_page_comes_within_two_seconds(
    server: EmbeddedServer, tmp_path: Path, run_worker: Start
) -> None:
    port = free_ports(1)[0]
    api = ApiServer(tmp_path / "api.log", REDIS_URL=server.url)
    try:
        api.wait_until_ready()
        run_worker("--metrics-port", str(port), REDIS_URL=server.url)
        urls = [f"{api.url}/metrics", f"http://127.0.0.1:{port}/metrics"]
        for url in urls:
            wait_until(lambda url=url: has_page(url))

        server.process.send_signal(signal.SIGSTOP)  # it takes connections, and does not answer
        for url in urls:
            assert_is_away(url)
        server.process.send_signal(signal.SIGCONT)
        for url in urls:
            wait_until(lambda url=url: has_page(url))

        server.kill()
        for url in urls:
            assert_is_away(url)
        server.start()
        for url in urls:
            wait_until(lambda url=url: has_page(url))
    finally:
        api.close()


# Ports of workers


def test_each_child_of_a_supervisor_has_a_port_and_its_successor_takes_it(run_worker: Start) -> None:
    first = free_ports_in_a_row()
    supervisor = run_worker("--processes", "2", "--metrics-port", str(first), MONITORING_TOKEN="s3cret")
    urls = [f"http://127.0.0.1:{port}/metrics" for port in (first, first + 1)]

    for url in urls:
        wait_until(lambda url=url: has_page(url, "s3cret"))
        assert status_of(url) == 401
    started = [start_of(url) for url in urls]
    kill_a_child(supervisor)

    wait_until(lambda: all(has_page(url, "s3cret") for url in urls) and [start_of(url) for url in urls] != started)
    assert sum(now == before for now, before in zip([start_of(url) for url in urls], started, strict=True)) == 1


def test_a_port_that_is_taken_is_a_wrong_configuration(run_worker: Start) -> None:
    first = run_worker("--metrics-port", str(port := free_ports(1)[0]))
    wait_until(lambda: has_page(f"http://127.0.0.1:{port}/metrics"))

    second = run_worker("--metrics-port", str(port))

    assert second.wait() == 78
    assert "--metrics-port" in second.output
    assert first.process.poll() is None


def start_of(url: str) -> str:
    """Return when the process behind a port started."""
    page = read_page(url, "s3cret")
    return next(line for line in page.splitlines() if line.startswith("process_start_time_seconds "))


def kill_a_child(supervisor: RunWorker) -> None:
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)


def free_ports_in_a_row() -> int:
    """Return a port that nobody listens on, nor on the next."""
    while True:
        first = free_ports(1)[0]
        with suppress(OSError), socket.create_server(("127.0.0.1", first + 1)):
            return first
