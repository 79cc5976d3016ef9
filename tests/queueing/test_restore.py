from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from queueing import (
    BackupError,
    Broker,
    Inspector,
    NewJob,
    QueueingError,
    State,
    StoreUnavailable,
    TargetUnfit,
    connect,
)
from queueing import restore as restoring
from queueing.archives import Manifest
from queueing.audit import audit_queue
from queueing.backup import Options, back_up
from queueing.keys import RESTORING, RESTORING_LOCK, queue_keys
from queueing.links import Command, PooledLink
from queueing.restore import restore
from tests.queueing.estate import KEYS, QUEUE, contents, settle, whole_job
from tests.queueing.servers import PrivateServer
from tests.queueing.timetravel import MINUTE_MS, let_pass

FAST = ("--repl-diskless-sync-delay", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[dict[str, PrivateServer]]:
    """Run a server of each kind to back up, and one to restore into."""
    names = ("valkey", "redis", "valkey target", "redis target")
    running = {name: PrivateServer(name.split()[0], folder / name.replace(" ", "-"), *FAST) for name in names}
    for server in running.values():
        server.directory.parent.mkdir()
        server.start()
    yield running
    for server in running.values():
        server.stop()


def emptied(server: PrivateServer) -> Redis:
    client = connect(server.url)
    client.flushall()
    return client


@pytest.fixture
def source(servers: dict[str, PrivateServer]) -> Iterator[Redis]:
    with closing(emptied(servers["valkey"])) as client:
        yield client


@pytest.fixture
def target(servers: dict[str, PrivateServer]) -> Iterator[Redis]:
    with closing(emptied(servers["valkey target"])) as client:
        yield client


@pytest.fixture
def backup(source: Redis, tmp_path: Path) -> Path:
    """Give a backup of a server that has everything."""
    settle(source)
    back_up(source, tmp_path / "jobs.tar")
    return tmp_path / "jobs.tar"


@pytest.mark.parametrize("into", ["valkey target", "redis target"])
@pytest.mark.parametrize("of", ["valkey", "redis"])
def test_all_that_queues_had_is_there_again(
    servers: dict[str, PrivateServer], of: str, into: str, tmp_path: Path
) -> None:
    with closing(emptied(servers[of])) as source, closing(emptied(servers[into])) as target:
        settle(source)
        source.set("cache:1:a", "b")
        back_up(source, tmp_path / "jobs.tar")

        done = restore(target, tmp_path / "jobs.tar")

        before = contents(source)
        del before["cache:1:a"]
        assert contents(target) == before
        assert done.left_out == []
        assert [list(audit_queue(target, queue)) for queue in (QUEUE, "mail")] == [[], []]


def test_what_is_restored_is_in_the_journal(servers: dict[str, PrivateServer], target: Redis, backup: Path) -> None:
    """A server that starts with its journal on does not look at a snapshot: that would have begun empty."""
    restore(target, backup)
    before = contents(target)

    servers["valkey target"].restart(signal.SIGKILL)

    assert contents(target) == before


def test_times_to_live_are_the_ones_of_the_backup(source: Redis, target: Redis, tmp_path: Path) -> None:
    Broker(source).enqueue(QUEUE, whole_job())
    let_pass(source, QUEUE, MINUTE_MS)
    Broker(source).enqueue(QUEUE, NewJob.of("echo"))
    keys = [key for key in source.scan_iter() if source.ttl(key) > 0]
    back_up(source, tmp_path / "jobs.tar")

    restore(target, tmp_path / "jobs.tar")

    assert len(keys) == 2
    assert [target.execute_command("PEXPIRETIME", key) for key in keys] == [
        source.execute_command("PEXPIRETIME", key) for key in keys
    ]


def test_a_job_cannot_be_submitted_again_that_was_before_the_backup(target: Redis, backup: Path) -> None:
    restore(target, backup)
    broker = Broker(target)

    again = broker.enqueue(QUEUE, whole_job())
    rival = broker.enqueue("mail", NewJob.of("echo", unique_key="only one"))

    assert (again.outcome, rival.outcome) == ("replayed", "unique")


def test_what_ran_is_taken_back_and_clocks_go_on(source: Redis, target: Redis, tmp_path: Path) -> None:
    before = Broker(source)
    before.enqueue(QUEUE, NewJob.of("echo"))
    (old,) = before.claim(QUEUE, "w").jobs
    source.zadd(KEYS.running, {old.id: 1})
    back_up(source, tmp_path / "jobs.tar")
    restore(target, tmp_path / "jobs.tar")
    after = Broker(target)

    reaped = after.reap(QUEUE)
    (new,) = after.claim(QUEUE, "w").jobs

    assert [job.id for job in reaped] == [old.id] == [new.id]
    assert new.fence > old.fence


def test_a_generation_of_its_own_shows_that_counters_went_back(source: Redis, target: Redis, backup: Path) -> None:
    restore(target, backup)

    assert Inspector(target).stats(QUEUE).generation != Inspector(source).stats(QUEUE).generation


def test_big_keys_are_written_in_pieces(
    source: Redis, target: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(source)
    broker.enqueue_many(QUEUE, [NewJob.of("echo", n, priority=n % 10, ttl_seconds=600) for n in range(100)])
    source.rpush(KEYS.runs, *range(50))
    source.hset(KEYS.meta, mapping={f"field{n}": n for n in range(50)})
    back_up(source, tmp_path / "jobs.tar")
    monkeypatch.setattr(restoring, "CHUNK", 7)
    monkeypatch.setattr(restoring, "TRIP_COMMANDS", 5)

    restore(target, tmp_path / "jobs.tar")

    assert contents(target) == contents(source)


def test_signs_of_life_and_hints_are_left_behind(source: Redis, target: Redis, tmp_path: Path) -> None:
    broker = Broker(source)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.beat(QUEUE, "w", b"{}", 1000)
    back_up(source, tmp_path / "jobs.tar")

    restore(target, tmp_path / "jobs.tar")

    assert target.exists(KEYS.workers, KEYS.wake) == 0


def test_keys_of_no_queue_are_named(source: Redis, target: Redis, tmp_path: Path) -> None:
    source.set("jobs:odd", 1)
    source.xadd("jobs:{default}:stream", {"a": "b"})
    back_up(source, tmp_path / "jobs.tar")

    done = restore(target, tmp_path / "jobs.tar")

    assert sorted(done.left_out) == ["jobs:odd", "jobs:{default}:stream"]


def test_a_server_that_has_jobs_is_refused_and_stays_as_it_is(target: Redis, backup: Path) -> None:
    Broker(target).enqueue(QUEUE, NewJob.of("echo"))
    before = contents(target)

    with pytest.raises(BackupError, match=r"not empty, it has jobs:\{default\}:"):
        restore(target, backup)

    assert contents(target) == before


@pytest.mark.parametrize(
    ("setting", "wrong", "right"), [("appendonly", "no", "yes"), ("maxmemory-policy", "allkeys-lru", "noeviction")]
)
def test_a_server_that_would_lose_jobs_is_refused(
    target: Redis, backup: Path, setting: str, wrong: str, right: str
) -> None:
    target.config_set(setting, wrong)
    try:
        with pytest.raises(TargetUnfit, match="is not fit to keep jobs"):
            restore(target, backup)
    finally:
        target.config_set(setting, right)

    assert target.dbsize() == 0


def test_a_server_whose_clock_is_behind_is_refused(
    target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "CLOCK_TOLERANCE_SECONDS", -3600)

    with pytest.raises(TargetUnfit, match=r"clock is .* behind the moment of the backup"):
        restore(target, backup)

    assert target.dbsize() == 0


def test_a_damaged_file_is_refused_or_does_not_matter(backup: Path, tmp_path: Path) -> None:
    """Whatever byte is damaged: padding of the tar holds nothing."""
    data, manifest = backup.read_bytes(), manifest_of(backup, tmp_path / "whole")
    damaged, refused = tmp_path / "damaged.tar", 0

    for number, at in enumerate(random.sample(range(len(data)), 60)):
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            assert manifest_of(damaged, tmp_path / str(number)) == manifest
        except BackupError:
            refused += 1

    assert refused > 0


def manifest_of(path: Path, folder: Path) -> Manifest:
    """Read an archive, all of it, and return its manifest."""
    folder.mkdir()
    return restoring.read_archive(path, folder)[0]


@pytest.mark.parametrize("cut", [0.999, 0.5, 0.1, 0])
def test_a_file_that_was_cut_short_is_refused_and_nothing_changed(target: Redis, backup: Path, cut: float) -> None:
    data = backup.read_bytes().rstrip(b"\0")
    backup.write_bytes(data[: int(len(data) * cut)])

    with pytest.raises(BackupError, match="is no backup, or it is damaged"):
        restore(target, backup)

    assert target.dbsize() == 0
    assert list(backup.parent.iterdir()) == [backup]


def test_a_backup_that_cannot_be_loaded_changes_nothing(target: Redis, backup: Path) -> None:
    with pytest.raises(BackupError, match="cannot be loaded"):
        restore(target, backup, program=Path("/bin/false"))

    assert target.dbsize() == 0


def test_a_backup_on_a_disk_that_cannot_be_written_to_is_restored(
    target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere

    restore(target, backup)

    assert list(backup.parent.iterdir()) == [backup]


def test_another_file_is_no_backup(target: Redis, tmp_path: Path) -> None:
    (tmp_path / "jobs.tar").write_text("{}\n" * 1000)

    with pytest.raises(BackupError, match="is no backup"):
        restore(target, tmp_path / "jobs.tar")


def test_a_backup_of_a_later_release_says_so(
    source: Redis, target: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queueing.backup.FORMAT", 2)
    back_up(source, tmp_path / "jobs.tar")

    with pytest.raises(BackupError, match="the backup has format 2; this release reads format 1"):
        restore(target, tmp_path / "jobs.tar")


# What is cut short


class Cut(Exception):
    """The process ended here."""


class CutLink(PooledLink):
    """A link whose process ends before one of its round trips, and does no more."""

    def __init__(self, client: Redis, trips: int) -> None:
        super().__init__(client)
        self._left = trips

    def execute_many(self, commands: Sequence[Command], queues: Sequence[str] = ()) -> list[Any]:
        """Run commands, unless it has ended."""
        self._left -= 1
        if self._left < 0:
            raise Cut
        return super().execute_many(commands, queues)


def cut_at(patch: pytest.MonkeyPatch, trips: int) -> None:
    """Let a restore end after some round trips, as a crash would: it does not even give up its lock."""
    patch.setattr(restoring, "link_to", lambda client: CutLink(client, trips))
    patch.setattr(restoring, "TRIP_COMMANDS", 10)


def test_a_restore_that_was_cut_short_shows_nothing_and_goes_on(target: Redis, source: Redis, backup: Path) -> None:
    inspect = Inspector(target).stats_of
    before = [stats.counts for stats in Inspector(source).stats_of((QUEUE, "mail"))]
    done, cuts, trips = None, 0, 0
    while done is None:
        trips += 3
        with pytest.MonkeyPatch.context() as patch:
            cut_at(patch, trips)
            try:
                done = restore(target, backup)
            except Cut:
                cuts += 1
                target.delete(RESTORING_LOCK)
        for stats, counts in zip(inspect((QUEUE, "mail")), before, strict=True):
            assert stats.counts == counts or not any(stats.counts.values())

    assert cuts > 3
    assert done.continued
    assert contents(target) == contents(source)


def test_a_queue_that_is_shown_is_not_written_again(
    target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs may have gone on since: workers need not wait for the other queues."""
    show = restoring._Target.show
    shown: list[str] = []

    def show_one(place: restoring._Target, queue: str) -> None:
        if shown:
            raise Cut
        shown.append(queue)
        show(place, queue)

    with monkeypatch.context() as patch:
        patch.setattr(restoring._Target, "show", show_one)
        with pytest.raises(Cut):
            restore(target, backup)
    broker = Broker(target)
    broker.resume(shown[0])
    job = broker.claim(shown[0], "w").jobs[0]
    broker.ack(job)

    restore(target, backup)

    assert Inspector(target).job(job.id).state is State.SUCCEEDED


def test_another_backup_does_not_go_on_with_it(source: Redis, target: Redis, backup: Path, tmp_path: Path) -> None:
    back_up(source, tmp_path / "other.tar")
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 6)
        with pytest.raises(Cut):
            restore(target, backup)
    target.delete(RESTORING_LOCK)

    with pytest.raises(BackupError, match="a restore of another backup into this server was not finished"):
        restore(target, tmp_path / "other.tar")


def test_a_queue_that_was_used_meanwhile_is_not_overwritten(
    target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = restoring._compare_sizes
    job_id = ""

    def submit_and_compare(*arguments: Any) -> None:
        nonlocal job_id
        compare(*arguments)
        job_id = Broker(target).enqueue(QUEUE, NewJob.of("echo")).id

    monkeypatch.setattr(restoring, "_compare_sizes", submit_and_compare)

    with pytest.raises(BackupError, match="queue default was used while it was restored"):
        restore(target, backup)

    assert target.zrange(KEYS.ready, 0, -1) == [job_id.encode()]


def test_two_restores_at_once_do_not_mix(target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "LOCK_MS", 100)
    target.set(RESTORING_LOCK, "another")

    with pytest.raises(BackupError, match="another process restores into this server"):
        restore(target, backup)

    assert target.keys() == [RESTORING_LOCK.encode()]


def test_a_restore_that_lost_its_lock_writes_no_more(
    target: Redis, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "TRIP_COMMANDS", 10)
    flush = restoring._Target.flush

    def lose_and_flush(place: restoring._Target) -> None:
        flush(place)
        target.set(RESTORING_LOCK, "another")

    monkeypatch.setattr(restoring._Target, "flush", lose_and_flush)

    with pytest.raises(BackupError, match="another process restores into this server"):
        restore(target, backup)

    assert target.get(RESTORING_LOCK) == b"another"
    assert not target.exists(KEYS.ready)


def test_a_server_without_room_says_so_and_the_restore_goes_on_later(
    source: Redis, target: Redis, tmp_path: Path
) -> None:
    Broker(source).enqueue_many(QUEUE, [NewJob.of("echo", "x" * 20_000) for _ in range(300)])
    back_up(source, tmp_path / "jobs.tar")
    target.config_set("maxmemory", int(target.info("memory")["used_memory"]) + 2_000_000)
    try:
        with pytest.raises(QueueingError, match=r"refused a write: .*maxmemory"):
            restore(target, tmp_path / "jobs.tar")
    finally:
        target.config_set("maxmemory", 0)

    assert not target.exists(KEYS.ready)
    assert restore(target, tmp_path / "jobs.tar").continued
    assert contents(target) == contents(source)


def test_faults_that_were_allowed_are_restored_as_they_were(source: Redis, target: Redis, tmp_path: Path) -> None:
    source.zrem(KEYS.ready, Broker(source).enqueue(QUEUE, NewJob.of("echo")).id)
    back_up(source, tmp_path / "jobs.tar", Options(faults_allowed=True))

    restore(target, tmp_path / "jobs.tar")

    assert [fault.kind for fault in audit_queue(target, QUEUE)] == ["no_place"]


def test_without_the_server_it_is_unavailable(backup: Path, tmp_path: Path) -> None:
    with closing(connect(f"unix://{tmp_path}/nobody.sock")) as nobody, pytest.raises(StoreUnavailable):
        restore(nobody, backup)


def test_nothing_of_the_restore_is_left_afterwards(target: Redis, backup: Path) -> None:
    restore(target, backup)

    left = [key for key in target.scan_iter() if key in (RESTORING.encode(), RESTORING_LOCK.encode())]
    assert left == []
    assert list(target.scan_iter(match=queue_keys(QUEUE).staging_prefix + "*")) == []
    assert list(backup.parent.iterdir()) == [backup]
