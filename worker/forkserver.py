"""The fork server: a program that loads the handlers once and is then forked for each cell.

It never runs a handler, so it always answers. To each cell belongs a socket, its life, whose other end the worker
holds: when the worker shuts it, the cell is killed, and when the cell ends, its exit code is sent over it. When the
worker is gone, however it went, the kernel shuts them all, and the fork server ends its cells and itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

import django

from queueing.lifeline import PR_SET_PDEATHSIG
from worker.cell import Occupant, ignore_stop
from worker.registry import Handler, load_handlers


def main(control_fd: int, worker_pid: int) -> None:
    """Load the handlers, then make cells for the worker until it is gone."""
    ignore_stop()
    die_with(worker_pid)
    django.setup()
    server = ForkServer(socket.socket(fileno=control_fd), load_handlers())
    gc.freeze()  # what is loaded by now is shared with the cells for good
    while server.run_once():
        pass
    server.close()


def die_with(parent_pid: int) -> None:
    """Let the kernel kill this process when the thread that started it is gone; Linux alone can do so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before we could ask
        os._exit(1)


class ForkServer:
    """Forks a cell for each three sockets that arrive on `control`: its line to the worker, its side, and its life."""

    def __init__(self, control: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self._control = control
        self._handlers = handlers
        self._pid = os.getpid()
        self._lives: dict[int, socket.socket] = {}  # by process id
        self._doomed: set[int] = set()
        self._bell, self._ring = socket.socketpair()
        self._ring.setblocking(False)
        signal.set_wakeup_fd(self._ring.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run_once(self) -> bool:
        """Wait for something to do, and do it; returns False once the worker wants no more."""
        cells = {life: pid for pid, life in self._lives.items() if pid not in self._doomed}
        ready = wait([self._control, self._bell, *cells])
        for life in ready:
            if life in cells:
                self._kill(cells[life])
        if self._bell in ready:
            self._bell.recv(1000)
            self._bury()
        return self._control not in ready or self._fork()

    def close(self) -> None:
        """End every cell."""
        for pid in list(self._lives):
            self._kill(pid)
            os.waitpid(pid, 0)

    def _fork(self) -> bool:
        """Make a cell; returns False if none is wanted any more."""
        word, fds, _, _ = socket.recv_fds(self._control, 1, 3)
        if not word:
            return False
        pid = os.fork()
        if pid == 0:
            self._become_cell(*fds)
        line, side, life = fds
        os.close(line)
        os.close(side)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # it ended already
            os.setpgid(pid, pid)
        self._lives[pid] = socket.socket(fileno=life)
        return True

    def _become_cell(self, line: int, side: int, life: int) -> NoReturn:
        """Live as a cell, in a process group of its own: what a handler starts is killed with it."""
        try:
            os.setpgid(0, 0)
            die_with(self._pid)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(life)
            for held in (self._control, self._bell, self._ring, *self._lives.values()):
                held.close()
            os.set_inheritable(line, False)
            os.set_inheritable(side, False)
            offer_to_the_oom_killer()
            Occupant(Connection(line), Connection(side), self._handlers).run()
        except BaseException:  # noqa: BLE001 - whatever it is must not go on as a second fork server
            traceback.print_exc()
        finally:
            os._exit(1)

    def _kill(self, pid: int) -> None:
        self._doomed.add(pid)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # it ended already
            os.killpg(pid, signal.SIGKILL)

    def _bury(self) -> None:
        """Collect cells that ended, and send their exit codes to who still wants to know."""
        for pid, life in list(self._lives.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            if code:
                self._kill(pid)  # what its handler had started
            with contextlib.suppress(OSError):
                life.sendall(b"%d" % code)
            life.close()
            del self._lives[pid]
            self._doomed.discard(pid)


def offer_to_the_oom_killer() -> None:
    """Let the kernel, when memory runs out, end this process before any other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
