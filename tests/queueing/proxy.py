"""A way to the server that loses replies when told to: the command was executed, its caller never learns of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FaultyProxy:
    """Forward connections to a server's unix socket.

    `fault` is for the next reply: `drop` keeps it for good, `late` until `deliver_late`, and `cut` ends the connection
    instead of it. `pause_seconds` lie between what is read of commands, a piece at a time.
    """

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._late: tuple[socket.socket, bytes] | None = None
        self.fault = ""
        self.pause_seconds = 0.0
        self.connections = 0
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def deliver_late(self) -> None:
        """Send the reply that was kept, if there is still anybody on that connection."""
        assert self._late is not None
        sent(*self._late)

    def close(self) -> None:
        for one in self._sockets:
            hang_up(one)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [caller, server]
            self.connections += 1
            self._spawn(self._forward, caller, server)
            self._spawn(self._reply, server, caller)

    def _forward(self, caller: socket.socket, server: socket.socket) -> None:
        for data in received(caller):
            time.sleep(self.pause_seconds)
            if not sent(server, data):
                break
        hang_up(server)

    def _reply(self, server: socket.socket, caller: socket.socket) -> None:
        for data in received(server):
            fault, self.fault = self.fault, ""
            if fault == "cut":
                break
            if fault == "late":
                self._late = (caller, data)
            elif not fault and not sent(caller, data):
                break
        hang_up(caller)


def received(source: socket.socket) -> Iterator[bytes]:
    """Yield what arrives until the other side is gone."""
    try:
        while data := source.recv(65_536):
            yield data
    except OSError:
        return


def sent(target: socket.socket, data: bytes) -> bool:
    """Send, and tell whether there is still anybody on that connection."""
    try:
        target.sendall(data)
    except OSError:
        return False
    return True


def hang_up(one: socket.socket) -> None:
    """End a connection that may have ended already."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """Give the URL of a server that has one reply to everything; none if it is empty."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, reply), daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        hang_up(listener)
        thread.join(5)


def _answer(listener: socket.socket, reply: bytes) -> None:
    try:
        while True:
            caller, _ = listener.accept()
            with caller:
                for data in received(caller):
                    caller.sendall(reply * data.count(b"*"))
    except OSError:
        return
