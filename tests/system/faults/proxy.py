"""A way to the server that loses the replies to one verb: what was asked is done, and the connection ends instead."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from queueing.scripts import script
from tests.queueing.proxy import hang_up, received


class VerbProxy:
    """Forwards connections to a unix socket; every `every`-th reply to the script of `verb` is lost.

    What goes in one round trip with it is lost too. `lost` counts these trips.
    """

    def __init__(self, target: Path, verb: str, every: int) -> None:
        self._target = str(target)
        self._mark = script(verb).sha.encode()
        self._every = every
        self._seen = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self.lost = 0
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            doomed = threading.Event()
            self._spawn(self._forward, caller, server, doomed)
            self._spawn(self._reply, server, caller, doomed)

    def _forward(self, caller: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        tail = b""  # of the last piece: a mark may lie across two
        for data in received(caller):
            if self._mark in tail + data:
                self._count(doomed)
            tail = data[1 - len(self._mark) :]
            try:
                server.sendall(data)
            except OSError:
                break
        hang_up(server)

    def _count(self, doomed: threading.Event) -> None:
        with self._lock:
            self._seen += 1
            if self._seen % self._every == 0:
                doomed.set()

    def _reply(self, server: socket.socket, caller: socket.socket, doomed: threading.Event) -> None:
        for data in received(server):
            if doomed.is_set():
                with self._lock:
                    self.lost += 1
                break
            try:
                caller.sendall(data)
            except OSError:
                break
        hang_up(caller)
        hang_up(server)
