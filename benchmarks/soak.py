"""A long run of load: whether the worker, the API or the database server grows once finished jobs are pruned."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from http.client import HTTPConnection

from matplotlib.axes import Axes

from benchmarks import sites
from benchmarks.arena import arena
from benchmarks.contestants import OURS_16
from benchmarks.ours import PAYLOAD, QUEUE
from benchmarks.report import Plan, Progress, Section
from queueing import Broker, Retention, State, connect

QUICK_MINUTES = 0.5
TICK_SECONDS = 0.1
SINGLE, BULK = 10, 20  # submissions a tick, and jobs of the one bulk a tick: 300 jobs a second
KEPT_SHARE = 0.1  # of the run: so long are finished jobs kept, from then on there are no more of them
SAMPLE_SECONDS = 1.0
WINDOWS = (0.2, 0.4, 0.8, 1.0)  # the second fifth of the run against the last; the first is for warming up

NOOP = {"kind": "bench.noop", "payload": PAYLOAD}
DYING = {"kind": "bench.nobody-knows", "max_attempts": 1}


def run(plan: Plan, progress: Progress) -> Section:
    """Submit and read at a steady rate, and weigh everybody once a second."""
    seconds = 60 * (min(QUICK_MINUTES, plan.soak_minutes) if plan.is_quick else plan.soak_minutes)
    with arena() as field, sites.api(field, 2) as site, field.worker(OURS_16) as worker:
        client = connect(field.server.url)
        kept = Retention(keep_ms=int(seconds * KEPT_SHARE * 1000), keep_count=1_000_000)
        finished = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)
        Broker(client).configure(QUEUE, retention=dict.fromkeys(finished, kept))
        weighed = {
            "worker": lambda: worker.memory_mib()[0][0],
            "API, both processes": lambda: sum(rss for rss, _ in site.tree.memory_mib()[1:]),
            "database server": lambda: field.server.memory_bytes() / 2**20,
        }
        samples = _submit_and_weigh(HTTPConnection("127.0.0.1", site.port, timeout=30), weighed, seconds, progress)
        return _section(seconds, field.tally.total(), samples)


def _submit_and_weigh(
    connection: HTTPConnection, weighed: dict[str, Callable[[], float]], seconds: float, progress: Progress
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in weighed}
    began = time.monotonic()
    sampled = tick = 0
    while (now := time.monotonic() - began) < seconds:
        _tick(connection, tick)
        if now >= sampled * SAMPLE_SECONDS:
            for name, weigh in weighed.items():
                samples[name].append(weigh())
            sampled += 1
            progress.show(int(now), int(seconds) + 1, "submitting")
        tick += 1
        time.sleep(max(0.0, began + tick * TICK_SECONDS - time.monotonic()))
    progress.show(1, 1, "")
    return samples


def _tick(connection: HTTPConnection, tick: int) -> None:
    """Submit some jobs one by one and some in bulk, now and then one that dies, and look at the queue."""
    for n in range(SINGLE):
        _call(connection, "POST", "/api/v1/jobs", DYING if tick % 10 == n == 0 else NOOP)
    _call(connection, "POST", "/api/v1/jobs/bulk", {"jobs": [NOOP] * BULK})
    _call(connection, "GET", f"/api/v1/queues/{QUEUE}")


def _call(connection: HTTPConnection, method: str, path: str, body: object = None) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{method} {path} was answered with {answer.status}: {text[:500]!r}")


def growth_percent(samples: list[float]) -> float:
    """Return by how much the last fifth is above the second."""
    first_from, first_to, last_from, last_to = (int(len(samples) * share) for share in WINDOWS)
    first, last = statistics.median(samples[first_from:first_to]), statistics.median(samples[last_from:last_to])
    return (last / first - 1) * 100


def _section(seconds: float, jobs: int, samples: dict[str, list[float]]) -> Section:
    growths = {name: growth_percent(values) for name, values in samples.items()}

    def draw(axes: Axes) -> None:
        for name, values in samples.items():
            minutes = [n * SAMPLE_SECONDS / 60 for n in range(len(values))]
            axes.plot(minutes, values, label=name)
        axes.set(xlabel="minutes", ylabel="MiB", ylim=(0, None))
        axes.legend()

    return Section(
        name="soak",
        title="A long run",
        text=(
            f"{seconds / 60:g} minutes, {jobs:,} jobs run, finished jobs kept for {seconds * KEPT_SHARE:.0f} s. Growth "
            "is that of the median of the last fifth over that of the second fifth; of processes the resident set, of "
            "the database server what it has stored."
        ),
        header=["who", "least, MiB", "most, MiB", "growth, %"],
        rows=[
            [name, f"{min(values):.1f}", f"{max(values):.1f}", f"{growths[name]:.2f}"]
            for name, values in samples.items()
        ],
        draw=draw,
        ratios={"soak_growth_percent": max(growths.values())},
        figures={"soak_minutes": seconds / 60, "soak_jobs": jobs},
    )
