"""No-op jobs that one worker process finishes a second, against a bare loop over the same scripts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from matplotlib.axes import Axes

from benchmarks import depth, processes
from benchmarks.report import Progress, Section
from queueing import Broker, connect
from queueing.embedded import EmbeddedServer

JOBS = 20_000
REPETITIONS = 5
WORKERS = (1, 4, 16)


def run(server: EmbeddedServer, progress: Progress, quick: bool) -> Section:
    """Drain the same stack with each contestant in turn, several times over."""
    broker = Broker(connect(server.url)).dedicated()
    jobs = JOBS // 10 if quick else JOBS
    start_up = _seconds(lambda: processes.drain(server))
    contestants: dict[str, Callable[[], float]] = {"bare loop: claim one, ack one": lambda: _loop(broker)}
    for concurrency in WORKERS:
        contestants[f"runworker --concurrency {concurrency}"] = partial(_worker, server, concurrency, start_up)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    repetitions = 1 if quick else REPETITIONS
    for n in range(repetitions):
        for name, drain in contestants.items():
            depth.fill(broker, "default", jobs, Progress("fill"))
            rates[name].append(jobs / drain())
        progress.show(n + 1, repetitions, "draining")
    return _section(jobs, rates)


def _worker(server: EmbeddedServer, concurrency: int, start_up: float) -> float:
    return _seconds(lambda: processes.drain(server, "--concurrency", str(concurrency))) - start_up


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _loop(broker: Broker) -> float:
    """Claim and ack one job after the other, two round trips each, over one connection."""
    began = time.perf_counter()
    while jobs := broker.claim("default", "bench").jobs:
        broker.ack(jobs[0])
    return time.perf_counter() - began


def _section(jobs: int, rates: dict[str, list[float]]) -> Section:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    base = next(iter(medians.values()))
    rows = [
        [
            name,
            f"{medians[name]:,.0f}",
            f"{min(values):,.0f}-{max(values):,.0f}",
            f"{medians[name] / base:.2f}",
        ]
        for name, values in rates.items()
    ]

    def draw(axes: Axes) -> None:
        axes.barh(list(medians), list(medians.values()))
        axes.invert_yaxis()
        axes.set_xlabel("jobs a second, median")

    return Section(
        name="throughput",
        title="Draining no-op jobs",
        text=f"{jobs:,} jobs, medians of {len(next(iter(rates.values())))}; a worker's start-up is taken off.",
        header=["contestant", "jobs/s", "min-max", "ratio"],
        rows=rows,
        draw=draw,
        ratios={f"drain_c{n}_vs_loop": medians[f"runworker --concurrency {n}"] / base for n in WORKERS},
    )
