"""Handlers that end in every way a handler can: a cell knows only what it can import."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from worker.context import JobContext
from worker.errors import AttemptInterrupted, GiveUp, RetryLater
from worker.registry import handler

LONG_SECONDS = 30.0


@handler("suspect.echo")
def echo(payload: Any, job: JobContext) -> Any:
    """Return the payload and what the job knows of its attempt."""
    thread = threading.current_thread().name
    return {"payload": payload, "attempt": job.attempt, "fence": job.fence, "thread": thread}


@handler("suspect.pid")
def tell_pid(payload: Any, job: JobContext) -> int:
    """Return the process it runs in."""
    return os.getpid()


@handler("suspect.raise")
def fail(payload: Any, job: JobContext) -> NoReturn:
    """Raise what the payload names."""
    raise {"value": ValueError("wrong"), "later": RetryLater(2.5, "busy"), "never": GiveUp("never")}[payload]


@handler("suspect.exit")
def leave(payload: Any, job: JobContext) -> NoReturn:
    """End the process without a word."""
    os._exit(payload)


@handler("suspect.signal")
def be_killed(payload: Any, job: JobContext) -> None:
    """Get a signal that ends the process."""
    os.kill(os.getpid(), getattr(signal, payload))


@handler("suspect.segfault")
def read_nowhere(payload: Any, job: JobContext) -> None:
    """Read at address 0."""
    faulthandler.disable()  # pytest's would print every thread
    ctypes.string_at(0)


@handler("suspect.work")
def work(payload: Any, job: JobContext) -> None:
    """Say in which process it runs, and who made that, and go on for long in short steps."""
    Path(payload).write_text(f"{os.getpid()} {os.getppid()}")
    until = time.monotonic() + LONG_SECONDS
    while time.monotonic() < until:
        time.sleep(0.005)


@handler("suspect.wait")
def wait(payload: Any, job: JobContext) -> None:
    """Say that it runs, and wait for the job to be cancelled."""
    Path(payload).write_text(str(os.getpid()))
    job.wait(LONG_SECONDS)


@handler("suspect.gate")
def pass_gate(payload: Any, job: JobContext) -> None:
    """Say that it runs, and go on until somebody writes to the file, a pipe by name."""
    Path(payload).write_text(str(os.getpid()))
    Path(payload).read_text()


@handler("suspect.stuck")
def be_stuck(payload: Any, job: JobContext) -> None:
    """Say that it runs, and go on when interrupted, until a program that it started ends; both hold the file open."""
    with Path(payload).open("w") as file:
        program = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG_SECONDS})"], stdout=file)
        with contextlib.suppress(AttemptInterrupted):
            file.write("started\n")
            file.flush()
            program.wait()
        program.wait()


@handler("suspect.progress")
def report(payload: Any, job: JobContext) -> None:
    """Say how far it is, and wait until that was passed on."""
    job.progress(0.5, "half")
    while job._lease.has_progress:
        time.sleep(0.005)


@handler("suspect.extend")
def extend(payload: Any, job: JobContext) -> str:
    """Ask for the lease to be extended."""
    job.extend()
    return "extended"


@handler("suspect.hoard")
def hoard(payload: Any, job: JobContext) -> int:
    """Take as many bytes of memory as the payload says."""
    return len(bytearray(payload))
