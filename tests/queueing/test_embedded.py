from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from queueing.embedded import (
    SOCKET_PATH_BYTES,
    EmbeddedServer,
    EmbeddedServerError,
    default_url,
    make_private,
)

STARTER = """
import sys
from pathlib import Path
from queueing.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "var") as server:
        yield server


def client_of(server: EmbeddedServer) -> Redis:
    return Redis.from_url(server.url, decode_responses=True)


def wait_until_free(server: EmbeddedServer) -> None:
    """Wait until no process holds the lock of the server's directory."""
    with (server.directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_start_serves_with_a_journal_and_never_evicts(server: EmbeddedServer) -> None:
    with client_of(server) as client:
        config = client.config_get("*")

    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["save"] == ""
    assert config["maxmemory-policy"] == "noeviction"
    assert config["hash-max-listpack-value"] == "1024"


def test_start_opens_no_tcp_port_and_closes_socket_and_data_to_others(server: EmbeddedServer) -> None:
    with client_of(server) as client:
        config = client.config_get("port")

    assert config["port"] == "0"
    assert server.socket.stat().st_mode & 0o777 == 0o700
    assert server.directory.stat().st_mode & 0o777 == 0o700


def test_the_server_lives_in_a_session_of_its_own_out_of_ctrl_c_s_reach(server: EmbeddedServer) -> None:
    assert os.getsid(server.process.pid) == server.process.pid != os.getsid(0)


def test_a_second_start_finds_the_data_of_the_first(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as first, client_of(first) as client:
        client.set("kept", "yes")

    with EmbeddedServer(tmp_path) as second, client_of(second) as client:
        assert client.get("kept") == "yes"


def test_a_start_after_a_crash_replaces_the_stale_socket_and_finds_the_data(tmp_path: Path) -> None:
    crashed = EmbeddedServer(tmp_path)
    crashed.start()
    with client_of(crashed) as client:
        client.set("kept", "yes")
    crashed.kill()
    assert crashed.socket.is_socket()

    with EmbeddedServer(tmp_path) as second, client_of(second) as client:
        assert client.get("kept") == "yes"


def test_start_replaces_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    make_private(server.socket.parent)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(server.socket))

    with server, client_of(server) as client:
        assert client.ping()


def test_start_refuses_a_directory_whose_server_lives_and_names_it(server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedServerError, match=rf"already running on .*\(pid {server.process.pid}\)"):
        EmbeddedServer(server.directory.parent).start()

    with client_of(server) as client:
        assert client.ping()


def test_start_shows_the_servers_own_words_when_it_ends(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.directory.mkdir()
    (server.directory / "appendonlydir").write_text("in the way")

    with pytest.raises(EmbeddedServerError, match=r"(?s)ended with status 1 while starting.*append-only"):
        server.start()


def test_start_gives_up_at_its_deadline_and_leaves_no_process(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)

    with pytest.raises(EmbeddedServerError, match=r"does not answer after 0 s"):
        server.start(timeout_seconds=0)

    assert server.process.returncode == -signal.SIGKILL


def test_stop_removes_the_socket_and_frees_the_directory(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()

    server.stop()

    assert server.process.returncode == 0
    assert not server.socket.exists()
    wait_until_free(server)


def test_stop_kills_a_server_that_does_not_react(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    server.process.send_signal(signal.SIGSTOP)

    with pytest.raises(EmbeddedServerError, match=r"did not stop within 0.1 s and was killed"):
        server.stop(timeout_seconds=0.1)

    assert server.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_the_server_stops_when_its_starter_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        starter.stdout.readline()
        starter.kill()

    wait_until_free(EmbeddedServer(tmp_path))

    with EmbeddedServer(tmp_path) as second, client_of(second) as client:
        assert client.ping()


def test_a_var_dir_too_long_for_a_socket_gets_a_private_one_elsewhere(tmp_path: Path) -> None:
    var_dir = tmp_path / ("long" * 30)

    with EmbeddedServer(var_dir) as server, client_of(server) as client:
        assert client.config_get("dir")["dir"] == str(var_dir / "valkey")
        assert len(os.fsencode(server.socket)) <= SOCKET_PATH_BYTES
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700

    assert not server.socket.parent.exists()


def test_two_long_var_dirs_have_two_addresses(tmp_path: Path) -> None:
    one, other = (default_url(tmp_path / ("long" * 30) / name) for name in ("one", "other"))

    assert one != other


def test_a_var_dir_with_odd_characters_is_served(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / 'a "b\\c%20?d') as server, client_of(server) as client:
        assert client.ping()


def test_a_socket_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")

    with pytest.raises(EmbeddedServerError, match="must be a directory of the user"):
        make_private(tmp_path / "link")
