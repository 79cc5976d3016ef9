"""The port on which a worker tells Prometheus its figures: `runworker --metrics-port`."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

from queueing.exposition import CONTENT_TYPE

logger = logging.getLogger(__name__)

PATH = "/metrics"
THREADS = 4  # requests answered at a time
REQUEST_SECONDS = 5  # a client may be silent so long


class Monitors:
    """Who may read the figures: who sends the token, or comes from a network; anyone when neither is named.

    Raises ValueError when a network is none.
    """

    def __init__(self, token: str = "", networks: Sequence[str] = ()) -> None:
        self._token = token.encode()
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def include(self, address: str, authorization: str) -> bool:
        """Whether a request may be answered."""
        if not self._token and not self._networks:
            return True
        return self._is_token(authorization) or self._is_near(address)

    def _is_token(self, authorization: str) -> bool:
        scheme, _, sent = authorization.partition(" ")
        is_it = hmac.compare_digest(sent.strip().encode(), self._token)
        return is_it and bool(self._token) and scheme.lower() == "bearer"

    def _is_near(self, address: str) -> bool:
        found = ipaddress.ip_address(address)
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self._networks)


class MetricsServer:
    """Answers GET /metrics with `text()`; raises OSError when it cannot listen.

    Its threads are all there from the start, so that none that answers a request is taken for one of the worker's.
    """

    def __init__(self, host: str, port: int, text: Callable[[], bytes], monitors: Monitors) -> None:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._server = _Server(family, (host, port), text, monitors)
        self.port: int = self._server.server_address[1]
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._answer, name=f"metrics-{n}", daemon=True) for n in range(THREADS)
        ]

    def start(self) -> None:
        """Start to answer."""
        for thread in self._threads:
            thread.start()

    def _answer(self) -> None:
        while not self._stopping.is_set():
            self._server.handle_request()

    def stop(self) -> None:
        """Answer no more, and give up the port."""
        self._stopping.set()
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for a request
        for thread in self._threads:
            thread.join()
        self._server.server_close()


class _Server(HTTPServer):
    """A server for one text."""

    def __init__(
        self, family: socket.AddressFamily, address: tuple[str, int], text: Callable[[], bytes], monitors: Monitors
    ) -> None:
        self.address_family = family
        self.text = text
        self.monitors = monitors
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for a name of this host, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's signature
        """Log why a request was not answered; most often its client has gone."""
        logger.warning("a scrape was not answered: %r", sys.exception(), extra={"action": "scrape_failed"})


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    timeout = REQUEST_SECONDS
    server_version, sys_version = "runworker", ""

    def do_GET(self) -> None:
        """Answer with the text, or say why not."""
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, b"only /metrics is here\n")
        elif not self.server.monitors.include(self.client_address[0], self.headers.get("Authorization", "")):
            self._answer(HTTPStatus.UNAUTHORIZED, b"the monitoring token is needed\n")
        else:
            self._answer(HTTPStatus.OK, self.server.text(), CONTENT_TYPE)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Bearer realm="metrics"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Log nothing: a scrape is no event."""
