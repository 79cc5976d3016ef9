"""What the service manager that started a worker is told."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from queueing import Broker, NewJob
from tests.worker.rig import echo
from worker.runner import Mode, Worker, WorkerOptions
from worker.service import SECONDS_BETWEEN_SIGNS, Service
from worker.signals import StopRequest
from worker.watchdog import Watchdog


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen where a service manager would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


@pytest.fixture
def service(manager: socket.socket) -> Service:
    return Service(manager.getsockname())


def told(manager: socket.socket) -> list[bytes]:
    """Return what has arrived since the last look."""
    words = []
    while True:
        try:
            words.append(manager.recv(100))
        except BlockingIOError:
            return words


def test_a_worker_says_that_it_is_ready_that_it_works_and_that_it_is_about_to_end(
    broker: Broker, manager: socket.socket, service: Service
) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    options = WorkerOptions(queues=["default"], mode=Mode.DRAIN)

    Worker(broker, {"echo": echo}, options, StopRequest(), service=service).run()

    words = told(manager)
    assert [word for word in words if word != b"WATCHDOG=1"] == [b"READY=1", b"STOPPING=1"]
    assert b"WATCHDOG=1" in words


def test_a_sign_of_life_is_given_for_work_alone(manager: socket.socket, service: Service) -> None:
    watchdog = Watchdog(pass_on=service.alive, bite=lambda _code: None)
    told(manager)
    service._alive_at = float("-inf")

    watchdog.run_once(0.0)
    idle = told(manager)
    watchdog.pat()

    assert idle == []
    assert told(manager) == [b"WATCHDOG=1"]


def test_signs_of_life_are_a_second_apart(
    manager: socket.socket, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [100.0, 100.1, 100.9, 100.0 + SECONDS_BETWEEN_SIGNS]
    monkeypatch.setattr("worker.service.time", SimpleNamespace(monotonic=iter(moments).__next__))

    for _ in moments:
        service.alive()

    assert told(manager) == [b"WATCHDOG=1"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_address_in_the_abstract_namespace_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0jobapi-test-{os.getpid()}")

        Service(f"@jobapi-test-{os.getpid()}").ready()

        assert listener.recv(100) == b"READY=1"


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket, service: Service) -> None:
    for _ in range(2_000):
        service.ready()

    assert 0 < len(told(manager)) < 2_000


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_without_a_manager_nothing_is_told(address: str) -> None:
    service = Service(address)

    service.ready()
    service.alive()
    service.stopping()


def test_programs_that_a_worker_starts_do_not_speak_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")

    Service.of_environment()

    assert "NOTIFY_SOCKET" not in os.environ
