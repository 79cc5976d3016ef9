"""Run the measurements and write results.md, results.json and plots."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from redis.exceptions import RedisError

from benchmarks import authorization, contestants, depth, drain, enqueue, idle, scaling, soak, submit
from benchmarks.report import Plan, Progress, Section, write
from queueing import QueueingError

FOLDER = Path(__file__).resolve().parent
SCRATCH = FOLDER.parent / "var" / "benchmarks"
BENCHMARKS: dict[str, Callable[[Plan, Progress], Section]] = {
    "drain": drain.run,
    "enqueue": enqueue.run,
    "submit": submit.run,
    "bulk": submit.run_bulk,
    "idle": idle.run,
    "depth": depth.run,
    "authorization": authorization.run,
    "soak": soak.run,
}


def main() -> int:
    """Run what was asked for; only a whole run at full length replaces the results that are kept here."""
    options = arguments().parse_args()
    plan = Plan(
        is_quick=options.quick,
        has_peers=not options.no_peers,
        told_rounds=options.rounds,
        soak_minutes=options.soak_minutes,
    )
    if plan.has_peers and (missing := contestants.missing_peers()):
        print(f"not installed: {', '.join(missing)}; `make peers` does, --no-peers goes without", file=sys.stderr)
        return 1
    names = options.only or list(BENCHMARKS)
    sections = [section for name in names if (section := run(name, plan))]
    is_whole = plan.has_peers and len(sections) == len(BENCHMARKS)
    folder = (options.out or (FOLDER if is_whole and not plan.is_quick else SCRATCH)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, sections, plan, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    if is_whole and folder == FOLDER:
        scaling.update()
    print(f"written to {folder}", file=sys.stderr)
    return 0 if len(sections) == len(names) else 1


def run(name: str, plan: Plan) -> Section | None:
    """Run a benchmark; one that fails says why, and costs the hour of the others nothing."""
    try:
        return BENCHMARKS[name](plan, Progress(name))
    except (OSError, RuntimeError, RedisError, QueueingError, subprocess.SubprocessError):
        traceback.print_exc()
        print(f"{name} failed; its figures are missing", file=sys.stderr)
        return None


def arguments() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, one round: no measurement")
    parser.add_argument("--no-peers", action="store_true", help="leave out other queues: ours and the limits alone")
    parser.add_argument("--rounds", type=int, metavar="N", help="take so many turns in each benchmark")
    parser.add_argument("--soak-minutes", type=float, default=30.0, metavar="N", help="length of the long run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
