"""Run a command that ends when the process that started it ends, however that one ends.

Run as a program (`python lifeline.py PARENT_PID COMMAND...`) it asks the kernel for a TERM at its parent's death
and becomes the command. Linux keeps that promise; elsewhere the command simply runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tied_to_us(command: Sequence[str]) -> list[str]:
    """Return `command` so that its process gets TERM when the thread that started it is gone."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before we could ask
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
