"""Show the queues at a shell."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from jobapi import schemas
from queueing import QueueingError, StoreUnavailable
from queueing.conf import get_inspector, known_queues

REFRESH_SECONDS = 1.0
CLEAR_SCREEN = "\x1b[H\x1b[2J"  # cursor home, erase display (ECMA-48)


class Command(BaseCommand):
    """Print a table of the queues, once or each second."""

    help = "Show each queue: jobs per state, age of the oldest ready one, rates of the last minute, workers, pauses."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--json", action="store_true", help="print JSON, as GET /api/v1/queues answers it")
        parser.add_argument("--watch", action="store_true", help="print anew each second, until Ctrl-C")

    def handle(self, *_: Any, **options: Any) -> None:
        """Print once, or go on until the person at the shell has seen enough."""
        show = as_json if options["json"] else as_table
        try:
            self.print_once(show, redraw=False)
            while options["watch"]:
                time.sleep(REFRESH_SECONDS)
                self.print_once(show, redraw=self.stdout.isatty() and not options["json"])
        except KeyboardInterrupt:
            return

    def print_once(self, show: Any, *, redraw: bool) -> None:
        """Read the figures and print them."""
        try:
            figures = get_inspector().stats_of(known_queues())
        except StoreUnavailable as error:
            raise CommandError(f"The database cannot be used: {error.reason}") from None
        except QueueingError as error:
            raise CommandError(str(error)) from None
        text = show([schemas.Queue.of(stats) for stats in figures])
        self.stdout.write(CLEAR_SCREEN + text if redraw else text)


def as_json(queues: Sequence[schemas.Queue]) -> str:
    """Return the queues as one line of JSON."""
    return msgspec.json.encode(schemas.QueuePage(items=list(queues))).decode()


def as_table(queues: Sequence[schemas.Queue]) -> str:
    """Return the queues as a table with a line for each."""
    states = schemas.Counts.__struct_fields__
    rows = [["queue", *states, "oldest", "in/min", "done/min", "failed/min", "workers", "paused"]]
    rows += [_row(queue, states) for queue in queues]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _row(queue: schemas.Queue, states: Sequence[str]) -> list[str]:
    rates = queue.rates_per_minute
    return [
        queue.name,
        *(str(getattr(queue.counts, state)) for state in states),
        age(queue.oldest_ready_age_seconds),
        str(rates.submitted),
        str(rates.succeeded),
        str(rates.failed),
        str(queue.workers),
        _pause(queue),
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row in columns: words to the left, figures to the right."""
    first, *figures, last = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in figures), last[0]]
    return "  ".join(cells).rstrip()


def _pause(queue: schemas.Queue) -> str:
    """Return whether, why and until when a queue is paused; what a person wrote is kept on the line."""
    if not queue.paused:
        return "no"
    until = f" until {queue.paused_until}" if queue.paused_until else ""
    reason = "".join(char if char.isprintable() else " " for char in queue.paused_reason or "")
    return f"yes{until}" + (f": {reason}" if reason else "")


def age(seconds: float | None) -> str:
    """Return an age in the unit that fits it."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.1f}s"
