"""`manage.py export FILE`: jobs as lines of JSON, for another installation or another release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand

from jobapi.management.terminal import ProgressLine, counted, ending_in_order
from queueing import State
from queueing.conf import get_patient_store
from queueing.files import new_file
from queueing.portable import Exported, export_jobs

EXIT_INCOMPLETE = 1


class Command(BaseCommand):
    """Write the lines and say how many."""

    help = (
        "Write queues (limits, pause) and jobs (in whatever state, payloads byte by byte) as lines of JSON, which "
        "`import` reads into any installation of this or a later release; docs/backup.md explains each name. It "
        "runs beside a live system and is no instant: stop the API and workers for one, or use `backup`. Needs a "
        "user of the database that may look at all keys (`admin` of users.acl). Exit codes: 0 all is written, 1 "
        "it is not, or damaged jobs were left out, each named on standard error."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", metavar="FILE", help="where to write it, must not exist; - for standard output")
        parser.add_argument("--queue", action="append", default=[], help="only this queue; may be repeated")
        parser.add_argument(
            "--state",
            action="append",
            default=[],
            type=State,
            choices=list(State),
            help="only jobs in this state; may be repeated",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Write, and exit with 1 when something was left out."""
        line = ProgressLine(sys.stderr)
        with ending_in_order(line, "there is no export."):
            if options["file"] == "-":
                done = self.write(sys.stdout.buffer, options, line)
                sys.stdout.buffer.flush()
            else:
                with new_file(Path(options["file"])) as file:
                    done = self.write(file, options, line)
        self.stderr.write(f"{counted(done.jobs, 'job')} of {counted(done.queues, 'queue')} written")
        if done.damaged:
            sys.exit(EXIT_INCOMPLETE)

    def write(self, file: BinaryIO, options: dict[str, Any], line: ProgressLine) -> Exported:
        """Write the lines into a file."""
        return export_jobs(
            get_patient_store(),
            file,
            queues=options["queue"],
            states=options["state"],
            report=lambda text: self.report(line, text),
            progress=lambda jobs: line("jobs", jobs),
        )

    def report(self, line: ProgressLine, text: str) -> None:
        """Tell of what is damaged."""
        line.clear()
        self.stderr.write(f"left out: {text}")
