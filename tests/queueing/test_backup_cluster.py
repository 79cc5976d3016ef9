"""Backups of a cluster and of servers behind Sentinels, and what of them goes into a cluster or one server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from queueing import BackupError, Broker, Inspector, NewJob, State, TargetUnfit, connect
from queueing.audit import audit_queue
from queueing.backup import back_up
from queueing.cluster import Cluster
from queueing.connections import meet_cluster, primaries
from queueing.portable import Importer, export_jobs
from queueing.restore import restore
from tests.system.processes import wait_until
from tests.topologies import PATIENCE_SECONDS, SentinelGroup, SixNodes, store_at

QUEUES = ("default", "mail", "reports", "images", "invoices")
STATES = (State.READY, State.SCHEDULED, State.RUNNING)
ONE_EACH = {queue: [1, 1, 1] for queue in QUEUES}


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run three primaries with a third of the slots each, and their replicas."""
    with SixNodes(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes.url


@pytest.fixture
def cluster(cluster_url: str) -> Iterator[Cluster]:
    """Give the cluster, emptied."""
    met = meet_cluster(cluster_url, socket_timeout_seconds=PATIENCE_SECONDS)
    for server in primaries(met).values():
        server.flushall()
    yield met
    met.client().close()


def settle(store: Cluster | Redis) -> None:
    """Give each queue a job in some states."""
    broker = Broker(store)
    for queue in QUEUES:
        broker.enqueue(queue, NewJob.of("echo", queue))
        broker.claim(queue, "w")
        broker.enqueue_many(queue, [NewJob.of("echo"), NewJob.of("echo", delay_seconds=60)])


def counts(store: Cluster | Redis) -> dict[str, list[int]]:
    return {stats.queue: [stats.counts[state] for state in STATES] for stats in Inspector(store).stats_of(QUEUES)}


def test_each_primary_is_in_a_backup_and_all_queues_come_back(cluster: Cluster, tmp_path: Path) -> None:
    settle(cluster)

    manifest = back_up(cluster, tmp_path / "jobs.tar")
    for server in primaries(cluster).values():
        server.flushall()
    restore(cluster, tmp_path / "jobs.tar")

    assert len(manifest.parts) == len({content.part for content in manifest.queues}) == 3
    assert sorted(content.queue for content in manifest.queues) == sorted(QUEUES)
    assert counts(cluster) == ONE_EACH
    assert [fault for queue in QUEUES for fault in audit_queue(cluster, queue)] == []


def test_a_cluster_moves_into_one_server_and_back(cluster: Cluster, valkey: Redis, tmp_path: Path) -> None:
    settle(cluster)
    back_up(cluster, tmp_path / "cluster.tar")
    restore(valkey, tmp_path / "cluster.tar")
    alone = counts(valkey)
    for server in primaries(cluster).values():
        server.flushall()

    before = valkey.config_get("repl-diskless-sync-delay")["repl-diskless-sync-delay"]
    valkey.config_set("repl-diskless-sync-delay", 0)
    back_up(valkey, tmp_path / "one.tar")
    valkey.config_set("repl-diskless-sync-delay", before)
    restore(cluster, tmp_path / "one.tar")

    assert alone == counts(cluster) == ONE_EACH


def test_a_cluster_with_jobs_is_no_target(cluster: Cluster, tmp_path: Path) -> None:
    settle(cluster)
    back_up(cluster, tmp_path / "jobs.tar")

    with pytest.raises(BackupError, match="not empty"):
        restore(cluster, tmp_path / "jobs.tar")


def test_slots_that_move_meanwhile_make_no_backup(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts = iter([{"a": 1}, {"a": 2}])
    monkeypatch.setattr("queueing.backup._slots_of", lambda _servers: next(layouts))

    with pytest.raises(BackupError, match="slots of the cluster moved meanwhile"):
        back_up(cluster, tmp_path / "jobs.tar")

    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_made_of_the_primary_behind_sentinels_or_of_a_replica_and_restored_there(tmp_path: Path) -> None:
    with SentinelGroup(tmp_path) as group, closing(store_at(group.url)) as primary:
        assert isinstance(primary, Redis)
        settle(primary)
        wait_until(lambda: primary.wait(2, 1000) == 2)
        back_up(primary, tmp_path / "primary.tar")
        with closing(connect(group.servers[1].url)) as replica:
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up")  # it may connect anew
            back_up(replica, tmp_path / "replica.tar")
            with pytest.raises(TargetUnfit, match="the server is a replica"):
                restore(replica, tmp_path / "replica.tar")
        for name in ("primary.tar", "replica.tar"):
            primary.flushall()

            restore(primary, tmp_path / name)

            assert counts(primary) == ONE_EACH


def test_an_export_of_a_cluster_is_imported_into_one_server_and_back(cluster: Cluster, valkey: Redis) -> None:
    settle(cluster)
    out, back = io.BytesIO(), io.BytesIO()
    export_jobs(cluster, out)
    Importer(valkey, QUEUES, pytest.fail).read(io.BytesIO(out.getvalue()))
    alone = counts(valkey)
    for server in primaries(cluster).values():
        server.flushall()

    export_jobs(valkey, back)
    Importer(cluster, QUEUES, pytest.fail).read(io.BytesIO(back.getvalue()))

    assert alone == counts(cluster) == ONE_EACH
