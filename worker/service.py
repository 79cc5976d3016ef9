"""Word to the service manager that started this process (systemd's sd_notify): ready, at work, about to end."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Self

SECONDS_BETWEEN_SIGNS = 1.0


class Service:
    """Tells the service manager behind a socket of datagrams how it goes; without one nothing is told.

    Telling never waits and never fails: a manager that hangs must not hold up work.
    """

    def __init__(self, address: str = "") -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._alive_at = float("-inf")

    @classmethod
    def of_environment(cls) -> Self:
        """Return the one that NOTIFY_SOCKET names, and take that from the environment: what we start is no service."""
        return cls(os.environ.pop("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """Say that this process has started."""
        self._tell(b"READY=1")

    def alive(self) -> None:
        """Say that work goes on; at most once a second, however often it is called."""
        now = time.monotonic()
        if now - self._alive_at >= SECONDS_BETWEEN_SIGNS:
            self._alive_at = now
            self._tell(b"WATCHDOG=1")

    def stopping(self) -> None:
        """Say that this process is about to end, from when on no sign of life is looked for."""
        self._tell(b"STOPPING=1")

    def _tell(self, word: bytes) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(word, socket.MSG_DONTWAIT, self._address)
