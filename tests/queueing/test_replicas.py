"""Reads that a replica may answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from queueing import Broker, Inspector, JobNotFound, NewJob, QueueStats, State, StoreUnavailable, connect
from queueing.embedded import EmbeddedServer
from queueing.replicas import Reader, age_of, connect_replica
from tests.queueing.servers import free_ports
from tests.queueing.states import QUEUE
from tests.system.processes import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A primary and its replica."""

    primary: EmbeddedServer
    replica: EmbeddedServer
    at_primary: Redis
    at_replica: Redis

    def reader(self, *, max_age_seconds: float = 30.0) -> Reader:
        return Reader(self.at_primary, [self.at_replica], max_age_seconds=max_age_seconds)

    def enqueue(self) -> str:
        """Store a job on both."""
        job_id = Broker(self.at_primary).enqueue(QUEUE, NewJob.of("echo")).id
        wait_until(lambda: self.at_replica.exists(f"jobs:{{{QUEUE}}}:job:{job_id}") == 1)
        return job_id


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Run a primary and a replica that has all its data."""
    port = free_ports(1)[0]
    with (
        EmbeddedServer(tmp_path / "primary") as primary,
        EmbeddedServer(tmp_path / "replica") as replica,
        closing(connect(primary.url)) as at_primary,
        closing(connect_replica(replica.url)) as at_replica,
    ):
        at_primary.config_set("port", port)
        at_primary.config_set("repl-diskless-sync-delay", 0)
        at_replica.replicaof("127.0.0.1", port)
        wait_until(lambda: at_replica.info("replication")["master_link_status"] == "up", 20)
        yield Pair(primary=primary, replica=replica, at_primary=at_primary, at_replica=at_replica)


def stats(inspector: Inspector) -> QueueStats:
    return inspector.stats(QUEUE)


def scripts_run(client: Redis) -> int:
    """Return how many scripts a server ran."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_a_read_is_answered_by_the_replica_with_its_age_and_the_primary_has_no_part_in_it(pair: Pair) -> None:
    pair.enqueue()
    before = scripts_run(pair.at_primary)

    seen = [pair.reader().read(stats) for _ in range(3)]

    assert [one.value.counts[State.READY] for one in seen] == [1, 1, 1]
    assert all(one.age_seconds is not None and 1 <= one.age_seconds <= 11 for one in seen)
    assert scripts_run(pair.at_primary) == before


def test_reads_go_on_while_the_primary_is_away(pair: Pair) -> None:
    job_id = pair.enqueue()
    reader = pair.reader()
    pair.primary.kill()
    wait_until(lambda: pair.at_replica.info("replication")["master_link_status"] == "down")

    seen, latest = reader.read(stats), reader.read_latest(lambda inspector: inspector.job(job_id))

    assert seen.value.counts[State.READY] == 1
    assert latest.value.id == job_id
    assert None not in (seen.age_seconds, latest.age_seconds)


def test_the_latest_is_asked_of_the_primary(pair: Pair) -> None:
    job_id = pair.enqueue()

    assert pair.reader().read_latest(lambda inspector: inspector.job(job_id)).age_seconds is None


def test_a_job_that_only_the_primary_could_know_is_not_denied_while_it_is_away(pair: Pair) -> None:
    pair.primary.kill()

    with pytest.raises(StoreUnavailable):
        pair.reader().read_latest(lambda inspector: inspector.job(f"{QUEUE}_{'0' * 32}"))


def test_a_job_that_the_primary_does_not_know_is_not_asked_of_the_replica(pair: Pair) -> None:
    with pytest.raises(JobNotFound):
        pair.reader().read_latest(lambda inspector: inspector.job(f"{QUEUE}_{'0' * 32}"))


def test_without_the_replica_the_primary_answers_and_the_replica_is_left_alone_for_a_while(pair: Pair) -> None:
    reader = pair.reader()
    pair.replica.kill()
    first = reader.read(stats)
    pair.replica.start()
    before = scripts_run(pair.at_replica)

    second = reader.read(stats)

    assert (first.age_seconds, second.age_seconds) == (None, None)
    assert scripts_run(pair.at_replica) == before


def test_a_replica_whose_data_is_too_old_is_asked_only_when_the_primary_does_not_answer(pair: Pair) -> None:
    pair.enqueue()
    reader = pair.reader(max_age_seconds=0.5)  # what a replica tells is rounded up to a second
    by_primary = reader.read(stats)
    pair.primary.kill()

    by_replica = reader.read(stats)

    assert by_primary.age_seconds is None
    assert by_replica.age_seconds is not None
    assert by_replica.value.counts[State.READY] == 1


def test_without_both_the_store_is_unavailable(pair: Pair) -> None:
    pair.replica.kill()
    pair.primary.kill()

    with pytest.raises(StoreUnavailable):
        pair.reader().read(stats)


def test_without_replicas_the_primary_answers(valkey: Redis) -> None:
    assert Reader(valkey).read(stats).age_seconds is None


SLAVE = {"role": "slave", "master_link_status": "up", "master_last_io_seconds_ago": 3}


@pytest.mark.parametrize(
    ("told", "age"),
    [
        ({"role": "master"}, 0.0),
        (SLAVE, 4.0),
        (SLAVE | {"master_link_status": "down", "master_link_down_since_seconds": 7}, 8.0),
    ],
)
def test_the_age_is_what_the_server_tells_of_its_link(told: dict[str, Any], age: float) -> None:
    assert age_of(told) == age


@pytest.mark.parametrize(
    "told",
    [
        SLAVE | {"master_link_status": "down", "master_link_down_since_seconds": -1},
        SLAVE | {"master_link_status": "down", "master_link_down_since_seconds": 7, "master_sync_in_progress": 1},
        {"role": "slave"},
    ],
)
def test_a_replica_that_has_not_got_all_data_is_no_source(told: dict[str, Any]) -> None:
    with pytest.raises(StoreUnavailable):
        age_of(told)
