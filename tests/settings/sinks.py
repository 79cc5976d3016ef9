"""Sinks for log lines: a real socket each, and what it does with what comes."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import ssl
import struct
import threading
from types import TracebackType
from typing import Self

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # Linux
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: take no byte of a packet


class Sink:
    """Takes connections on a port of its own and keeps what they send; may be stopped and started on the same port."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self.received: list[bytes] = []  # of each connection, all of it
        self.reading = threading.Event()  # cleared: connections are taken, and nothing is read
        self.reading.set()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reading.set()
        self.stop()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and drop all connections."""
        for open_one in (self._listener, *self._connections):
            if open_one is not None:
                with contextlib.suppress(OSError):
                    open_one.shutdown(socket.SHUT_RDWR)
                open_one.close()
        self._connections.clear()

    def fall_silent(self) -> None:
        """Drop every packet that comes, unseen: the other side is half-open from now on."""
        program = struct.pack("HP", 1, ctypes.addressof(DROP_ALL))
        for open_one in self._open_ones():
            open_one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def speak_again(self) -> None:
        """Drop no packets any more."""
        for open_one in self._open_ones():
            with contextlib.suppress(OSError):  # it was made since
                open_one.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)

    def _open_ones(self) -> list[socket.socket]:
        return [one for one in (self._listener, *self._connections) if one is not None and one.fileno() >= 0]

    @property
    def lines(self) -> list[bytes]:
        """Return the whole lines of all connections."""
        with self._lock:
            return [line for text in self.received for line in text.split(b"\n")[:-1]]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with self._lock:
                self.received.append(b"")
                place = len(self.received) - 1
            while self.reading.wait() and (data := connection.recv(65_536)):
                with self._lock:
                    self.received[place] += data
        connection.close()
