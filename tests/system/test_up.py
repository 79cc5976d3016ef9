from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest
from django.conf import settings
from redis import Redis

from queueing import Inspector, State
from queueing.embedded import EmbeddedServer, socket_path

DEADLINE_SECONDS = 40  # for any one thing to happen; the whole start takes about two
MANAGE = [sys.executable, "manage.py"]

pytestmark = pytest.mark.timeout(150)


class Up:
    """A running `manage.py up` and what it has said; its parts write to the same pipe."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [*MANAGE, "up"],
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, start: str) -> str:
        """Return the rest of the next line that starts so; fail when the output ends before it."""
        while (line := self._lines.get(timeout=DEADLINE_SECONDS)) is not None:
            self.said.append(line)
            if line.startswith(start):
                return line.removeprefix(start)
        pytest.fail(f"no line {start!r} in:\n" + "\n".join(self.said))

    def wait_until_nothing_is_left(self) -> int:
        """Wait for the end of all who could write to the output; return the launcher's status."""
        while (line := self._lines.get(timeout=DEADLINE_SECONDS)) is not None:
            self.said.append(line)
        with (Path(self.environment["VAR_DIR"]) / "valkey" / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        return self.process.wait(DEADLINE_SECONDS)

    def pids(self) -> dict[str, int]:
        """Return the pid of each part that was started, by its name."""
        started = (line.split(" started, pid ") for line in self.said if " started, pid " in line)
        return {name: int(pid) for name, pid in started}

    def submit(self, kind: str, payload: dict[str, Any]) -> str:
        body = json.dumps({"kind": kind, "payload": payload}).encode()
        with ask(f"{self.url}/api/v1/jobs", body, {"Content-Type": "application/json"}) as answer:
            assert answer.status == 201
            return str(json.load(answer)["id"])

    def wait_for_state(self, job_id: str, state: str) -> dict[str, Any]:
        """Ask for the job until it is in this state; the API has no call yet that waits."""
        give_up_at = time.monotonic() + DEADLINE_SECONDS
        while (job := self.job(job_id))["state"] != state:
            assert time.monotonic() < give_up_at, job
            time.sleep(0.02)
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        with ask(f"{self.url}/api/v1/jobs/{job_id}") as answer:
            return dict(json.load(answer))

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it, in the same environment."""
        return subprocess.run(
            [*MANAGE, *arguments],
            cwd=settings.BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def close(self) -> None:
        """End it, however far it is, and what it left behind."""
        if self.process.poll() is None:
            self.process.terminate()
        self._reader.join(DEADLINE_SECONDS)
        self.process.kill()
        self.process.wait()
        if self._reader.is_alive():
            for pid in self.pids().values():
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            self._reader.join()


Start = Callable[..., Up]


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> HTTPResponse:
    """Get `url`, or post the body to it, following redirects; raise HTTPError when that is refused."""
    answer = urlopen(Request(url, body, headers or {}), timeout=DEADLINE_SECONDS)
    assert isinstance(answer, HTTPResponse)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(var_dir: Path) -> dict[str, str]:
    """Return what a person's shell would give, with a VAR_DIR and a port that nobody uses."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"VAR_DIR": str(var_dir), "PORT": str(free_port())}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Up] = []

    def start_up(**environment: str) -> Up:
        up = Up(environment_of(tmp_path / "var") | environment)
        running.append(up)
        return up

    yield start_up
    for up in running:
        up.close()
    shutil.rmtree(socket_path(tmp_path / "var").parent, ignore_errors=True)  # elsewhere if tmp_path is long


def may_log_in(up: Up, username: str, password: str) -> bool:
    """Tell whether the admin pages let this user in."""
    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    page = f"{up.url}/admin/login/?next=/admin/"
    browser.open(page, timeout=DEADLINE_SECONDS).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = urlencode({"username": username, "password": password, "csrfmiddlewaretoken": token}).encode()
    with browser.open(page, form, timeout=DEADLINE_SECONDS) as answer:
        return str(answer.url) == f"{up.url}/admin/"


@contextmanager
def listener(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_it_runs_a_job_and_the_second_start_finds_it(start: Start) -> None:
    first = start()
    assert first.wait_for("ready: ") == first.url
    job_id = first.submit("echo", {"hello": "there"})
    first.wait_for_state(job_id, "succeeded")

    first.process.send_signal(signal.SIGINT)

    assert first.wait_until_nothing_is_left() == 0
    second = start()
    second.wait_for("ready: ")
    assert second.job(job_id)["result"] == {"hello": "there"}


def test_it_says_where_everything_is_and_each_address_answers(start: Start) -> None:
    up = start()
    up.wait_for("ready: ")

    addresses = dict(line.split() for line in up.said if line.count(" http://") == 1 and "ready" not in line)

    assert set(addresses) == {"API", "docs", "dashboard", "metrics"}
    for name in ("docs", "dashboard", "metrics"):
        with ask(addresses[name]) as answer:
            assert answer.status == 200


def test_ctrl_c_stops_the_worker_first_and_valkey_last(start: Start) -> None:
    up = start()
    up.wait_for("ready: ")

    up.process.send_signal(signal.SIGINT)

    assert up.wait_until_nothing_is_left() == 0
    stopped = [line for line in up.said if line.endswith(" stopped")]
    assert stopped == ["worker stopped", "API stopped", "Valkey server stopped"]


def test_term_lets_the_running_job_finish(start: Start) -> None:
    up = start()
    up.wait_for("ready: ")
    job_id = up.submit("sleep", {"seconds": 1})
    up.wait_for_state(job_id, "running")

    up.process.terminate()

    assert up.wait_until_nothing_is_left() == 0
    again = start()
    again.wait_for("ready: ")
    assert again.wait_for_state(job_id, "succeeded")["attempt"] == 1


def test_a_second_ctrl_c_gives_the_running_job_back_at_once(start: Start, tmp_path: Path) -> None:
    up = start()
    up.wait_for("ready: ")
    job_id = up.submit("sleep", {"seconds": 3600})
    up.wait_for_state(job_id, "running")

    up.process.send_signal(signal.SIGINT)
    up.wait_for("stopping")
    up.process.send_signal(signal.SIGINT)

    began = time.monotonic()
    assert up.wait_until_nothing_is_left() == 0
    assert time.monotonic() - began < 15  # the worker's grace is 30 s
    with EmbeddedServer(tmp_path / "var") as server, Redis.from_url(server.url) as client:
        assert Inspector(client).job(job_id).state is State.READY


@pytest.mark.parametrize("part", ["worker", "API", "Valkey server"])
def test_a_part_that_dies_is_named_and_the_rest_stops(start: Start, part: str) -> None:
    up = start()
    up.wait_for("ready: ")

    os.kill(up.pids()[part], signal.SIGKILL)

    assert up.wait_until_nothing_is_left() == 1
    assert f"the {part} was killed by SIGKILL; stopping the rest" in up.said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_nothing_outlives_a_killed_launcher(start: Start) -> None:
    up = start()
    up.wait_for("ready: ")

    up.process.kill()

    assert up.wait_until_nothing_is_left() == -signal.SIGKILL


def test_a_port_in_use_gets_one_clear_line(start: Start) -> None:
    port = free_port()
    with listener(port):
        up = start(PORT=str(port))

        rest = up.wait_for(f"cannot listen on 127.0.0.1:{port}")

    assert "set PORT to another" in rest
    assert up.process.wait(DEADLINE_SECONDS) == 1
    assert up.said == [f"cannot listen on 127.0.0.1:{port}{rest}"]


def test_a_second_one_on_the_same_data_gets_one_clear_line_and_harms_nothing(start: Start) -> None:
    first = start()
    first.wait_for("ready: ")

    second = start()

    second.wait_for("a Valkey server is already running on ")
    assert second.process.wait(DEADLINE_SECONDS) == 1
    assert len(second.said) == 1
    with ask(f"{first.url}/readyz") as answer:
        assert answer.status == 200


def test_redis_url_names_the_server_to_use_and_no_other_is_started(start: Start, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "elsewhere") as server:
        up = start(REDIS_URL=server.url)
        up.wait_for("ready: ")
        up.wait_for_state(up.submit("echo", {}), "succeeded")
        up.close()

    assert set(up.pids()) == {"API", "worker"}
    assert not (tmp_path / "var" / "valkey").exists()


def test_a_generated_password_is_shown_once_and_kept(start: Start) -> None:
    first = start()
    password = first.wait_for("staff user admin, password ").removesuffix(" (shown only this once)")
    first.wait_for("ready: ")
    assert may_log_in(first, "admin", password)
    first.close()

    second = start(STAFF_PASSWORD="another")
    second.wait_for("ready: ")

    assert not [line for line in second.said if "password" in line]
    assert may_log_in(second, "admin", password)
    assert not may_log_in(second, "admin", "another")


def test_the_staff_user_gets_name_and_password_of_the_environment(start: Start) -> None:
    up = start(STAFF_USERNAME="chris", STAFF_PASSWORD="from outside")
    up.wait_for("ready: ")

    assert may_log_in(up, "chris", "from outside")
    assert not [line for line in up.said if "password" in line]


def test_another_command_beside_it_finds_the_same_server(start: Start) -> None:
    up = start()
    up.wait_for("ready: ")

    beside = up.manage("submit", "echo", "--payload", json.dumps({"from": "the shell"}), "--wait")

    assert beside.returncode == 0, beside.stderr
    assert "the shell" in beside.stdout
