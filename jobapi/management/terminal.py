"""What commands that take a while share: a line of progress on a terminal, and an end in order whatever happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from django.core.management.base import CommandError

from queueing import BackupError, QueueingError, StoreUnavailable, TargetUnfit

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h
REDRAW_SECONDS = 0.1
CLEAR_LINE = "\r\x1b[K"  # erase to the end of the line (ECMA-48)


class ProgressLine:
    """One line that is written again and again; nothing at all unless a person looks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shows = stream.isatty()
        self._drawn_at = float("-inf")

    def __call__(self, what: str, done: int, total: int | None = None) -> None:
        """Show how far it is, ten times a second at most."""
        if not self._shows or time.monotonic() - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = time.monotonic()
        share = f" of {total:,} ({done / total:.0%})" if total else ""
        figures = f" {done:,}{share}" if done else ""
        self._stream.write(f"{CLEAR_LINE}{what}{figures}")
        self._stream.flush()

    def clear(self) -> None:
        """Leave no trace of it."""
        if self._shows:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()


@contextmanager
def ending_in_order(line: ProgressLine, after_interrupt: str) -> Iterator[None]:
    """Turn what ends a command early, TERM and Ctrl-C too, into one line and an exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except StoreUnavailable as error:
        raise CommandError(f"The database cannot be used: {error.reason}") from None
    except TargetUnfit as error:
        raise CommandError(str(error), returncode=EXIT_CONFIGURATION) from None
    except (BackupError, QueueingError, OSError) as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted: {after_interrupt}", returncode=130) from None
    finally:
        line.clear()


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, such as `1 job` or `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def written(counts: dict[Any, int]) -> str:
    """Return counts per state, those that are not zero."""
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "no jobs"
