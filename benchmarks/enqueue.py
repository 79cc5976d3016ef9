"""Jobs that one process submits a second, one at a time and in hundreds, and what a waiting job weighs."""

from __future__ import annotations

from matplotlib.axes import Axes

from benchmarks import contestants
from benchmarks.arena import Arena, arena
from benchmarks.contestants import BULLMQ_10, OURS_1, RAW, Contestant
from benchmarks.report import Plan, Progress, Section, bars, spread_text
from benchmarks.rounds import Figures, Rounds, interleave

ROUNDS = 7
CALLS_OF_HUNDRED = 100
ONE_RAW, ONE_OURS = "raw script", "Broker.enqueue"
BULK_RAW, BULK_RAW_AT_ONCE, BULK_OURS = "raw script, 100 a trip", "raw script, 100 a call", "Broker.enqueue_many, 100"
_ONE_EACH = {"RQ SimpleWorker", contestants.BULLMQ_1.name}  # these submit as another one does


def run(plan: Plan, progress: Progress) -> Section:
    """Submit with each contestant in turn, several times over."""
    peers = [peer for peer in contestants.PEER_CONTESTANTS if plan.has_peers and peer.name not in _ONE_EACH]
    one = {ONE_OURS: OURS_1, **{_short(peer): peer for peer in peers}}
    bulk = {BULK_OURS: OURS_1, **{f"{_short(peer)}, 100": peer for peer in peers if peer.has_bulk}}
    with arena() as field:
        count = plan.rounds(ROUNDS)
        ones = interleave(
            ONE_RAW,
            list(one),
            lambda name: measure(field, one.get(name, RAW), "send_noop", plan),
            count,
            progress,
        )
        bulks = interleave(
            BULK_RAW,
            [*bulk, BULK_RAW_AT_ONCE],
            lambda name: measure(
                field,
                bulk.get(name, RAW),
                "send_hundred_at_once" if name == BULK_RAW_AT_ONCE else "send_hundred",
                plan,
            ),
            count,
            progress,
        )
    return _section(ones, bulks)


def _short(peer: Contestant) -> str:
    return "BullMQ (Node)" if peer is BULLMQ_10 else peer.name.split(",")[0].split(" ")[0]


def measure(field: Arena, who: Contestant, function: str, plan: Plan) -> Figures:
    """Submit jobs to an empty queue that nobody works on."""
    field.fresh()
    in_bulk = function != "send_noop"
    server = field.server
    memory, cpu, journal = server.memory_bytes(), server.cpu_seconds(), server.journal_bytes()
    calls = plan.size(CALLS_OF_HUNDRED if in_bulk else who.calls)
    took = field.produce(who, function, calls)
    jobs = 100 if in_bulk else 1
    return {
        "rate": took["calls"] * jobs / took["seconds"],
        "client": took["cpu_seconds"] / took["calls"] / jobs * 1e6,
        "server": (server.cpu_seconds() - cpu) / calls / jobs * 1e6,
        "bytes": (server.memory_bytes() - memory) / calls / jobs,
        "journal": (server.journal_bytes() - journal) / calls / jobs,
    }


def _section(ones: Rounds, bulks: Rounds) -> Section:
    rows = [_row(rounds, name) for rounds in (ones, bulks) for name in rounds.names()]

    def draw(axes: Axes) -> None:
        by_name = {name: rounds.values(name, "rate") for rounds in (ones, bulks) for name in rounds.names()}
        bars(axes, by_name, "jobs submitted a second")

    return Section(
        name="enqueue",
        title="Submitting from a program",
        text=(
            "One process, payloads of 100 bytes, nobody works. `x raw` is against the raw script just before and "
            "after, one at a time or a hundred calls of it a trip. A call that takes a hundred jobs at once is no "
            "more than a mark of what the server can do: its jobs are stored together or not at all."
        ),
        header=[
            "producer",
            "jobs/s",
            "min-max",
            "x raw",
            "min-max",
            "client CPU, µs a job",
            "server CPU, µs a job",
            "memory, B a job",
            "journal, B a job",
        ],
        rows=rows,
        draw=draw,
        ratios={
            "enqueue_one_vs_raw": ones.ratio(ONE_OURS, ONE_RAW, "rate"),
            "enqueue_bulk_vs_raw": bulks.ratio(BULK_OURS, BULK_RAW, "rate"),
        },
        figures={
            "enqueue_one_jobs_per_second": ones.median(ONE_OURS, "rate"),
            "enqueue_one_server_cpu_us": ones.median(ONE_OURS, "server"),
            "enqueue_one_journal_bytes": ones.median(ONE_OURS, "journal"),
            "enqueue_bulk_jobs_per_second": bulks.median(BULK_OURS, "rate"),
            "enqueue_bulk_server_cpu_us": bulks.median(BULK_OURS, "server"),
        },
    )


def _row(rounds: Rounds, name: str) -> list[str]:
    return [
        name,
        *spread_text(rounds.values(name, "rate"), ",.0f"),
        *spread_text(rounds.relative(name, "rate"), ".2f"),
        *(f"{rounds.median(name, key):,.0f}" for key in ("client", "server", "bytes", "journal")),
    ]
