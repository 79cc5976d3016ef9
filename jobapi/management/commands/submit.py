"""Submit a job from a shell."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from jobapi import schemas
from queueing import InvalidJob, NewJob, QueueingError, State, StoreUnavailable
from queueing.conf import get_broker, get_inspector, known_queues

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.02, 1.0  # between two looks at a job, doubling


class Command(BaseCommand):
    """Parse the arguments, print the job, and tell by the exit code what became of it."""

    help = "Submit a job and print it as JSON. With --wait: exit code 0 when it succeeded, 1 otherwise."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("kind", help="names the handler, such as echo")
        parser.add_argument("--payload", default="null", metavar="JSON", help="any JSON value (default: null)")
        parser.add_argument("--queue", help="a known queue (default: the first one)")
        parser.add_argument("--priority", type=int, default=0, help="0 to 9, higher ones are served first (default: 0)")
        parser.add_argument("--delay", type=float, metavar="SECONDS", help="how long the job waits before it may run")
        parser.add_argument("--wait", action="store_true", help="wait until the job has finished, and print it then")
        parser.add_argument(
            "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long --wait waits (default: 60)"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Submit, perhaps wait, and print."""
        try:
            job = self.submit(options)
            if options["wait"]:
                job = wait_for(job.id, options["timeout"])
        except StoreUnavailable as error:
            raise CommandError(f"The database cannot be used: {error.reason}") from None
        except InvalidJob as error:
            raise CommandError(f"{error.field} {error.reason}") from None
        except QueueingError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(printed(job))
        self.conclude(job, waited=options["wait"])

    def submit(self, options: dict[str, Any]) -> schemas.Job:
        """Store the job that the arguments describe."""
        queue = options["queue"] or known_queues()[0]
        if queue not in known_queues():
            raise CommandError(f"There is no queue {queue}; the known queues are: {', '.join(known_queues())}")
        job = NewJob(
            kind=options["kind"],
            payload=options["payload"].encode(errors="surrogateescape"),
            priority=options["priority"],
            delay_seconds=options["delay"],
        )
        return schemas.Job.created(queue, job, get_broker().enqueue(queue, job))

    def conclude(self, job: schemas.Job, *, waited: bool) -> None:
        """End with exit code 1 when a job that was waited for has not succeeded."""
        if not waited or job.state is State.SUCCEEDED:
            return
        if not job.state.is_finished:
            self.stderr.write(f"The job is still {job.state}.")
        sys.exit(1)


def wait_for(job_id: str, timeout_seconds: float) -> schemas.Job:
    """Return a job once it has finished, or as it is when the time is over."""
    inspector = get_inspector()
    deadline = time.monotonic() + timeout_seconds
    pause = FIRST_LOOK_SECONDS
    while True:
        job = inspector.job(job_id)
        left = deadline - time.monotonic()
        if job.state.is_finished or left <= 0:
            return schemas.Job.of(job)
        time.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_LOOK_SECONDS)


def printed(document: msgspec.Struct) -> str:
    """Return a struct as JSON for a person to read."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
