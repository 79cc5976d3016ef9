"""Run the measurements and write results.md, results.json and plots."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import authorization, depth, idle, throughput
from benchmarks.report import Progress, Section, write
from queueing.embedded import EmbeddedServer

FOLDER = Path(__file__).parent
BENCHMARKS = {
    "authorization": authorization.run,
    "depth": depth.run,
    "idle": idle.run,
    "throughput": throughput.run,
}


def main() -> int:
    """Run what was asked for, each benchmark on a server of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test, not a measurement")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="where the results go")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    for name in options.only or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="bench-") as var_dir, EmbeddedServer(Path(var_dir)) as server:
            sections.append(BENCHMARKS[name](server, Progress(name), options.quick))
    write(options.out, sections, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
