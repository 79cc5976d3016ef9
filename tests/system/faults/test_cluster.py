"""A cluster of six nodes under load: a slot moves to another server, and a primary is killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis.crc import key_slot

from queueing import Durability, NewJob, connect
from queueing.keys import queue_keys
from tests.system.faults.rig import Rig, work
from tests.system.processes import wait_until
from tests.topologies import Server, SixNodes

QUEUES = ("default", "mail", "invoices")
KEYS_A_STEP = 50  # of a slot that moves key by key
TAKEN_OVER_SECONDS = 10.0
AWAY_SECONDS = 8.0
GAP_SECONDS = 3.0  # between two jobs of a queue that is there, on however busy a machine; a call ends after 2
Leave = Callable[[Server], object]
Move = Callable[[SixNodes, str], Server]


@pytest.fixture
def nodes(folder: Path) -> Iterator[SixNodes]:
    with SixNodes(folder / "nodes") as nodes:
        assert len({nodes.primary_of(queue).port for queue in QUEUES}) == len(QUEUES)
        yield nodes


@pytest.fixture
def rig(folder: Path, seed: int, nodes: SixNodes) -> Iterator[Rig]:
    rig = Rig(folder, seed, nodes, QUEUES)
    rig.environment["QUEUES"] = ",".join(QUEUES)
    yield rig
    rig.close()


def another_primary(nodes: SixNodes, queue: str) -> tuple[Server, Server]:
    """Return the server that has a queue, and a primary that has it not."""
    source = nodes.primary_of(queue)
    return source, next(server for server in nodes.servers if server is not source and is_primary(server))


def is_primary(server: Server) -> bool:
    return bool(server.info()["role"] == "master")


def move_key_by_key(nodes: SixNodes, queue: str) -> Server:
    """Move the slot of a queue as `valkey-cli --cluster reshard` does, and return the server that has it then."""
    source, target = another_primary(nodes, queue)
    slot = key_slot(queue.encode())
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
    with closing(connect(source.url)) as client:
        while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_A_STEP):
            client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            time.sleep(0.01)
    for server in (target, source):
        server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
    return target


def move_at_once(nodes: SixNodes, queue: str) -> Server:
    """Move the slot of a queue as Valkey 9 does by itself, and return the server that has it then."""
    source, target = another_primary(nodes, queue)
    slot = key_slot(queue.encode())
    source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID"))
    wait_until(lambda: nodes.primary_of(queue) is target)
    return target


@pytest.mark.timeout(300)
@pytest.mark.parametrize("move", [move_key_by_key, move_at_once])
def test_a_slot_that_moves_under_load_loses_no_job(rig: Rig, nodes: SixNodes, soak: bool, move: Move) -> None:
    backlog = rig.enqueue([NewJob.of("faults.work", {"seconds": 0}, delay_seconds=3600)] * 500)
    worker = rig.start_worker("--concurrency", "4")
    shares = [itertools.repeat(work(0.002))] * len(QUEUES)
    moved = []

    with rig.producing(*shares, durability=Durability.REPLICATED) as producers:
        wait_until(lambda: len(rig.history().completed) > 100)
        for _ in range(10 if soak else 2):
            began = time.monotonic()
            target = move(nodes, QUEUES[0])
            moved.append(time.monotonic() - began)
            done = len(rig.history().completed)
            wait_until(lambda done=done: len(rig.history().completed) > done + 100)
        for producer in producers:
            producer.stop()
    wait_until(lambda: all(rig.client.zcard(queue_keys(queue).ready) == 0 for queue in QUEUES))
    code = rig.terminate(worker)

    history = rig.history()
    verdict = history.verdict(rig.stored())
    rig.say(
        moves=len(moved),
        longest_move=f"{max(moved):.2f}",
        acknowledged=len(history.acknowledged),
        lost=len(verdict.lost),
        sent_again=sum(producer.repeated for producer in producers),
    )
    assert not verdict, verdict
    assert set(backlog) <= set(rig.stored())
    assert nodes.primary_of(QUEUES[0]) is target
    rig.assert_agreeing()
    assert code == 0


@pytest.mark.timeout(300)
def test_killing_a_primary_loses_no_replicated_job_and_others_go_on(rig: Rig, nodes: SixNodes, soak: bool) -> None:
    worker_of = {queue: rig.start_worker("--concurrency", "4", "--queues", queue) for queue in QUEUES}
    shares = [itertools.repeat(work(0.002))] * len(QUEUES)
    away, meanwhile = [], []

    with rig.producing(*shares, durability=Durability.REPLICATED) as producers:
        for _ in range(10 if soak else 1):
            wait_until(nodes.is_whole)
            before = done_by_queue(rig)
            wait_until(lambda before=before: all(done_by_queue(rig)[queue] > before[queue] + 20 for queue in QUEUES))
            primary, killed_at, before = nodes.primary_of(QUEUES[0]), time.monotonic(), done_by_queue(rig)
            primary.kill()
            wait_until(lambda since=killed_at: started_since(rig, QUEUES[0], since + 0.5))
            away.append(time.monotonic() - killed_at)
            others = [queue for queue in QUEUES if nodes.primary_of(queue) is not primary]
            meanwhile.append(sum(done_by_queue(rig)[queue] - before[queue] for queue in others))
            primary.start()
        for producer in producers:
            producer.stop()
    wait_until(nodes.is_whole)
    wait_until(lambda: all(rig.client.zcard(queue_keys(queue).ready) == 0 for queue in QUEUES))
    codes = [rig.terminate(worker) for worker in worker_of.values()]

    history = rig.history()
    verdict = history.verdict(rig.stored())
    rig.say(
        kills=len(away),
        acknowledged=len(history.acknowledged),
        lost=len(verdict.lost),
        ran_at_once_under_two_leases=len(verdict.overlapping),
        sent_again=sum(producer.repeated for producer in producers),
        queue_served_again_after=f"{max(away):.2f}",
        done_meanwhile_in_other_queues=min(meanwhile),
    )
    assert verdict.lost == set()
    assert verdict.unexpected == set()
    assert verdict.disordered == []
    rig.assert_agreeing()
    assert max(away) <= TAKEN_OVER_SECONDS
    assert min(meanwhile) > 0
    assert codes == [0] * len(QUEUES)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("leave", "come_back", "lease_seconds"), [
    pytest.param(Server.kill, Server.start, 2, id="killed"),
    pytest.param(Server.freeze, Server.thaw, 12, id="frozen"),  # each look for it takes the time limit of a call
])  # fmt: skip
def test_a_queue_that_is_away_keeps_a_worker_from_no_other(
    rig: Rig, nodes: SixNodes, leave: Leave, come_back: Leave, lease_seconds: float
) -> None:
    worker = rig.start_worker("--concurrency", "4", LEASE_SECONDS=lease_seconds)
    shares = [itertools.repeat(work(0.002))] * len(QUEUES)
    away, *others = QUEUES
    gone = [primary := nodes.primary_of(away), nodes.replica_of(primary)]
    gaps = []

    with rig.producing(*shares, durability=Durability.REPLICATED) as producers:
        wait_until(lambda: all(count > 20 for count in done_by_queue(rig).values()))
        (long,) = rig.enqueue([work(4)], queue=others[0])
        wait_until(lambda: any(run.job == long for run in rig.history().executions))
        for server in gone:
            leave(server)
        until = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < until:
            before = done_by_queue(rig)
            gaps.append(wait_until(lambda since=before: all(done_by_queue(rig)[each] > since[each] for each in others)))
        for server in gone:
            come_back(server)
        back_at = time.monotonic()
        wait_until(lambda: started_since(rig, away, back_at))
        back_after = time.monotonic() - back_at
        for producer in producers:
            producer.stop()
    wait_until(nodes.is_whole)
    wait_until(lambda: all(rig.client.zcard(queue_keys(queue).ready) == 0 for queue in QUEUES))
    code = rig.terminate(worker)

    history = rig.history()
    verdict = history.verdict(rig.stored())
    rig.say(longest_gap=f"{max(gaps):.2f}", back_after=f"{back_after:.2f}", lost=len(verdict.lost))
    assert verdict.lost == set()
    assert [run.job for run in history.executions].count(long) == 1
    assert max(gaps) <= GAP_SECONDS
    assert back_after <= TAKEN_OVER_SECONDS
    assert code == 0


def done_by_queue(rig: Rig) -> dict[str, int]:
    """Return how many jobs of each queue were executed."""
    completed = rig.history().completed
    return {queue: sum(job.startswith(f"{queue}_") for job in completed) for queue in QUEUES}


def started_since(rig: Rig, queue: str, moment: float) -> bool:
    """Tell whether a job of a queue was started after a moment."""
    return any(run.job.startswith(f"{queue}_") and run.started_at > moment for run in rig.history().executions)
