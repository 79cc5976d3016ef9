from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme
from redis import Redis

from queueing import BackupError, StoreUnavailable, connect, snapshots
from queueing.backup import loaded
from queueing.snapshots import fetch
from tests.queueing.servers import PrivateServer, free_ports
from tests.system.faults.programs import program
from tests.system.faults.servers import WrappedServer

FAST = ("--repl-diskless-sync-delay", "0")  # seconds in which a server waits for more replicas


def place(folder: Path) -> Path:
    """Return where a server that is started on `folder` looks for its data."""
    (folder / "valkey").mkdir(parents=True)
    return folder / "valkey" / "dump.rdb"


def read_again(server: Redis, folder: Path) -> dict[bytes, bytes]:
    """Return the strings of a server, by way of a snapshot."""
    path = place(folder)
    with path.open("wb") as file:
        snapshot = fetch(server, file)
    assert snapshot.bytes == path.stat().st_size
    with loaded(path, 0) as copy:
        return {key: copy.get(key) or b"" for key in copy.scan_iter()}


@contextmanager
def saying(pieces: Sequence[bytes], *, wait: threading.Event | None = None) -> Iterator[Redis]:
    """Give a client of a server that takes two options and then says this, and closes unless it is to wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_say, args=(listener, pieces, wait))
        thread.start()
        with closing(connect(f"redis://127.0.0.1:{listener.getsockname()[1]}?protocol=2")) as client:
            yield client
        if wait:
            wait.set()
        thread.join(10)


def _say(listener: socket.socket, pieces: Sequence[bytes], wait: threading.Event | None) -> None:
    caller, _ = listener.accept()
    with caller:
        for answer in (b"+OK\r\n", b"+OK\r\n"):
            caller.recv(1000)
            caller.sendall(answer)
        caller.recv(1000)
        for piece in pieces:
            caller.sendall(piece)
        if wait:
            wait.wait(10)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_snapshot_has_all_that_was_answered_however_the_server_frames_it(
    kind: str, diskless: str, tmp_path: Path
) -> None:
    framing = ("--repl-diskless-sync", diskless, *FAST)
    with PrivateServer(kind, tmp_path, *framing) as server, closing(connect(server.url)) as client:
        client.mset({str(n): b"\0\r\n" * 1000 for n in range(500)})

        found = read_again(client, tmp_path / "copy")

    assert found == {str(n).encode(): b"\0\r\n" * 1000 for n in range(500)}


def test_a_snapshot_is_taken_with_user_and_password(tmp_path: Path) -> None:
    users = ("--user", "admin", "on", ">secret", "~*", "&*", "+@all")
    with (
        PrivateServer("valkey", tmp_path, *FAST, *users) as server,
        closing(connect(server.url.replace("unix://", "unix://admin:secret@"))) as client,
    ):
        client.set("a", "b")

        assert read_again(client, tmp_path / "copy") == {b"a": b"b"}


def test_a_user_who_may_not_is_told_which_one_may(tmp_path: Path) -> None:
    users = ("--user", "api", "on", ">secret", "~*", "+@all", "-@dangerous", "+info")
    with (
        PrivateServer("valkey", tmp_path, *users) as server,
        closing(connect(server.url.replace("unix://", "unix://api:secret@"))) as client,
        pytest.raises(BackupError, match=r"`admin` of users.acl may"),
    ):
        fetch(client, io.BytesIO())


def test_a_snapshot_is_taken_over_tls(tmp_path: Path) -> None:
    """Of Debian's Redis, for the Valkey of the tests was built without."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    (port,) = free_ports(1)
    tls = [
        *("--tls-port", str(port), "--tls-cert-file", str(tmp_path / "server.pem")),
        *("--tls-key-file", str(tmp_path / "server.pem"), "--tls-ca-cert-file", str(tmp_path / "ca.pem")),
        *("--tls-auth-clients", "no", *FAST),
    ]
    program("redis-server")
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}"
    with PrivateServer("redis", tmp_path, *tls), closing(connect(url)) as client:
        client.set("a", "b")

        assert read_again(client, tmp_path / "copy") == {b"a": b"b"}


def test_newlines_that_keep_the_connection_alive_are_no_part_of_it() -> None:
    with saying([b"\n", b"\n\n", b"$5\r\nhel", b"lo"]) as client:
        file = io.BytesIO()
        snapshot = fetch(client, file)

    assert (file.getvalue(), snapshot.bytes) == (b"hello", 5)


def test_a_mark_that_comes_in_two_pieces_is_seen() -> None:
    mark = b"0123456789" * 4
    with saying([b"$EOF:" + mark + b"\r\nhe", b"llo" + mark[:7], mark[7:]], wait=threading.Event()) as client:
        file = io.BytesIO()
        fetch(client, file)

    assert file.getvalue() == b"hello"


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([b"-NOMASTERLINK Can't SYNC\r\n"], "gives no snapshot: NOMASTERLINK"),
        ([b"$5\r\nhel"], "closed the connection before the snapshot was complete"),
        ([b"$EOF:" + b"a" * 40 + b"\r\nhello"], "closed the connection before"),
        ([b""], "closed the connection before"),
        ([b"x" * 300], "does not answer as a database server does"),
        ([b"$five\r\n"], "gives no snapshot"),
    ],
)
def test_a_server_that_gives_no_whole_snapshot_is_named_with_the_reason(pieces: list[bytes], message: str) -> None:
    with saying(pieces) as client, pytest.raises(BackupError, match=message):
        fetch(client, io.BytesIO())


def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "READ_SECONDS", 0.1)

    with (
        saying([b"$5\r\nhel"], wait=threading.Event()) as client,
        pytest.raises(BackupError, match=r"has sent nothing for 0.1 s"),
    ):
        fetch(client, io.BytesIO())


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with closing(connect(f"unix://{tmp_path}/nobody.sock")) as client, pytest.raises(StoreUnavailable):
        fetch(client, io.BytesIO())


def test_the_server_is_as_before_once_it_has_noticed_that_nobody_listens(tmp_path: Path) -> None:
    with WrappedServer(tmp_path, settings=FAST) as server, closing(connect(server.url)) as client:
        client.set("a", "b")

        fetch(client, io.BytesIO())

        give_up = time.monotonic() + 10
        while client.info("replication")["connected_slaves"] and time.monotonic() < give_up:
            client.ping()
        assert client.info("replication")["connected_slaves"] == 0
        assert client.dbsize() == 1
