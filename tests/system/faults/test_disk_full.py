"""The disk of the database server's journal is full."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queueing import NewJob
from tests.system.faults.api import SUBMIT, Answer
from tests.system.faults.disks import SmallDiskServer
from tests.system.faults.rig import CLAIMING_AGAIN_SECONDS, Rig, work
from tests.system.processes import wait_until

Start = Callable[[str], tuple[Rig, SmallDiskServer]]
Span = tuple[float, float]


@pytest.fixture
def start(folder: Path, seed: int) -> Iterator[Start]:
    """Give a function that starts a rig on a server with some `appendfsync`, whose disk can be filled up."""
    rig = Rig(folder, seed)
    servers: list[SmallDiskServer] = []

    def start(appendfsync: str) -> tuple[Rig, SmallDiskServer]:
        rig.server = server = SmallDiskServer(folder, appendfsync)
        servers.append(server)
        server.start()
        return rig, server

    try:
        yield start
    finally:
        rig.close()
        for server in servers:
            server.disk.close()


def fill_up(rig: Rig, server: SmallDiskServer) -> Span:
    """Leave no room for a while; returns from when until when nothing was accepted."""
    time.sleep(rig.random.uniform(0.3, 1))
    server.disk.fill(server.process.pid)
    wait_until(lambda: not rig.accepts())
    began = time.monotonic()
    time.sleep(rig.random.uniform(1, 3))
    assert not rig.accepts()
    return began, time.monotonic()


def submissions(answers: list[Answer], within: Span) -> list[Answer]:
    """Return the answers to submissions that were made and answered within a span of time."""
    began, ended = within
    return [answer for answer in list(answers) if answer.call == SUBMIT and began < answer.began < answer.ended < ended]


def seconds_to_recover(rig: Rig, answers: list[Answer], workers: int) -> float:
    """Wait until jobs are accepted, over HTTP too, and started again; returns how long that took."""
    began = time.monotonic()
    wait_until(rig.accepts)
    wait_until(lambda: any(answer.status == 201 for answer in submissions(answers, (began, time.monotonic()))))
    rig.wait_for_claims(workers, since=began)
    return time.monotonic() - began


@pytest.mark.timeout(300)
@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_a_full_disk_loses_nothing_and_work_goes_on_once_there_is_room(
    start: Start, soak: bool, appendfsync: str
) -> None:
    """With `everysec` the server refuses writes meanwhile; with `always` it ends, and has to be started again."""
    rig, server = start(appendfsync)
    (watched,) = rig.enqueue([NewJob.of("echo")])
    api = rig.start_api()
    api.wait_until_serving()
    workers = rig.start_workers(2, "--concurrency", "4")
    refused: list[Answer] = []
    recoveries: list[float] = []

    with (
        rig.producing(*(itertools.repeat(work(0.002)) for _ in range(2))) as producers,
        rig.calling(lambda: api, 2, watched) as callers,
    ):
        for _ in range(10 if soak else 1):
            refused += submissions(callers.answers, within=fill_up(rig, server))
            assert (server.process.poll() is not None) == (appendfsync == "always")
            server.disk.free(server.process.pid)
            if appendfsync == "always":
                server.start()
            recoveries.append(seconds_to_recover(rig, callers.answers, len(workers)))
        for producer in producers:
            producer.stop()
    rig.wait_until_done()
    server.kill()  # so that what is stored is what the journal has
    server.start()

    history = rig.assert_sound()
    rig.say(
        disk=type(server.disk).__name__,
        appendfsync=appendfsync,
        times_full=len(recoveries),
        acknowledged=len(history.acknowledged),
        lost=0,
        refused_over_http=len(refused),
        longest_recovery_seconds=f"{max(recoveries):.2f}",
    )
    assert {answer.status for answer in refused} == {503}
    assert max(recoveries) <= CLAIMING_AGAIN_SECONDS
