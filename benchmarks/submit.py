"""Jobs that are submitted over HTTP a second: one a call against other views, and a thousand a call."""

from __future__ import annotations

import json
from contextlib import ExitStack

from matplotlib.axes import Axes

from benchmarks import sites
from benchmarks.arena import Arena, arena
from benchmarks.contestants import RAW
from benchmarks.ours import PAYLOAD
from benchmarks.report import Plan, Progress, Section, bars, spread_text
from benchmarks.rounds import Figures, Rounds, interleave
from benchmarks.sites import Site

ROUNDS = 7
SECONDS = 4.0
WARM_SECONDS = 0.5
PROCESSES = 2
CONNECTIONS = 32
BULK_CONNECTIONS = 4
BULK_JOBS = 1_000
RAW_CALLS = 60
BARE, OURS, OURS_QUIET, DRF = (
    "bare Django view",
    "POST /jobs",
    "POST /jobs, LOG_LEVEL=WARNING",
    "DRF serializer, Celery delay",
)
RAW_BULK, OURS_BULK = "raw script, 1,000 a trip", "POST /jobs/bulk, 1,000 a call"
JOB = {"kind": "bench.noop", "payload": PAYLOAD}
_BODY = json.dumps(JOB).encode()
_BULK_BODY = json.dumps({"jobs": [JOB] * BULK_JOBS}).encode()


def run(plan: Plan, progress: Progress) -> Section:
    """Put the same load on each site in turn, several times over; all of them run all the time."""
    with arena() as field, ExitStack() as stack:
        served = {
            BARE: stack.enter_context(sites.bare(field, PROCESSES)),
            OURS: stack.enter_context(sites.api(field, PROCESSES)),
            OURS_QUIET: stack.enter_context(sites.api(field, PROCESSES, LOG_LEVEL="WARNING")),
        }
        if plan.has_peers:
            served[DRF] = stack.enter_context(sites.drf(field, PROCESSES))
        for site in served.values():
            site.load(_BODY, CONNECTIONS, WARM_SECONDS)
        others = [name for name in served if name != BARE]
        rounds = interleave(BARE, others, lambda name: one(field, served[name], plan), plan.rounds(ROUNDS), progress)
    return _section(rounds)


def one(field: Arena, site: Site, plan: Plan) -> Figures:
    """Submit jobs one a call, on 32 connections."""
    return _load(field, site, _BODY, CONNECTIONS, 1, plan)


def _load(field: Arena, site: Site, body: bytes, connections: int, jobs: int, plan: Plan) -> Figures:
    field.fresh()
    cpu, server_cpu = site.tree.cpu_seconds(), field.server.cpu_seconds()
    took = site.load(body, connections, max(SECONDS / 4, 1.0) if plan.is_quick else SECONDS)
    total = took["total"] * jobs
    stored = _stored(field)
    if stored != total:
        raise RuntimeError(f"{total:.0f} jobs were taken, and {stored} are there")
    return {
        "rate": took["rate"] * jobs,
        "p50": took["p50_ms"],
        "p99": took["p99_ms"],
        "site": (site.tree.cpu_seconds() - cpu) / total * 1e6,
        "client": took["cpu_seconds"] / total * 1e6,
        "server": (field.server.cpu_seconds() - server_cpu) / total * 1e6,
    }


def _stored(field: Arena) -> int:
    """Return how many jobs wait, ours or Celery's."""
    client = field.server.client
    return int(client.zcard("jobs:{default}:ready")) + int(client.llen("celery"))


def run_bulk(plan: Plan, progress: Progress) -> Section:
    """Submit a thousand jobs a call, and the same number a trip by the raw script, in turn."""
    with arena() as field, sites.api(field, PROCESSES, "/api/v1/jobs/bulk") as site:
        site.load(_BULK_BODY, BULK_CONNECTIONS, WARM_SECONDS)

        def measure(name: str) -> Figures:
            return raw_bulk(field, plan) if name == RAW_BULK else bulk(field, site, plan)

        rounds = interleave(RAW_BULK, [OURS_BULK], measure, plan.rounds(ROUNDS), progress)
    return _bulk_section(rounds)


def bulk(field: Arena, site: Site, plan: Plan) -> Figures:
    """Submit jobs a thousand a call, on four connections."""
    return _load(field, site, _BULK_BODY, BULK_CONNECTIONS, BULK_JOBS, plan)


def raw_bulk(field: Arena, plan: Plan) -> Figures:
    """Submit jobs a thousand a trip from one process."""
    field.fresh()
    took = field.produce(RAW, "send_thousand", plan.size(RAW_CALLS))
    return {"rate": took["calls"] * BULK_JOBS / took["seconds"]}


def _section(rounds: Rounds) -> Section:
    names = rounds.names()

    def draw(axes: Axes) -> None:
        bars(axes, {name: rounds.values(name, "rate") for name in names}, "submissions a second")

    return Section(
        name="submit",
        title="Submitting over HTTP",
        text=(
            f"{PROCESSES} processes of granian each, {CONNECTIONS} connections kept alive, payloads of 100 bytes. The "
            "client runs on the same machine and its CPU time counts, alike for all; it is the column `client`. The "
            "bare view parses JSON and sends the same command to the database; it checks nothing and has no middleware."
        ),
        header=[
            "view",
            "submissions/s",
            "min-max",
            "x bare",
            "min-max",
            "median, ms",
            "p99, ms",
            "view CPU, µs",
            "client CPU, µs",
            "server CPU, µs",
        ],
        rows=[
            [
                name,
                *spread_text(rounds.values(name, "rate"), ",.0f"),
                *spread_text(rounds.relative(name, "rate"), ".2f"),
                *(f"{rounds.median(name, key):,.1f}" for key in ("p50", "p99")),
                *(f"{rounds.median(name, key):,.0f}" for key in ("site", "client", "server")),
            ]
            for name in names
        ],
        draw=draw,
        ratios={
            "submit_vs_bare_view": rounds.ratio(OURS, BARE, "rate"),
            "submit_vs_drf_celery": rounds.ratio(OURS, DRF, "rate"),
        },
        figures={
            "submit_per_second": rounds.median(OURS, "rate"),
            "submit_processes": PROCESSES,
            "submit_api_cpu_us": rounds.median(OURS, "site"),
            "submit_server_cpu_us": rounds.median(OURS, "server"),
        },
    )


def _bulk_section(rounds: Rounds) -> Section:
    return Section(
        name="bulk",
        title="Submitting over HTTP in bulk",
        text=(
            f"`POST /jobs/bulk` on {BULK_CONNECTIONS} connections to {PROCESSES} processes, against one process that "
            "sends a thousand calls of the raw script a trip."
        ),
        header=["how", "jobs/s", "min-max", "x raw", "min-max"],
        rows=[
            [
                name,
                *spread_text(rounds.values(name, "rate"), ",.0f"),
                *spread_text(rounds.relative(name, "rate"), ".2f"),
            ]
            for name in rounds.names()
        ],
        ratios={"bulk_submit_vs_raw": rounds.ratio(OURS_BULK, RAW_BULK, "rate")},
        figures={
            "bulk_jobs_per_second": rounds.median(OURS_BULK, "rate"),
            "bulk_api_cpu_us": rounds.median(OURS_BULK, "site"),
            "bulk_server_cpu_us": rounds.median(OURS_BULK, "server"),
        },
    )
