"""Suspects, apart: attempts in processes that can die of them without harm to the worker or to other jobs.

A job that was running when its process died is a suspect: it, or one that ran beside it, killed that process. It runs
in a *cell* (worker.cell), which a fork server (worker.forkserver) makes when it is needed.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import cast

from queueing import JobError, QueueingError
from worker.cell import READY, Extend, Extended, Interrupt, Order, Progress
from worker.errors import AttemptInterrupted, LeaseLost
from worker.forkserver import serve
from worker.leases import Lease
from worker.outcomes import Outcome, Verdict, outcome_of, verdict_on
from worker.registry import Handler

START_SECONDS = 30.0  # for a process to be made on a busy machine
YIELD_SECONDS = 5.0  # in which an interrupted handler must have ended; a worker waits longer before it ends itself
END_SECONDS = 1.0  # in which a process that is to end does so by itself
TICK_SECONDS = 0.5

Extension = Callable[[Lease], None]


class CellUnavailable(Exception):
    """No cell could be made."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What leads to a cell: the two connections, and a socket whose other end the fork server has."""

    line: Connection
    side: Connection
    life: socket.socket

    def end(self) -> int | None:
        """Hang up, and return the exit code of the process, which is killed unless it ends; None if nobody knows it."""
        self.line.close()
        self.side.close()
        with self.life, contextlib.suppress(OSError):
            if not wait([self.life], END_SECONDS):
                self.life.shutdown(socket.SHUT_WR)
            self.life.settimeout(END_SECONDS)
            answer = self.life.recv(20)
            return int(answer) if answer else None
        return None

    def close(self) -> None:
        """Hang up."""
        self.line.close()
        self.side.close()
        self.life.close()


class Isolation:
    """The fork server of one worker: forked from it while it has no other thread, and ended with it."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._control: socket.socket | None = None
        self.is_lost = False
        self.is_closed = False

    def start(self) -> None:
        """Fork the fork server, once; it has all that this process has loaded."""
        if self._pid is not None:
            return
        self._control, theirs = socket.socketpair()
        worker_pid = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._control.close()
            serve(theirs, self._handlers, worker_pid)
        theirs.close()

    def fork(self) -> Wires:
        """Make a cell, and return what leads to it."""
        (line, its_line), (side, its_side), (life, its_life) = Pipe(), Pipe(), socket.socketpair()
        wires = Wires(line, side, life)
        try:
            with self._lock, its_line, its_side, its_life:
                self._send([its_line.fileno(), its_side.fileno(), its_life.fileno()])
        except OSError as error:
            wires.close()
            raise CellUnavailable(f"no process could be made: {error}") from error
        return wires

    def _send(self, fds: list[int]) -> None:
        if self.is_closed or self._control is None:
            raise BrokenPipeError("the worker stops")
        try:
            socket.send_fds(self._control, [b"+"], fds)
        except OSError:
            self.is_lost = True
            raise

    def close(self) -> None:
        """End every cell and the fork server, for good."""
        with self._lock:
            self.is_closed = True
            if self._control is not None:
                with contextlib.suppress(OSError):  # it was killed
                    self._control.shutdown(socket.SHUT_RDWR)
                self._control.close()
            if self._pid is not None:
                _await_end(self._pid)
            self._control = self._pid = None


def _await_end(pid: int) -> None:
    """Wait until a child has ended, which is killed unless it does so soon."""
    until = time.monotonic() + END_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.005)


class Cell:
    """The process of one slot, made when it is first needed and anew when it died; used by one thread."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._wires: Wires | None = None
        self._lock = threading.Lock()  # an interrupt comes from another thread
        self._struck: type[AttemptInterrupted] | None = None
        self._kill_at = math.inf

    def run(self, lease: Lease, extend: Extension) -> Outcome:
        """Run the attempt of `lease` and return how it ended; raises CellUnavailable when it could not begin."""
        wires = self._open()
        started = time.monotonic()
        if not lease.is_held(started):  # it took longer to make the process than the lease lasts
            return outcome_of(lease, started, verdict_on(LeaseLost()))
        self._struck, self._kill_at = None, math.inf
        lease.enter(functools.partial(self._strike, lease.job.lease_token))
        with contextlib.suppress(OSError):  # it is dead, which its life will tell
            wires.line.send(Order(lease.job, lease.lease_seconds, lease.renewed_at))
        verdict = None
        while verdict is None:
            verdict = self._attend(wires, lease, extend)
        lease.leave()
        return outcome_of(lease, started, verdict)

    def close(self) -> None:
        """End the process, if there is one; another is made when it is needed again."""
        if self._wires is not None:
            self._end()

    @property
    def is_open(self) -> bool:
        """Whether there is a process."""
        return self._wires is not None

    def _open(self) -> Wires:
        if self._wires is not None and wait([self._wires.life], 0):
            self._end()  # it died while it had nothing to do
        if self._wires is None:
            self._wires = self._isolation.fork()
            self._await_start(self._wires)
        return self._wires

    def _await_start(self, wires: Wires) -> None:
        with contextlib.suppress(EOFError, OSError):
            if wires.line in wait([wires.line, wires.life], START_SECONDS) and wires.line.recv() == READY:
                return
        self._kill()
        raise CellUnavailable("the process that was to run it did not start")

    def _attend(self, wires: Wires, lease: Lease, extend: Extension) -> Verdict | None:
        """Wait for what the cell says, or for its end; returns the verdict once there is one."""
        if time.monotonic() > self._kill_at:
            return self._verdict_on_death(self._kill())
        ready = wait([wires.line, wires.side, wires.life], TICK_SECONDS)
        with contextlib.suppress(EOFError, OSError):  # it is dead, which its life will tell
            if wires.side in ready:
                self._heed(wires.side.recv(), lease, extend)
                return None
            if wires.line in ready:
                return cast("Verdict", wires.line.recv())
        return self._verdict_on_death(self._end()) if ready else None

    def _heed(self, message: object, lease: Lease, extend: Extension) -> None:
        match message:
            case Progress(lease_token, fraction, note) if lease_token == lease.job.lease_token:
                lease.set_progress(fraction, note)
            case Extend(lease_token) if lease_token == lease.job.lease_token:
                self._tell(Extended(lease_token, _error_of(extend, lease)))

    def _verdict_on_death(self, exit_code: int | None) -> Verdict:
        if self._struck is not None:
            return verdict_on(self._struck("It did not end when it was interrupted, and was killed."))
        if self._isolation.is_closed:
            return verdict_on(LeaseLost())
        if exit_code is None:
            error = JobError(type="CellLost", message="The process that ran it is gone, and nobody saw how it ended.")
            return "failed", None, error, None
        return "crashed", None, JobError(type="Crashed", message=_describe(exit_code)), None

    def _strike(self, lease_token: str, error: type[AttemptInterrupted]) -> bool:
        self._struck, self._kill_at = error, time.monotonic() + YIELD_SECONDS
        self._tell(Interrupt(lease_token, error))
        return True

    def _tell(self, message: object) -> None:
        """Send a message over the side, unless nobody is there to hear it."""
        with self._lock, contextlib.suppress(OSError):
            if self._wires is not None:
                self._wires.side.send(message)

    def _kill(self) -> int | None:
        """Let the fork server kill the process and what it started; returns the exit code, None if not known."""
        if self._wires is not None:
            with contextlib.suppress(OSError):
                self._wires.life.shutdown(socket.SHUT_WR)
        return self._end()

    def _end(self) -> int | None:
        """Hang up, which ends the process, and return its exit code, None if not known."""
        with self._lock:
            wires, self._wires = self._wires, None
        return wires.end() if wires is not None else None


def _error_of(extend: Extension, lease: Lease) -> Exception | None:
    try:
        extend(lease)
    except (LeaseLost, QueueingError) as error:
        return error
    return None


def _describe(exit_code: int) -> str:
    """Return how a process ended, such as `signal 11 (SIGSEGV)`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return f"signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"signal {-exit_code}"
