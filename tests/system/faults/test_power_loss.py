"""The power of the database server is cut: what its journal had not brought to the disk is gone."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from queueing import Durability, NewJob
from queueing.audit import audit_queue
from tests.system.faults import ledger
from tests.system.faults.ledger import Ledger
from tests.system.faults.rig import QUEUE, Producer, Rig, every, is_alive, work
from tests.system.faults.servers import TracedServer

EVERYSEC_SECONDS = 2.0  # of what was accepted before the cut may be lost with `appendfsync everysec`

PoweredRig = Callable[[str], tuple[Rig, TracedServer]]


class Submitter(Producer):
    """A producer that asks for a durability; it waits for no worker when there is none."""

    def __init__(self, rig: Rig, name: str, jobs: Iterable[NewJob], durability: Durability) -> None:
        super().__init__(rig.server.url, Ledger(rig.folder / "ledgers", name), jobs)
        self._broker.enqueue = partial(self._broker.enqueue, durability=durability)  # type: ignore[method-assign]
        if not rig.workers:
            self.BATCH = sys.maxsize


@contextmanager
def submitting(rig: Rig, durability: Durability, *shares: Iterable[NewJob]) -> Iterator[list[Producer]]:
    """Enqueue jobs meanwhile, each share from a thread of its own, until the end of the block."""
    started: list[Producer] = [
        Submitter(rig, f"producer-{number}", share, durability) for number, share in enumerate(shares)
    ]
    for producer in started:
        producer.thread.start()
    try:
        yield started
    finally:
        for producer in started:
            producer.stop()
            producer.thread.join(10)


@pytest.fixture
def powered(folder: Path, seed: int) -> Iterator[PoweredRig]:
    """Give a rig on a server with some `appendfsync`, whose power can be cut."""
    rig = Rig(folder, seed)

    def start(appendfsync: str) -> tuple[Rig, TracedServer]:
        rig.server = server = TracedServer(folder, appendfsync)
        server.start()
        return rig, server

    try:
        yield start
    finally:
        rig.close()


@pytest.mark.timeout(1800)
def test_with_an_fsync_before_each_answer_a_power_loss_loses_nothing(powered: PoweredRig, soak: bool) -> None:
    """Neither jobs nor what became of them: what workers claimed and acked stays claimed and acked."""
    rig, server = powered("always")
    rig.start_workers(1, "--concurrency", "8")
    jobs = [work(rig.random.uniform(0, 0.002)) for _ in range(100_000 if soak else 1_000)]
    lost_bytes = []

    def strike() -> None:
        server.kill()
        lost_bytes.append(server.lose_what_is_not_synced())
        server.start()

    with submitting(rig, Durability.FSYNCED, jobs[::2], jobs[1::2]) as producers:
        every((0.3, 3.0) if soak else (0.3, 0.8), strike, rig, until=lambda: not is_alive(producers))
    rig.wait_until_done()

    history = rig.assert_sound()
    rig.say(
        jobs=len(history.acknowledged),
        cuts=len(lost_bytes),
        lost_bytes=sum(lost_bytes),
        sent_again=sum(producer.repeated for producer in producers),
        lost=0,
        overlapping=0,
    )
    assert lost_bytes
    assert len(history.acknowledged) == len(jobs)


@pytest.mark.timeout(900)
def test_with_an_fsync_every_second_a_power_loss_loses_only_what_was_accepted_within_2_s(
    powered: PoweredRig, soak: bool
) -> None:
    rig, server = powered("everysec")
    reader = ledger.Reader(rig.folder / "ledgers")
    acknowledged_at: dict[str, float] = {}
    lost: dict[str, float] = {}  # how long before the cut it was acknowledged, in seconds
    lost_bytes = []

    for _ in range(30 if soak else 2):
        with submitting(rig, Durability.ACCEPTED, *(itertools.repeat(work(0)) for _ in range(2))):
            time.sleep(rig.random.uniform(1.2, 3.2))
            server.kill()
            cut_at = time.monotonic()
        lost_bytes.append(server.lose_what_is_not_synced())
        server.start()
        acknowledged_at |= acknowledgements(reader)
        for job_id in (acknowledged_at.keys() - lost.keys()) - rig.stored().keys():
            lost[job_id] = cut_at - acknowledged_at[job_id]
        assert list(audit_queue(rig.client, QUEUE)) == []

    rig.say(
        acknowledged=len(acknowledged_at),
        cuts=len(lost_bytes),
        lost_bytes=sum(lost_bytes),
        lost=len(lost),
        oldest_lost_seconds_before_the_cut=f"{max(lost.values()):.2f}",
    )
    assert max(lost.values()) <= EVERYSEC_SECONDS


def acknowledgements(reader: ledger.Reader) -> dict[str, float]:
    """Return when producers were told that a job is stored, of the jobs since the last call."""
    return {line["job"]: line["at"] for _, line in reader.new_lines() if line["event"] == ledger.ACKNOWLEDGED}
