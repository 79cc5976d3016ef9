"""The API and what it is compared with, each served by granian in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.arena import Arena, ProcessTree, end
from benchmarks.contestants import OURS_1, PEERS, PROJECT
from benchmarks.server import free_port

START_SECONDS = 30.0
MANAGE = (sys.executable, str(PROJECT / "manage.py"))
SERVE = "import os, django; django.setup(); from jobapi.launch import api_command as c; os.execvp(c()[0], c())"
GRANIAN = ("-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws", "--log-level", "error")


class Site:
    """Something that answers POSTs on `port`."""

    def __init__(self, port: int, path: str, tree: ProcessTree) -> None:
        self.port = port
        self.path = path
        self.tree = tree

    def load(self, body: bytes, connections: int, seconds: float) -> dict[str, float]:
        """Put load on it (`benchmarks.load`)."""
        command = [sys.executable, "-m", "benchmarks.load", str(self.port), self.path, str(connections), str(seconds)]
        done = subprocess.run(command, cwd=PROJECT, input=body, stdout=subprocess.PIPE, check=True, timeout=300)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


@contextmanager
def api(field: Arena, processes: int, path: str = "/api/v1/jobs", **environment: str) -> Iterator[Site]:
    """Serve the API as `manage.py up` does, with its lines of log in a file."""
    port = free_port()
    told = {"API_PROCESSES": str(processes), "PORT": str(port), "AUTH_MODE": "none", **environment}
    variables = {**api_environment(field), **told}
    manage(variables, "migrate", "--verbosity", "0")
    with _serving(field, [sys.executable, "-c", SERVE], variables, port) as tree:
        yield Site(port, path, tree)


def api_environment(field: Arena) -> dict[str, str]:
    """Return the environment of the API, which has other settings than a worker."""
    return {**field.environment(OURS_1), "DJANGO_SETTINGS_MODULE": "settings.base"}


@contextmanager
def wsgi(field: Arena, python: Path | str, application: str, processes: int) -> Iterator[Site]:
    """Serve a WSGI application that answers on /jobs."""
    port = free_port()
    command = [str(python), *GRANIAN, "--port", str(port), "--workers", str(processes), application]
    with _serving(field, command, field.environment(OURS_1), port) as tree:
        yield Site(port, "/jobs", tree)


def bare(field: Arena, processes: int) -> AbstractContextManager[Site]:
    """Serve the bare view."""
    return wsgi(field, sys.executable, "benchmarks.bare:application", processes)


def drf(field: Arena, processes: int) -> AbstractContextManager[Site]:
    """Serve the serializer with Celery behind it."""
    return wsgi(field, PEERS / ".venv-main" / "bin" / "python", "benchmarks.peers.drf_app:application", processes)


def manage(environment: Mapping[str, str], *command: str) -> str:
    """Run one of Django's commands and return what it prints."""
    done = subprocess.run([*MANAGE, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


@contextmanager
def _serving(field: Arena, command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[ProcessTree]:
    log = field.folder / f"site-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(port, process, log)
        yield ProcessTree(process.pid)
    finally:
        end(process)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until whatever is on the port answers anything at all."""
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/livez")
            connection.getresponse()
            return
        time.sleep(0.05)
    raise RuntimeError(f"a site does not start: {log.read_text(errors='replace')[-2_000:]}")
