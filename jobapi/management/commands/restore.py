"""`manage.py restore FILE`: the jobs of a backup, into a server that has none."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from jobapi.management.commands.backup import add_server_program
from jobapi.management.terminal import ProgressLine, counted, ending_in_order, written
from queueing.conf import get_patient_store, known_queues
from queueing.restore import Restored, restore


class Command(BaseCommand):
    """Restore a backup and say what is there now."""

    help = (
        "Restore the queues of a backup into the database server (or cluster) of REDIS_URL, which must have no "
        "jobs. Stop the API and all workers first. Everything is written as ordinary commands, so the server's "
        "journal has it; a queue appears when all of it is there. What was running is taken back by the first "
        "worker. Cut short, run it again with the same FILE: it goes on. Exit codes: 0 all is there and examined, "
        "1 it is not, 78 the server's settings would lose jobs."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, metavar="FILE", help="written by `backup`")
        add_server_program(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Restore, and print a line for each queue."""
        line = ProgressLine(sys.stderr)
        with ending_in_order(line, "run it again with the same file, and it goes on."):
            done = restore(
                get_patient_store(),
                options["file"],
                program=options["server_program"],
                volatile_allowed=settings.ALLOW_VOLATILE,
                progress=line,
            )
        self.say(done)

    def say(self, done: Restored) -> None:
        """Print what was restored, and what not."""
        if done.continued:
            self.stdout.write("ok       went on with a restore that was cut short")
        for content in done.manifest.queues:
            self.stdout.write(f"ok       queue {content.queue}: {written(content.counts)}")
            if content.queue not in known_queues():
                self.stdout.write(f"warning  queue {content.queue} is none of QUEUES: nobody serves it")
        for key in done.left_out:
            self.stdout.write(f"warning  {key} is of no queue and was left out")
        if done.left_out_count > len(done.left_out):
            self.stdout.write(f"warning  {done.left_out_count:,} such keys in all")
        self.stdout.write(
            f"ok       {counted(done.keys, 'key')} written and every job examined; other keys are not restored"
        )
        self.stdout.write(f"ok       as of {done.manifest.created_at:%Y-%m-%dT%H:%M:%S.%fZ}")
