"""`manage.py backup FILE`: every job of every queue in one file, proved to be readable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from jobapi.management.terminal import ProgressLine, ending_in_order, written
from queueing.archives import Manifest
from queueing.backup import Options, back_up
from queueing.conf import get_patient_store


class Command(BaseCommand):
    """Write a backup and say what is in it."""

    help = (
        "Write a backup of the database server of REDIS_URL (each primary of a cluster) as it is at one instant, "
        "over the network and beside a live system. Before FILE gets its name a private server loads it and every "
        "job is compared with the places it is in. Needs a user of the database that may do anything (`admin` of "
        "users.acl), as much memory here as the data takes, and twice its space beside FILE. Django's own "
        "database is not in it. docs/backup.md has the drill. Exit codes: 0 the backup is there, 1 it is not."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, metavar="FILE", help="where to write it; must not exist")
        add_server_program(parser)
        parser.add_argument(
            "--allow-faults",
            action="store_true",
            help="keep the backup although some jobs are not where their records say (see `doctor`)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Write it, and print a line for each queue."""
        line = ProgressLine(sys.stderr)
        how = Options(program=options["server_program"], faults_allowed=options["allow_faults"])
        with ending_in_order(line, "there is no backup."):
            manifest = back_up(get_patient_store(), options["file"], how, line)
        self.say(manifest)

    def say(self, manifest: Manifest) -> None:
        """Print what is in the backup."""
        for part in manifest.parts:
            self.stdout.write(f"ok       {part.name}: {part.bytes:,} bytes of {part.server}, loaded and examined")
        for content in manifest.queues:
            faults = f"; {content.faults} not where their records say" if content.faults else ""
            self.stdout.write(f"ok       queue {content.queue}: {written(content.counts)}{faults}")
        self.stdout.write(f"ok       has all that was accepted until {manifest.created_at:%Y-%m-%dT%H:%M:%S.%fZ}")


def add_server_program(parser: argparse.ArgumentParser) -> None:
    """Declare the option that names a server other than our own."""
    parser.add_argument(
        "--server-program",
        type=Path,
        metavar="PATH",
        help="a valkey-server or redis-server to load the backup with, when the one that comes with this cannot",
    )
