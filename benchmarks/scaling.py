"""The tables of docs/scaling.md, worked out from results.json.

    python -m benchmarks.scaling

writes them anew; a run that replaces results.json does so by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parent / "docs" / "scaling.md"
RESULTS = FOLDER / "results.json"
BEGIN, END = "<!-- worked out by benchmarks/scaling.py: -->\n", "<!-- end -->\n"

JOBS_A_DAY = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
DAY_SECONDS = 86_400
PEAK = 3  # times the mean
LOAD = 0.7  # of a process's or server's time that is planned for
BACKLOG_SECONDS = 3_600

Figures = Mapping[str, float]


def server_us(figures: Figures) -> tuple[float, float]:
    """Return the CPU time of the database server for a job's whole life: submitted alone, and in bulk."""
    run = figures["drain_c16_server_cpu_us"]
    return figures["submit_server_cpu_us"] + run, figures["bulk_server_cpu_us"] + run


def measured(results: Mapping[str, Any]) -> list[list[str]]:
    """Return what one of each was seen to carry."""
    figures, ratios = results["figures"], results["ratios"]
    one, bulk = server_us(figures)
    return [
        ["2 API processes, `POST /jobs`", f"{figures['submit_per_second']:,.0f} submissions/s", "all on 2 cores"],
        ["2 API processes, `POST /jobs/bulk`", f"{figures['bulk_jobs_per_second']:,.0f} jobs/s", "1,000 a call"],
        ["1 program, `Broker.enqueue`", f"{figures['enqueue_one_jobs_per_second']:,.0f} jobs/s", "one at a time"],
        ["1 program, `Broker.enqueue_many`", f"{figures['enqueue_bulk_jobs_per_second']:,.0f} jobs/s", "in hundreds"],
        ["1 worker process, 1 slot", f"{figures['drain_c1_jobs_per_second']:,.0f} jobs/s", "handlers that do nothing"],
        ["1 worker process, 16 slots", f"{figures['drain_c16_jobs_per_second']:,.0f} jobs/s", "the same"],
        ["CPU of an API process, a submission", f"{figures['submit_api_cpu_us']:,.0f} µs", "one a call"],
        ["CPU of an API process, a job in bulk", f"{figures['bulk_api_cpu_us']:,.0f} µs", "1,000 a call"],
        ["CPU of a worker process, a job", f"{figures['drain_c16_worker_cpu_us']:,.0f} µs", "16 slots"],
        ["CPU of the database server, a job", f"{one:,.0f} µs; in bulk {bulk:,.0f} µs", "submit, claim and ack"],
        ["memory of the database server, a ready job", f"{ratios['bytes_per_job']:,.0f} B", "100 bytes of payload"],
        ["journal, a job", f"{journal_bytes(figures):,.0f} B", "submit, claim and ack; before it is rewritten"],
    ]


def journal_bytes(figures: Figures) -> float:
    """Return how much a job adds to the journal in its life."""
    return figures["enqueue_one_journal_bytes"] + figures["drain_c16_journal_bytes"]


def sizing(results: Mapping[str, Any]) -> list[list[str]]:
    """Return how many of each some numbers of jobs a day need, at the peak."""
    return [_row(jobs, results) for jobs in JOBS_A_DAY]


def _row(jobs_a_day: int, results: Mapping[str, Any]) -> list[str]:
    figures = results["figures"]
    mean = jobs_a_day / DAY_SECONDS
    one, bulk = server_us(figures)
    processes = (
        _processes(mean * PEAK, cost_us)
        for cost_us in (
            figures["submit_api_cpu_us"],
            figures["bulk_api_cpu_us"],
            figures["drain_c16_worker_cpu_us"],
            one,
            bulk,
        )
    )
    backlog = mean * BACKLOG_SECONDS * results["ratios"]["bytes_per_job"] / 1e9
    journal = mean * PEAK * journal_bytes(figures) / 1e6
    return [f"{jobs_a_day:,}", f"{mean:,.0f}", f"{mean * PEAK:,.0f}", *processes, f"{backlog:,.2f}", f"{journal:,.2f}"]


def _processes(jobs_a_second: float, cost_us: float) -> str:
    return f"{math.ceil(jobs_a_second * cost_us / 1e6 / LOAD):,}"


def tables(results: Mapping[str, Any]) -> str:
    """Return the text between the marks of the document."""
    of = f"Run of {results['date']}" + (", with `--quick`: no more than a guess" if results["quick"] else "")
    return "\n".join(
        [
            f"{of}; [benchmarks/results.md](../benchmarks/results.md) has the machine, the versions and the spread.\n",
            "**Measured**\n",
            _table(["what", "figure", ""], measured(results)),
            "",
            "**Arithmetic** (CPU time a job, from above; nobody has run this)\n",
            _table(
                [
                    "jobs a day", "mean/s", "peak/s", "API processes", "the same, in bulk", "worker processes",
                    "database servers", "the same, in bulk", "backlog of an hour, GB", "journal at the peak, MB/s",
                ],
                sizing(results),
            ),
            "",
        ]
    )  # fmt: skip


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def with_tables(text: str, results: Mapping[str, Any]) -> str:
    """Return the document with its tables made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + tables(results) + "\n" + END + rest.split(END)[1]


def update() -> None:
    """Write the tables of the document anew from the results that are kept."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    update()
