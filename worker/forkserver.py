"""The fork server: a fork of the worker, made before that has threads and connections, to be forked for each cell.

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

from queueing.lifeline import PR_SET_PDEATHSIG
from worker.cell import Occupant, ignore_stop
from worker.registry import Handler

SERVER_NAME, CELL_NAME = "job-cells", "job-cell"
PR_SET_NAME = 15  # of linux/prctl.h


def serve(control: socket.socket, handlers: Mapping[str, Handler], worker_pid: int) -> NoReturn:
    """Make cells for the worker, of which this process is a fork, until the worker is gone."""
    try:
        signal.set_wakeup_fd(-1)  # it is the worker's
        os.setpgid(0, 0)  # Ctrl-C is for the worker
        name_process(SERVER_NAME)
        ignore_stop()
        die_with(worker_pid)
        gc.freeze()  # what is loaded by now is shared with worker and cells for good
        server = ForkServer(control, handlers)
        while server.run_once():
            pass
        server.close()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it is must not go on as a second worker
        traceback.print_exc()
    finally:
        os._exit(1)


def name_process(name: str) -> None:
    """Let `ps` and `top` tell this process from the worker, whose command line it has; Linux alone can do so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


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
            name_process(CELL_NAME)
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
