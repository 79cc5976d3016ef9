"""`manage.py backup`, `restore`, `export` and `import`: what they print, and how they end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from redis import Redis

from jobapi.management.terminal import ProgressLine
from queueing import Broker, Inspector, NewJob
from queueing.embedded import EmbeddedServer
from queueing.keys import RESTORING
from tests.queueing.estate import contents, settle


@pytest.fixture
def store(valkey: Redis) -> Iterator[Redis]:
    """Give a client of the session's server, emptied, that makes snapshots without waiting for more replicas."""
    before = valkey.config_get("repl-diskless-sync-delay")["repl-diskless-sync-delay"]
    valkey.config_set("repl-diskless-sync-delay", 0)
    yield valkey
    valkey.config_set("repl-diskless-sync-delay", before)


def run(*arguments: str) -> str:
    """Run a command and return what it printed."""
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def shell(server: EmbeddedServer, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    environment = {**os.environ, "REDIS_URL": server.url, "DJANGO_SETTINGS_MODULE": "settings.test"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=django_settings.BASE_DIR, env=environment, input=stdin,
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_backup_is_restored_and_both_say_what_is_in_it(store: Redis, tmp_path: Path) -> None:
    settle(store)
    before = contents(store)

    wrote = run("backup", str(tmp_path / "jobs.tar")).splitlines()
    store.flushall()
    read = run("restore", str(tmp_path / "jobs.tar")).splitlines()

    assert contents(store) == before
    queues = [line for line in wrote if line.startswith("ok       queue")]
    assert queues[1] == "ok       queue mail: 1 ready"
    assert [line for line in read if line.startswith("ok       queue")] == queues
    assert wrote[-1].startswith("ok       has all that was accepted until 20")


def test_a_restored_queue_that_nobody_serves_is_named(store: Redis, tmp_path: Path) -> None:
    Broker(store).enqueue("forgotten", NewJob.of("echo"))
    run("backup", str(tmp_path / "jobs.tar"))
    store.flushall()

    assert "warning  queue forgotten is none of QUEUES: nobody serves it" in run("restore", str(tmp_path / "jobs.tar"))


def test_a_restore_that_goes_on_says_so(store: Redis, tmp_path: Path) -> None:
    Broker(store).enqueue("mail", NewJob.of("echo"))
    run("backup", str(tmp_path / "jobs.tar"))
    run_restore_cut_short = pytest.MonkeyPatch()
    store.flushall()
    with run_restore_cut_short.context() as patch:
        patch.setattr("queueing.restore._compare_sizes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(CommandError, match="Interrupted: run it again with the same file") as ended:
            run("restore", str(tmp_path / "jobs.tar"))

    text = run("restore", str(tmp_path / "jobs.tar"))

    assert ended.value.returncode == 130
    assert text.startswith("ok       went on with a restore that was cut short")
    assert not store.exists(RESTORING)


def test_a_server_that_would_lose_jobs_is_exit_code_78(store: Redis, tmp_path: Path) -> None:
    run("backup", str(tmp_path / "jobs.tar"))
    store.flushall()
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(CommandError, match="is not fit to keep jobs") as ended:
            run("restore", str(tmp_path / "jobs.tar"))
    finally:
        store.config_set("maxmemory-policy", "noeviction")

    assert ended.value.returncode == 78


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backup", "{folder}"], "exists; it stays as it is"),
        (["restore", "{folder}/nothing.tar"], "No such file"),
        (["import", "{folder}/nothing.jsonl"], "No such file"),
        (["export", "{folder}/no/folder.jsonl"], "No such file"),
        (["export", "x", "--state", "lost"], "invalid State value: 'lost'"),
    ],
)
def test_what_cannot_be_done_is_one_line(store: Redis, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*(argument.format(folder=tmp_path) for argument in arguments))


@pytest.mark.parametrize("command", ["backup", "export"])
def test_without_the_database_nothing_is_left(settings: LazySettings, tmp_path: Path, command: str) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    settings.CACHES = {**settings.CACHES, "queue": {**settings.CACHES["queue"], "LOCATION": url}}

    with pytest.raises(CommandError, match="The database cannot be used"):
        run(command, str(tmp_path / "file"))

    assert list(tmp_path.iterdir()) == []


def test_an_export_goes_through_a_pipe(store: Redis, valkey_server: EmbeddedServer) -> None:
    job_id = Broker(store).enqueue("default", NewJob.of("echo", {"a": 1})).id

    wrote = shell(valkey_server, "export", "-")
    store.flushall()
    read = shell(valkey_server, "import", "-", stdin=wrote.stdout)

    assert [json.loads(line)["type"] for line in wrote.stdout.splitlines()] == ["export", "queue", "job", "end"]
    assert wrote.stderr == b"1 job of 1 queue written\n"
    assert (wrote.returncode, read.returncode, read.stderr) == (0, 0, b"")
    assert Inspector(store).job(job_id).payload == b'{"a":1}'


def test_refused_lines_are_named_and_exit_code_1(store: Redis, tmp_path: Path) -> None:
    Broker(store).enqueue("default", NewJob.of("echo"))
    Broker(store).enqueue("forgotten", NewJob.of("echo"))
    file = tmp_path / "jobs.jsonl"
    run("export", str(file))
    store.flushall()
    out = io.StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("import", str(file), stdout=out, stderr=out)

    lines = out.getvalue().splitlines()
    assert ended.value.code == 1
    assert sum("queue forgotten is none of QUEUES: nobody would serve it" in line for line in lines) == 2
    assert lines[-2:] == ["ok       1 job imported, 0 were there already", "fault    2 lines refused"]


def test_damaged_jobs_are_named_and_exit_code_1(store: Redis, tmp_path: Path) -> None:
    job_id = Broker(store).enqueue("default", NewJob.of("echo")).id
    store.hdel(f"jobs:{{default}}:job:{job_id}", "k")
    out = io.StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("export", str(tmp_path / "jobs.jsonl"), stdout=out, stderr=out)

    assert ended.value.code == 1
    assert f"left out: job {job_id}:" in out.getvalue()


def test_import_check_changes_nothing(store: Redis, tmp_path: Path) -> None:
    Broker(store).enqueue("default", NewJob.of("echo"))
    run("export", str(tmp_path / "jobs.jsonl"))
    store.flushall()

    text = run("import", "--check", str(tmp_path / "jobs.jsonl"))

    assert text == "ok       1 job would be imported, 0 were there already\n"
    assert store.dbsize() == 0


def test_a_backup_that_is_told_to_stop_leaves_nothing(
    store: Redis, valkey_server: EmbeddedServer, tmp_path: Path
) -> None:
    store.config_set("repl-diskless-sync-delay", 60)
    environment = {**os.environ, "REDIS_URL": valkey_server.url, "DJANGO_SETTINGS_MODULE": "settings.test"}
    command = [sys.executable, "manage.py", "backup", str(tmp_path / "jobs.tar")]
    with subprocess.Popen(
        command, cwd=django_settings.BASE_DIR, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not store.info("replication")["connected_slaves"]:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=30)

    assert (process.returncode, text) == (130, "CommandError: Interrupted: there is no backup.\n")
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    """A terminal, or what only looks like a file."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_progress_is_one_line_on_a_terminal_and_nothing_elsewhere() -> None:
    terminal, file = Terminal(is_terminal=True), Terminal(is_terminal=False)
    for stream in (terminal, file):
        line = ProgressLine(stream)
        line("the server", 5, 10)
        line("the server", 6, 10)
        line.clear()

    assert terminal.getvalue() == "\r\x1b[Kthe server 5 of 10 (50%)\r\x1b[K"
    assert file.getvalue() == ""
