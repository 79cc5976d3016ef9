"""Does it cost more to work on a deep queue? Each operation on two queues of one server, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes

from benchmarks.arena import arena
from benchmarks.ours import PAYLOAD
from benchmarks.report import Plan, Progress, Section, percentile
from benchmarks.server import BenchServer
from queueing import Broker, Inspector, NewJob, State, connect

SHALLOW, DEEP = 100, 1_000_000
ROUNDS = 3_000


def run(plan: Plan, progress: Progress) -> Section:
    """Measure submit, claim, ack, the figures of a queue and its first page at both depths."""
    with arena() as field:
        return _measure(field.server, plan, progress)


def _measure(server: BenchServer, plan: Plan, progress: Progress) -> Section:
    depths = {"shallow": SHALLOW, "deep": plan.size(DEEP)}
    client = connect(server.url)
    broker, inspector = Broker(client).dedicated(), Inspector(client)
    server.empty()
    empty_bytes = server.memory_bytes()
    for queue, depth in depths.items():
        fill(broker, queue, depth, progress)
    bytes_per_job = (server.memory_bytes() - empty_bytes) / sum(depths.values())
    server.shorten_journal()
    times: dict[str, dict[str, list[float]]] = {
        name: {queue: [] for queue in depths} for name in ("submit", "claim", "ack", "figures", "first page")
    }
    rounds = plan.size(ROUNDS)
    for n in range(rounds):
        for queue in depths if n % 2 else reversed(depths):
            work_once(broker, inspector, queue, times)
        progress.show(n + 1, rounds, "measuring")
    return _section(depths, times, bytes_per_job)


def fill(broker: Broker, queue: str, depth: int, progress: Progress) -> None:
    """Store `depth` ready jobs, a thousand a call."""
    job = NewJob.of("bench.noop", PAYLOAD)
    for start in range(0, depth, 1000):
        broker.enqueue_many(queue, [job] * min(1000, depth - start))
        progress.show(start + 1000, depth + 1000, f"filling {queue}")


def work_once(broker: Broker, inspector: Inspector, queue: str, times: dict[str, dict[str, list[float]]]) -> None:
    """Submit, claim and ack one job, so that the depth stays, and look at the queue."""

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = call()
        times[name][queue].append((time.perf_counter() - began) * 1e6)
        return value

    timed("submit", lambda: broker.enqueue(queue, NewJob.of("bench.noop", PAYLOAD)))
    job = timed("claim", lambda: broker.claim(queue, "bench")).jobs[0]
    timed("ack", lambda: broker.ack(job))
    timed("figures", lambda: inspector.stats(queue))
    timed("first page", lambda: inspector.page(queue, State.READY, limit=50))


def _section(depths: dict[str, int], times: dict[str, dict[str, list[float]]], bytes_per_job: float) -> Section:
    medians = {name: [percentile(by_queue[queue], 0.5) for queue in depths] for name, by_queue in times.items()}
    rows = []
    for name, by_queue in times.items():
        cells = [f"{percentile(by_queue[queue], share):.0f}" for queue in depths for share in (0.5, 0.99)]
        low, high = medians[name]
        rows.append([name, *cells, f"{high / low:.2f}"])
    labels = [f"{depth:,}" for depth in depths.values()]

    def draw(axes: Axes) -> None:
        for offset, label in enumerate(labels):
            places = [place + 0.38 * offset for place in range(len(medians))]
            axes.bar(places, [pair[offset] for pair in medians.values()], 0.36, label=f"{label} ready jobs")
        axes.set_xticks([place + 0.19 for place in range(len(medians))], list(medians))
        axes.set_ylabel("median, µs")
        axes.legend()

    header = [
        "operation",
        *(f"{label}: {what}, µs" for label in labels for what in ("median", "p99")),
        "ratio",
    ]
    return Section(
        name="depth",
        title=f"Cost at depth {labels[1]} against {labels[0]}",
        text=(
            f"One job at a time over one connection, both queues on one server, in turn. "
            f"A ready job with a payload of 100 bytes takes {bytes_per_job:.0f} bytes of the server's memory."
        ),
        header=header,
        rows=rows,
        draw=draw,
        ratios={
            "depth_1m_vs_100": max(high / low for low, high in medians.values()),
            "bytes_per_job": bytes_per_job,
        },
    )
