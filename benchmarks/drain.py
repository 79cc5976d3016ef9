"""No-op jobs that one worker command finishes a second: ours, the limits and the peers."""

from __future__ import annotations

import statistics
import time

from matplotlib.axes import Axes

from benchmarks import contestants
from benchmarks.arena import Arena, ProcessTree, arena
from benchmarks.contestants import BULLMQ_10, CELERY, DRAMATIQ, OURS_1, OURS_16, OURS_QUIET, RAW, Contestant
from benchmarks.report import Plan, Progress, Section, bars, spread_text
from benchmarks.rounds import Figures, Rounds, interleave

ROUNDS = 4
MEASURED = {
    "jobs_per_second": "rate",
    "worker_cpu_us": "worker",
    "server_cpu_us": "server",
    "journal_bytes": "journal",
}
WARM = 10  # the first tenth of the jobs is not measured: the worker starts


def run(plan: Plan, progress: Progress) -> Section:
    """Drain a full queue with each contestant in turn, several times over."""
    peers = contestants.PEER_CONTESTANTS if plan.has_peers else ()
    taking_part = [OURS_1, OURS_16, *OURS_QUIET, contestants.RAW_DELETING, *peers]
    by_name = {contestant.name: contestant for contestant in (RAW, *taking_part)}
    with arena() as field:
        rounds = interleave(
            RAW.name,
            [contestant.name for contestant in taking_part],
            lambda name: measure(field, by_name[name], plan),
            plan.rounds(ROUNDS),
            progress,
        )
    return _section(rounds, by_name)


def measure(field: Arena, who: Contestant, plan: Plan) -> Figures:
    """Fill the queue, start the worker, and time it from the first tenth of the jobs to the last job."""
    field.fresh()
    jobs = field.fill(who, plan.size(who.jobs))
    field.server.shorten_journal()
    with field.worker(who) as tree:
        field.wait(lambda: field.tally.total() >= jobs // WARM)
        first = _reading(field, tree)
        field.wait(lambda: field.tally.total() >= jobs, 0.002)
        last = _reading(field, tree)
        time.sleep(0.1)  # a job that is run twice would be
        ran = field.tally.total()
    if ran != jobs:
        raise RuntimeError(f"{who.name} ran {ran} of {jobs} jobs")
    counted, seconds, worker_cpu, server_cpu, journal = (
        after - before for before, after in zip(first, last, strict=True)
    )
    return {
        "rate": counted / seconds,
        "worker": worker_cpu / counted * 1e6,
        "server": server_cpu / counted * 1e6,
        "journal": journal / counted,
    }


def _reading(field: Arena, tree: ProcessTree) -> tuple[float, ...]:
    server = field.server
    return field.tally.total(), time.perf_counter(), tree.cpu_seconds(), server.cpu_seconds(), server.journal_bytes()


def _section(rounds: Rounds, by_name: dict[str, Contestant]) -> Section:
    names = sorted(rounds.names(), key=lambda name: -statistics.median(rounds.relative(name, "rate")))
    rows = [
        [
            name,
            by_name[name].note,
            *spread_text(rounds.values(name, "rate"), ",.0f"),
            *spread_text(rounds.relative(name, "rate"), ".2f"),
            f"{rounds.median(name, 'worker'):,.0f}",
            f"{rounds.median(name, 'server'):,.0f}",
        ]
        for name in names
    ]

    def draw(axes: Axes) -> None:
        bars(axes, {name: rounds.relative(name, "rate") for name in names}, "jobs a second, of the raw loop's")

    raw, one, sixteen = RAW.name, OURS_1.name, OURS_16.name
    return Section(
        name="drain",
        title="Draining no-op jobs",
        text=(
            "One worker command each, started on a full queue; payloads of 100 bytes; the first tenth of the jobs is "
            "not measured. `x raw` is the rate divided by that of the raw loop just before and after."
        ),
        header=["worker", "", "jobs/s", "min-max", "x raw", "min-max", "worker CPU, µs a job", "server CPU, µs a job"],
        rows=rows,
        draw=draw,
        ratios={
            "drain_c1_vs_raw": rounds.ratio(one, raw, "rate"),
            "drain_c1_vs_dramatiq": rounds.ratio(one, DRAMATIQ.name, "rate"),
            "drain_c1_vs_celery": rounds.ratio(one, CELERY.name, "rate"),
            "drain_c16_vs_raw": rounds.ratio(sixteen, raw, "rate"),
            "drain_c16_vs_bullmq": rounds.ratio(sixteen, BULLMQ_10.name, "rate"),
        },
        figures={
            f"drain_c{slots}_{what}": rounds.median(name, key)
            for slots, name in ((1, one), (16, sixteen))
            for what, key in MEASURED.items()
        },
    )
