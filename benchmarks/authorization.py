"""What authorization adds to a submission: the same calls to the API as it is served, without and with a token."""

from __future__ import annotations

import base64
import json
import statistics
import time
from contextlib import ExitStack
from http.client import HTTPConnection

from matplotlib.axes import Axes

from benchmarks import sites
from benchmarks.arena import Arena, arena
from benchmarks.report import Plan, Progress, Section

CALLS = 25  # in a row, before the other one's turn: what else the machine does is shared fairly
ROUNDS = 240
BODY = json.dumps({"kind": "bench.noop", "payload": {"a": "x" * 100}}).encode()


def run(plan: Plan, progress: Progress) -> Section:
    """Submit in turns to two APIs on the same database, one of which asks for a token."""
    rounds = plan.size(ROUNDS)
    times: dict[str, list[float]] = {"none": [], "oauth2": []}
    ratios = []
    with arena() as field, ExitStack() as stack:
        served = {mode: stack.enter_context(sites.api(field, 1, AUTH_MODE=mode)) for mode in times}
        connections = {mode: HTTPConnection("127.0.0.1", site.port, timeout=30) for mode, site in served.items()}
        headers = {"none": {}, "oauth2": {"Authorization": f"Bearer {_token(field, connections['oauth2'])}"}}
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


def _token(field: Arena, connection: HTTPConnection) -> str:
    environment = sites.api_environment(field)
    made = json.loads(sites.manage(environment, "createclient", "bench", "--json", "--scope", "jobs:write"))
    pair = base64.b64encode(f"{made['client_id']}:{made['client_secret']}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/oauth/token/", "grant_type=client_credentials", headers)
    return str(json.load(connection.getresponse())["access_token"])


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
        figures={"submit_with_token_ratio": ratio},
    )
