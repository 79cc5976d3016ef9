"""What authorization adds to a submission: the same calls to the API as it is served, without and with a token."""

from __future__ import annotations

import base64
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException

from matplotlib.axes import Axes

from benchmarks import processes
from benchmarks.report import Progress, Section
from queueing.embedded import EmbeddedServer

CALLS = 25  # in a row, before the other one's turn: what else the machine does is shared fairly
ROUNDS = 240
PATIENCE_SECONDS = 30.0
BODY = json.dumps({"kind": "bench.noop", "payload": {"a": "x" * 100}}).encode()
SERVE = "import os, django; django.setup(); from jobapi.launch import api_command as c; os.execv(c()[0], c())"


def run(server: EmbeddedServer, progress: Progress, quick: bool) -> Section:
    """Submit in turns to two APIs on the same database, one of which asks for a token."""
    rounds = 24 if quick else ROUNDS
    environment = processes.environment(server)
    _manage(environment, "migrate", "--verbosity", "0")
    times: dict[str, list[float]] = {"none": [], "oauth2": []}
    ratios = []
    with ExitStack() as stack:
        connections = {mode: stack.enter_context(_api(environment, mode)) for mode in times}
        headers = {"none": {}, "oauth2": {"Authorization": f"Bearer {_token(environment, connections['oauth2'])}"}}
        for mode in times:
            _submit(connections[mode], headers[mode], 500)  # warms up
        for n in range(rounds):
            order = list(times) if n % 2 else list(reversed(times))
            taken = {mode: _submit(connections[mode], headers[mode], CALLS) for mode in order}
            for mode, values in taken.items():
                times[mode] += values
            ratios.append(statistics.median(taken["oauth2"]) / statistics.median(taken["none"]))
            progress.show(n + 1, rounds, "submitting")
    return _section(times, ratios)


def _submit(connection: HTTPConnection, headers: dict[str, str], calls: int) -> list[float]:
    """Submit so many jobs one after the other, and return how many milliseconds each took."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        connection.request("POST", "/api/v1/jobs", BODY, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 201:
            raise RuntimeError(f"a submission was answered with {answer.status}")
    return taken


@contextmanager
def _api(environment: dict[str, str], mode: str) -> Iterator[HTTPConnection]:
    """Serve the API in a process of its own, and give a connection to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-c", SERVE], env={**environment, "AUTH_MODE": mode, "PORT": str(port)})
    try:
        _wait(port)
        yield HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    finally:
        process.terminate()
        process.wait(processes.STOP_SECONDS)


def _wait(port: int) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/livez")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError("the API does not start")


def _token(environment: dict[str, str], connection: HTTPConnection) -> str:
    made = json.loads(_manage(environment, "createclient", "bench", "--json", "--scope", "jobs:write"))
    pair = base64.b64encode(f"{made['client_id']}:{made['client_secret']}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/oauth/token/", "grant_type=client_credentials", headers)
    return str(json.load(connection.getresponse())["access_token"])


def _manage(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, str(processes.MANAGE), *command], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def _section(times: dict[str, list[float]], ratios: list[float]) -> Section:
    names = {"none": "AUTH_MODE=none", "oauth2": "AUTH_MODE=oauth2, a token of our own"}
    medians = {mode: statistics.median(values) for mode, values in times.items()}
    ratio = statistics.median(ratios)
    rows = [
        [names[mode], f"{medians[mode]:.3f}", f"{sorted(values)[int(len(values) * 0.99)]:.3f}"]
        for mode, values in times.items()
    ]

    def draw(axes: Axes) -> None:
        axes.boxplot(list(times.values()), tick_labels=list(names.values()), showfliers=False)
        axes.set_ylabel("a submission, ms")

    return Section(
        name="authorization",
        title="What a token adds to a submission",
        text=f"{len(times['none']):,} submissions each over one connection, in turns of {CALLS}. With a token they "
        f"take {ratio:.3f} times as long (median of {len(ratios)} rounds).",
        header=["API", "median, ms", "p99, ms"],
        rows=rows,
        draw=draw,
        ratios={"submit_with_token": ratio},
    )
