"""How long a job waits for an idle worker: submit to the first line of the handler."""

from __future__ import annotations

import json
import time

from matplotlib.axes import Axes

from benchmarks import processes
from benchmarks.report import Progress, Section, spread
from queueing import Broker, Inspector, JobNotFound, NewJob, connect
from queueing.embedded import EmbeddedServer

JOBS = 500
PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 10.0


def run(server: EmbeddedServer, progress: Progress, quick: bool) -> Section:
    """Submit a job every 20 ms to an idle worker, and ask each for when it began."""
    client = connect(server.url)
    broker, inspector = Broker(client).dedicated(), Inspector(client)
    count = JOBS // 10 if quick else JOBS
    with processes.worker(server, "--concurrency", "2"):
        _measure(broker, inspector)  # waits until the worker is up
        waits = []
        for n in range(count):
            time.sleep(PAUSE_SECONDS)
            waits.append(_measure(broker, inspector))
            progress.show(n + 1, count, "submitting")
    median, p99, longest = spread(waits)

    def draw(axes: Axes) -> None:
        axes.hist([min(wait, 5.0) for wait in waits], bins=60)
        axes.set_xlabel("submit to start, ms (5 and more together)")
        axes.set_ylabel("jobs")

    return Section(
        name="idle",
        title="Submit to start on an idle worker",
        text=f"{count} jobs, one every {PAUSE_SECONDS * 1000:.0f} ms; the time includes the submission itself.",
        header=["jobs", "median, ms", "p99, ms", "longest, ms"],
        rows=[[str(count), f"{median:.2f}", f"{p99:.2f}", f"{longest:.2f}"]],
        draw=draw,
        ratios={"idle_p50_ms": median, "idle_p99_ms": p99},
    )


def _measure(broker: Broker, inspector: Inspector) -> float:
    """Submit one job and return the milliseconds until its handler began."""
    submitted = time.time()
    job_id = broker.enqueue("default", NewJob.of("bench.stamp")).id
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        time.sleep(0.005)
        result = inspector.job(job_id).result
        if result is not None:
            return float(json.loads(result) - submitted) * 1000
    raise JobNotFound(job_id)
