"""The units of systemd and the line of cron, run as these would: their commands with their environment files."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from redis import Redis

from queueing import Broker, NewJob
from tests.queueing.servers import free_ports
from tests.system.deploy.conftest import DEPLOY, Database
from tests.system.faults.programs import program
from tests.system.processes import PROJECT, WAIT_SECONDS, wait_until

SYSTEMD = DEPLOY / "systemd"


class Installation:
    """What a machine with the units has: environment files that name the secrets, and a folder for state."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self._started: list[subprocess.Popen[bytes]] = []
        for path in SYSTEMD.glob("*.env"):
            text = path.read_text().replace("/etc/jobapi/secrets", str(database.secrets))
            text = text.replace("/var/lib/jobapi", str(folder)).replace("PORT=8000", f"PORT={self.port}")
            (folder / path.name).write_text(text)

    def start(self, unit: str, **more: str) -> subprocess.Popen[bytes]:
        """Start the command of a unit with nothing but its environment."""
        text = (SYSTEMD / unit).read_text()
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}
        for path in re.findall(r"^EnvironmentFile=/etc/jobapi/(\S+)$", text, re.MULTILINE):
            environment |= self.variables(path)
        [line] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        words = [part for word in shlex.split(line) for part in self._expanded(word, environment)]
        assert words[0] == "/srv/jobapi/.venv/bin/python"
        return self.spawn([sys.executable, *words[1:]], environment)

    def variables(self, name: str) -> dict[str, str]:
        """Return what an environment file sets."""
        lines = (self.folder / name).read_text().splitlines()
        return {
            key: "".join(shlex.split(value)) for key, value in (line.split("=", 1) for line in lines if line[:1] != "#")
        }

    def run_cron(self) -> subprocess.Popen[bytes]:
        """Run the command of cron's line with cron's shell."""
        lines = (DEPLOY / "cron" / "jobapi").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("*/5 ")]
        command = (
            line.split("jobapi ", 1)[1].replace("/etc/jobapi", str(self.folder)).replace("/srv/jobapi", str(PROJECT))
        )
        command = command.replace("/var/lib/jobapi", str(self.folder)).replace("/var/log/jobapi", str(self.folder))
        command = command.replace(".venv/bin/python", sys.executable)
        return self.spawn(["/bin/sh", "-c", command], {"PATH": "/usr/bin:/bin"})

    @staticmethod
    def _expanded(word: str, environment: dict[str, str]) -> list[str]:
        """Return what systemd makes of a word: a variable that stands alone is as many words as it has."""
        return environment[word[1:]].split() if word.startswith("$") else [word]

    def spawn(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a program that ends with this installation."""
        with (self.folder / "log").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    command, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
        return self._started[-1]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, path: str, **headers: str) -> int:
        """Return the status that the API gives, 0 for no answer."""
        with suppress(OSError), closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        return 0

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(WAIT_SECONDS)


@pytest.fixture
def installation(database: Database, tmp_path: Path) -> Iterator[Installation]:
    installed = Installation(tmp_path, database)
    yield installed
    installed.close()


@pytest.fixture
def admin(database: Database) -> Iterator[Redis]:
    with closing(database.connect("admin")) as client:
        yield client


@pytest.fixture
def enqueue(admin: Redis) -> Callable[[], str]:
    """Give a function that submits a job and returns the key of its record."""
    return lambda: f"jobs:{{default}}:job:{Broker(admin).enqueue('default', NewJob.of('echo')).id}"


def test_the_api_is_migrated_and_served(installation: Installation, database: Database) -> None:
    assert installation.start("jobapi-migrate.service").wait(WAIT_SECONDS) == 0, installation.log

    api = installation.start("jobapi-api.service")
    wait_until(lambda: installation.ask("/readyz", Host="localhost") == 200)
    token = (database.secrets / "monitoring_token").read_text()

    through_the_proxy = {"Host": "jobs.example.org", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    assert installation.ask("/api/v1/queues", **through_the_proxy) == 401
    assert installation.ask("/metrics", Host="localhost") == 401
    assert installation.ask("/metrics", Host="localhost", Authorization=f"Bearer {token}") == 200
    api.terminate()
    assert api.wait(WAIT_SECONDS) == 0
    assert database.refusals() == []


def test_the_worker_tells_systemd_how_it_goes(
    installation: Installation, admin: Redis, enqueue: Callable[[], str]
) -> None:
    key = enqueue()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installation.folder / "notify"))
        manager.settimeout(WAIT_SECONDS)
        worker = installation.start("jobapi-worker@.service", NOTIFY_SOCKET=manager.getsockname())

        words = [manager.recv(100)]
        while b"READY=1" not in words or words[-1] != b"WATCHDOG=1":
            words.append(manager.recv(100))
        wait_until(lambda: admin.hget(key, "s") == b"succeeded")
        worker.terminate()
        while words[-1] != b"STOPPING=1":
            words.append(manager.recv(100))

    assert worker.wait(WAIT_SECONDS) == 0


def test_several_processes_speak_to_systemd_with_one_voice(installation: Installation) -> None:
    environment = installation.folder / "worker.env"
    environment.write_text(environment.read_text().replace("--concurrency 4", "--concurrency 4 --processes 2"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.bind(str(installation.folder / "notify"))
        manager.settimeout(WAIT_SECONDS)
        worker = installation.start("jobapi-worker@.service", NOTIFY_SOCKET=manager.getsockname())

        said = [manager.recvmsg(100, 1000)[:2] for _ in range(4)]
        worker.terminate()

    senders = {int.from_bytes(ancillary[0][2][:4], sys.byteorder) for _, ancillary in said}
    assert worker.wait(WAIT_SECONDS) == 0
    assert {word for word, _ in said} == {b"READY=1", b"WATCHDOG=1"}
    assert senders == {worker.pid}


@pytest.mark.parametrize("how", ["timer", "cron"])
def test_a_run_does_what_is_ready_and_ends(
    installation: Installation, admin: Redis, enqueue: Callable[[], str], how: str
) -> None:
    key = enqueue()

    run = installation.start("jobapi-drain.service") if how == "timer" else installation.run_cron()

    assert run.wait(WAIT_SECONDS) == 0, installation.log
    assert admin.hget(key, "s") == b"succeeded"


def test_cron_starts_no_second_run_while_one_works(
    installation: Installation, admin: Redis, enqueue: Callable[[], str]
) -> None:
    key = enqueue()
    command = [program("flock"), str(installation.folder / "drain.lock"), "sleep", "60"]
    holder = installation.spawn(command, dict(os.environ))
    wait_until(lambda: f" {holder.pid} " in Path("/proc/locks").read_text())

    second = installation.run_cron()

    assert second.wait(WAIT_SECONDS) == 0
    assert admin.hget(key, "s") == b"ready"


def test_a_wrong_configuration_ends_with_the_code_that_keeps_systemd_from_starting_again(
    installation: Installation,
) -> None:
    environment = installation.folder / "jobapi.env"
    environment.write_text(environment.read_text().replace("QUEUES=default", "QUEUES=No-Queue"))
    [code] = re.findall(
        r"^RestartPreventExitStatus=(\d+)$", (SYSTEMD / "jobapi-worker@.service").read_text(), re.MULTILINE
    )

    worker = installation.start("jobapi-worker@.service")

    assert worker.wait(WAIT_SECONDS) == int(code)
