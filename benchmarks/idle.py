"""How long a job waits for an idle worker: from before the call that submits it to the first line of its handler."""

from __future__ import annotations

import time

import matplotlib as mpl
from matplotlib.axes import Axes

from benchmarks import contestants
from benchmarks.arena import CALM_SECONDS, Arena, arena
from benchmarks.contestants import OURS_1, OURS_16, RAW, Contestant
from benchmarks.report import Plan, Progress, Section, colour_of, percentile, spread_text
from benchmarks.rounds import Figures, Rounds, interleave

ROUNDS = 3
SECONDS = 4.0  # of submissions, a turn
SHOWN_MS = 0.3, 1_000


def run(plan: Plan, progress: Progress) -> Section:
    """Submit jobs to each idle worker in turn, with pauses."""
    peers = contestants.PEER_CONTESTANTS if plan.has_peers else ()
    by_name = {contestant.name: contestant for contestant in (RAW, OURS_1, OURS_16, *peers)}
    waits: dict[str, list[float]] = {name: [] for name in by_name}
    with arena() as field:

        def turn(name: str) -> Figures:
            figures, waited = measure(field, by_name[name], plan)
            waits[name] += waited
            return figures

        others = [name for name in by_name if name != RAW.name]
        rounds = interleave(RAW.name, others, turn, plan.rounds(ROUNDS), progress)
    return _section(rounds, waits)


def measure(field: Arena, who: Contestant, plan: Plan) -> tuple[Figures, list[float]]:
    """Start a worker, let it come to rest, weigh it, and submit; return figures and all the milliseconds waited."""
    field.fresh()
    jobs = plan.size(round(SECONDS / who.pause_seconds))
    with field.worker(who) as tree:
        field.produce(who, "send_stamp", 1)
        field.wait(lambda: bool(field.stamps()))
        time.sleep(CALM_SECONDS)
        memory = tree.memory_mib()
        field.forget_stamps()
        field.produce(who, "send_stamp", jobs, who.pause_seconds)
        field.wait(lambda: len(field.stamps()) >= jobs)
    waited = [seconds * 1000 for seconds in field.stamps()[jobs // 10 :]]
    figures = {"p50": percentile(waited, 0.5), "p99": percentile(waited, 0.99)}
    return {**figures, "processes": len(memory), "rss": max(memory)[0], "pss": sum(pss for _, pss in memory)}, waited


def _section(rounds: Rounds, waits: dict[str, list[float]]) -> Section:
    names = sorted(waits, key=lambda name: rounds.median(name, "p50"))

    def draw(axes: Axes) -> None:
        others = iter(mpl.colormaps["tab20"].colors)
        for name in names:
            shares = [100 * (n + 1) / len(waits[name]) for n in range(len(waits[name]))]
            colour, style = colour_of(name), "--" if name == OURS_16.name else "-"
            width = 2.5 if colour else 1.2
            axes.plot(sorted(waits[name]), shares, style, label=name, color=colour or next(others), linewidth=width)
        axes.set(xscale="log", xlim=SHOWN_MS, xlabel="submit to start, ms", ylabel="% of jobs that have started")
        axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))

    one, raw = OURS_1.name, RAW.name
    return Section(
        name="idle",
        title="Submit to start on an idle worker",
        text=(
            f"A job every {RAW.pause_seconds * 1000:.0f} ms (for RQ, which cannot do as many, 100 ms); the time has "
            "the call that submits it in it. Memory is that of an idle worker command: the resident set of its largest "
            "process, and the proportional set of all of them, in which what they share is counted once."
        ),
        header=[
            "worker",
            "median, ms",
            "min-max",
            "x raw",
            "min-max",
            "p99, ms",
            "x raw",
            "RSS, MiB",
            "PSS, MiB",
            "processes",
        ],
        rows=[
            [
                name,
                *spread_text(rounds.values(name, "p50"), ".2f"),
                *spread_text(rounds.relative(name, "p50"), ".2f"),
                f"{rounds.median(name, 'p99'):.2f}",
                spread_text(rounds.relative(name, "p99"), ".2f")[0],
                *(f"{rounds.median(name, key):.0f}" for key in ("rss", "pss", "processes")),
            ]
            for name in names
        ],
        draw=draw,
        ratios={
            "idle_p50_vs_raw": rounds.ratio(one, raw, "p50"),
            "idle_p99_vs_raw": rounds.ratio(one, raw, "p99"),
            "worker_rss_mib": rounds.median(one, "rss"),
        },
        figures={
            "idle_p50_ms": rounds.median(one, "p50"),
            "idle_p99_ms": rounds.median(one, "p99"),
            "worker_pss_mib": rounds.median(one, "pss"),
        },
    )
