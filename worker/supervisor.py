"""Several worker processes under one parent: started together, replaced when they die, stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from worker.runner import EXIT_UNAVAILABLE
from worker.service import Service
from worker.signals import StopRequest
from worker.watchdog import EXIT_STUCK

logger = logging.getLogger(__name__)

PARENT_VARIABLE = "RUNWORKER_PARENT"  # a child ends in order when this process is gone
NUMBER_VARIABLE = "RUNWORKER_NUMBER"  # which of the children this is, from 0; its successor has the same
CRASHED_VARIABLE = "RUNWORKER_CRASHED"  # 1: the child takes the place of one that died
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again cannot help
FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
POLL_SECONDS = 0.05
STEADY_SECONDS = 60.0  # a child that lived this long starts again without delay growing
FINAL_CODES = (0, EXIT_UNAVAILABLE, EXIT_CONFIGURATION)  # 69 is of a drain: who ordered it orders the next


@dataclass(slots=True)
class Child:
    """One worker process, or the wait until it is started again."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    restarts: int = 0
    has_crashed: bool = False
    exit_code: int | None = None


class Supervisor:
    """Runs `count` children of one command line.

    A child that exits with 0 has done what it was told and is not replaced; one that dies is, after a delay that
    grows while it keeps dying. One that was stuck, most often because the database was away for long, is replaced
    without: it is to claim within seconds of the database being back. TERM and INT are passed on, and so is the
    second one.
    """

    def __init__(
        self, command: Sequence[str], count: int, stop: StopRequest, *, service: Service | None = None
    ) -> None:
        self._command = list(command)
        self._stop = stop
        self._service = service or Service()
        self._children = [Child(number) for number in range(count)]
        self._told = 0

    def run(self) -> int:
        """Supervise until every child is done; returns the first exit code that is not 0, else 0."""
        self._service.ready()
        while not all(child.exit_code is not None for child in self._children):
            self._service.alive()
            if not self.run_once():
                time.sleep(POLL_SECONDS)
        return next((child.exit_code for child in self._children if child.exit_code), 0)

    def run_once(self) -> int:
        """Start, collect and signal children as is due; returns how many changed."""
        self._pass_on()
        return sum(self._look_after(child) for child in self._children if child.exit_code is None)

    def _look_after(self, child: Child) -> bool:
        if child.process is None:
            return self._start_when_due(child)
        code = child.process.poll()
        if code is None:
            return False
        child.process = None
        self._decide(child, self._exit_code(code))
        return True

    def _exit_code(self, status: int) -> int:
        """Return a child's exit code; one that our signal met before it could listen had claimed nothing."""
        if self._told and status == -self._signal:
            return 0
        return status if status >= 0 else 128 - status

    def _start_when_due(self, child: Child) -> bool:
        if self._stop.requested.is_set():
            child.exit_code = 0
            return True
        if time.monotonic() < child.start_at:
            return False
        environment = {
            **os.environ,
            PARENT_VARIABLE: str(os.getpid()),
            NUMBER_VARIABLE: str(child.number),
            CRASHED_VARIABLE: str(int(child.has_crashed)),
        }
        child.process = subprocess.Popen(self._command, env=environment, process_group=0)  # noqa: S603 - our own command
        child.started_at = time.monotonic()
        return True

    def _decide(self, child: Child, code: int) -> None:
        """Replace a child that died, unless it was told to stop or says that it cannot work."""
        if code in FINAL_CODES or self._stop.requested.is_set():
            child.exit_code = code
            if code == EXIT_CONFIGURATION and not self._stop.requested.is_set():
                self._stop.request()
            return
        child.has_crashed = code != EXIT_STUCK
        lived = time.monotonic() - child.started_at
        child.restarts = 0 if lived > STEADY_SECONDS or code == EXIT_STUCK else child.restarts + 1
        delay = min(LONGEST_RESTART_SECONDS, FIRST_RESTART_SECONDS * 2 ** min(child.restarts, 10))
        child.start_at = time.monotonic() + delay
        logger.error(
            "worker process exited with %s, starting another in %.1f s",
            code,
            delay,
            extra={"action": "child_died", "exit_code": code},
        )

    def _pass_on(self) -> None:
        """Send the stop request on to every child, each of its two steps once.

        One step at a time: two signals sent together arrive as one.
        """
        wanted = int(self._stop.requested.is_set()) + int(self._stop.at_once.is_set())
        if self._told < wanted:
            self._told += 1
            for child in self._children:
                if child.process is not None:
                    child.process.send_signal(self._signal)

    @property
    def _signal(self) -> int:
        return self._stop.signal_number or signal.SIGTERM


def child_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line of a child: this one, with one process."""
    return [sys.executable, sys.argv[0], *arguments]


def is_child() -> bool:
    """Whether a supervisor started this process."""
    return PARENT_VARIABLE in os.environ


def child_number() -> int:
    """Return which of the children of a supervisor this process is, from 0; 0 for a process without one."""
    return int(os.environ.get(NUMBER_VARIABLE, "0"))


def follows_a_crash() -> bool:
    """Whether a supervisor started this process in the place of one that died."""
    return os.environ.get(CRASHED_VARIABLE) == "1"


def parent_is_alive() -> bool:
    """Whether the supervisor that started this process lives; True for a process without one."""
    parent = os.environ.get(PARENT_VARIABLE)
    return parent is None or os.getppid() == int(parent)
