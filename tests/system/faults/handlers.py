"""The workload: handlers that write down what they do."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

from tests.system.faults import ledger
from worker.context import JobContext
from worker.registry import handler

STEP_SECONDS = 0.01


def written_down(work: Callable[[Any, JobContext], Any]) -> Callable[[Any, JobContext], Any]:
    """Let a handler leave a line when it starts and when it ends."""

    def run(payload: Any, job: JobContext) -> Any:
        about = {"job": job.id, "pid": os.getpid(), "attempt": job.attempt, "fence": job.fence}
        book = ledger.of_this_process()
        book.write(ledger.STARTED, **about)
        try:
            value = work(payload, job)
        except BaseException as error:
            book.write(ledger.STOPPED, **about, deadline=job._lease.deadline, error=type(error).__name__)
            raise
        book.write(ledger.ENDED, **about, deadline=job._lease.deadline)
        return value

    return run


def write_down_the_end() -> None:
    """Leave a line that this process dies: all that it runs ends with it."""
    ledger.of_this_process().write(ledger.DIED, pid=os.getpid())


def pass_time(seconds: float) -> None:
    """Sleep in short steps, between which an interrupt strikes."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(STEP_SECONDS, left))


@handler("faults.work")
@written_down
def work(payload: Any, job: JobContext) -> None:
    """Take the time that the payload asks for."""
    pass_time(payload["seconds"])


@handler("faults.exit")
@written_down
def leave(payload: Any, job: JobContext) -> None:
    """End the process without a word."""
    write_down_the_end()
    os._exit(9)


@handler("faults.segfault")
@written_down
def read_nowhere(payload: Any, job: JobContext) -> None:
    """Read at address 0."""
    write_down_the_end()
    ctypes.string_at(0)


@handler("faults.loop")
@written_down
def loop(payload: Any, job: JobContext) -> None:
    """Never end."""
    while True:
        pass


@handler("faults.recurse")
@written_down
def recurse(payload: Any, job: JobContext) -> None:
    """Call itself for ever."""

    def deeper() -> None:
        deeper()

    deeper()


@handler("faults.hoard")
@written_down
def hoard(payload: Any, job: JobContext) -> None:
    """Take 2 GiB of memory, and fill it."""
    bytearray(2 * 1024**3)
