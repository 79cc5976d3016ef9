"""Ways to the server on which things go wrong: replies are lost, connections are reset, or nothing gets through."""

from __future__ import annotations

import enum
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from queueing.scripts import script
from tests.queueing.proxy import hang_up, received, sent

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no seconds: what is unsent is dropped, a reset is sent


@dataclass(slots=True, eq=False)
class Connection:
    """A caller's connection, and the one to the server that stands behind it."""

    caller: socket.socket
    server: socket.socket
    tail: bytes = b""  # of the last piece that was sent
    is_doomed: bool = False


class Proxy:
    """Forwards connections to a unix socket; what a subclass does with the pieces is the fault."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._connections: dict[threading.Thread, Connection] = {}
        self._lock = threading.Lock()
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hang_up(self._listener)
        self._acceptor.join(5)
        self._listener.close()
        for thread, connection in list(self._connections.items()):
            hang_up(connection.caller)
            hang_up(connection.server)
            thread.join(5)

    def on_request(self, connection: Connection, data: bytes) -> bool:
        """Pass a piece on to the server; return whether the connection goes on."""
        return sent(connection.server, data)

    def on_reply(self, connection: Connection, data: bytes) -> bool:
        """Pass a piece on to the caller; return whether the connection goes on."""
        return sent(connection.caller, data)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(caller, socket.socket(socket.AF_UNIX))
            connection.server.connect(self._target)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._connections[thread] = connection
            thread.start()

    def _serve(self, connection: Connection) -> None:
        forward = threading.Thread(target=self._forward, args=(connection,), daemon=True)
        forward.start()
        for data in received(connection.server):
            if not self.on_reply(connection, data):
                break
        hang_up(connection.caller)
        hang_up(connection.server)
        forward.join()
        connection.caller.close()
        connection.server.close()
        del self._connections[threading.current_thread()]

    def _forward(self, connection: Connection) -> None:
        for data in received(connection.caller):
            if not self.on_request(connection, data):
                break
        hang_up(connection.server)


class VerbProxy(Proxy):
    """Loses every `every`-th reply to the script of `verb`: what was asked is done, and the connection ends instead.

    What goes in one round trip with it is lost too. `lost` counts these trips.
    """

    def __init__(self, target: Path, verb: str, every: int) -> None:
        super().__init__(target)
        self._mark = script(verb).sha.encode()
        self._every = every
        self._seen = 0
        self.lost = 0

    def on_request(self, connection: Connection, data: bytes) -> bool:
        """Count what asks for the verb; its mark may lie across two pieces."""
        if self._mark in connection.tail + data:
            with self._lock:
                self._seen += 1
                connection.is_doomed |= self._seen % self._every == 0
        connection.tail = data[1 - len(self._mark) :]
        return super().on_request(connection, data)

    def on_reply(self, connection: Connection, data: bytes) -> bool:
        """Lose the reply on a connection that is doomed."""
        if connection.is_doomed:
            with self._lock:
                self.lost += 1
            return False
        return super().on_reply(connection, data)


class Way(enum.Enum):
    """What becomes of connections."""

    OPEN = "everything passes"
    MUTE = "nothing passes and nothing is said; connections of that time never come back"
    RESET = "the first piece that is sent resets its connection"


class SwitchedProxy(Proxy):
    """Lets pass, swallows or resets, as `way` says."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self.way = Way.OPEN

    def on_request(self, connection: Connection, data: bytes) -> bool:
        """Send, swallow or reset."""
        if self.way is Way.RESET:
            connection.caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection.caller.close()
            return False
        return self._is_mute(connection) or super().on_request(connection, data)

    def on_reply(self, connection: Connection, data: bytes) -> bool:
        """Send or swallow."""
        return self._is_mute(connection) or super().on_reply(connection, data)

    def _is_mute(self, connection: Connection) -> bool:
        connection.is_doomed |= self.way is Way.MUTE
        return connection.is_doomed
