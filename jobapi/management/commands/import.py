"""`manage.py import FILE`: the jobs that `export` wrote, beside those that are there."""  # noqa: N999 - the command is called so

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from jobapi.management.terminal import ProgressLine, counted, ending_in_order
from queueing.conf import get_patient_store, known_queues
from queueing.portable import Imported, Importer

EXIT_REFUSED = 1


class Command(BaseCommand):
    """Import the lines and say what became of them."""

    help = (
        "Store the jobs of an export, each in its state and at its place; one that is there already is left "
        "alone, so a file may be imported again. Limits and pauses are taken over for queues that were never used "
        "here. A line that cannot be stored is reported with its number, and the rest is imported. max_depth does "
        "not hold back what is imported. Needs the database's user `admin` of users.acl. Exit codes: 0 every line "
        "is stored or was there, 1 some are not, or the database could not be used: import again, which goes on."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", metavar="FILE", help="written by `export`; - for standard input")
        parser.add_argument("--strict", action="store_true", help="stop at the first line that cannot be stored")
        parser.add_argument("--check", action="store_true", help="only read the file and report what cannot be stored")

    def handle(self, *_: Any, **options: Any) -> None:
        """Import, and exit with 1 when a line was refused."""
        line = ProgressLine(sys.stderr)
        importer = Importer(
            get_patient_store(),
            known_queues(),
            lambda number, reason: self.report(line, number, reason),
            strict=options["strict"],
            check_only=options["check"],
        )
        with ending_in_order(line, "run it again, and it goes on."):
            name = options["file"]
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                done = importer.read(file, lambda jobs: line("jobs", jobs))
        self.say(done, check_only=options["check"])
        if done.refused:
            sys.exit(EXIT_REFUSED)

    def report(self, line: ProgressLine, number: int, reason: str) -> None:
        """Tell of a line that is refused."""
        line.clear()
        self.stderr.write(f"line {number}: {reason}")

    def say(self, done: Imported, *, check_only: bool) -> None:
        """Print what became of the file."""
        for queue in done.adopted:
            self.stdout.write(f"ok       queue {queue}: limits and pause taken over")
        for queue in done.kept:
            self.stdout.write(f"ok       queue {queue}: was used before and keeps its limits and pause")
        what = "would be imported" if check_only else "imported"
        self.stdout.write(f"ok       {counted(done.stored, 'job')} {what}, {done.existed:,} were there already")
        if done.refused:
            self.stdout.write(f"fault    {counted(done.refused, 'line')} refused")
