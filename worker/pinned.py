"""Connections to addresses that were checked before, with one deadline for all that happens on them.

httpcore2 speaks HTTP over these; see `worker.addresses` for the checking.
"""

from __future__ import annotations

import functools
import math
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2

from worker.addresses import Endpoint

CONNECT_SECONDS = 3.0  # per address: a dead one must leave time for the next
POLL_SECONDS = 1.0  # how long the thread may sit in one system call, where no interruption reaches it


class Deadline:
    """The end of a request's time, whatever it is spent on."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self, at_most: float = math.inf) -> float:
        """Return the seconds that are left, capped at `at_most`; raise `TimeoutError` when none are."""
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time of the request is over")
        return min(seconds, at_most)


class PinnedBackend(httpcore2.NetworkBackend):
    """Connects to endpoints that were checked before, whatever name it is asked for."""

    def __init__(self, endpoints: list[Endpoint], deadline: Deadline) -> None:
        self._endpoints = endpoints
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - resolving it again is what must not happen
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002 - the deadline rules
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Return a stream to the first endpoint that accepts, or raise the last one's `OSError`."""
        failure = OSError("the host has no address")
        for endpoint in self._endpoints:
            try:
                return DeadlineStream(self._connect(endpoint), self._deadline)
            except OSError as error:
                failure = error
        raise failure

    def _connect(self, endpoint: Endpoint) -> socket.socket:
        connected = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.settimeout(self._deadline.left(at_most=CONNECT_SECONDS))
            connected.connect(endpoint.address)
        except BaseException:
            connected.close()
            raise
        return connected


class DeadlineStream(httpcore2.NetworkStream):
    """A socket whose every call ends at one deadline: a server gains nothing by sending a byte a second."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline rules
        """Return what arrived, b"" at the end."""
        while True:
            self._socket.settimeout(self._deadline.left(at_most=POLL_SECONDS))
            try:
                return self._socket.recv(max_bytes)
            except TimeoutError:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send all of `buffer`; on a hang-up raise `WriteError`, and httpcore2 reads an early answer."""
        unsent = memoryview(buffer)
        while unsent:
            self._socket.settimeout(self._deadline.left(at_most=POLL_SECONDS))
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except TimeoutError:
                continue
            except ConnectionError as error:
                raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Return the stream after a handshake that verified `server_hostname`, or close the socket."""
        self._socket.settimeout(self._deadline.left())
        try:
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self._socket.close()
            raise
        return DeadlineStream(wrapped, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return None for all that httpcore2 may ask: this connection speaks HTTP/1.1 once and is closed."""


class SharedContext(ssl.SSLContext):
    """A client's TLS context that many threads use at once."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Change nothing: httpcore2 calls this before each handshake, while other threads read the list."""


@functools.cache
def tls_context() -> SharedContext:
    """Return the context that verifies against the system's certificates, read once: it takes 20 ms."""
    context = SharedContext(ssl.PROTOCOL_TLS_CLIENT)
    ssl.SSLContext.set_alpn_protocols(context, ["http/1.1"])
    context.load_default_certs()
    return context
