"""Real servers on 127.0.0.1 for jobs to call, each a context manager that leaves no thread behind.

>>> with HttpServer() as http, SmtpServer() as smtp: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, with several lines a message


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One connection: it records each request and lets the server's `answer` write the response."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: Listener

    def do_GET(self) -> None:
        """Take a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = ReceivedRequest(method=self.command, path=self.path, headers=headers, body=body)
        self.server.owner.received.append(received)
        self.server.owner.answer(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Write a whole response; `content_type="text/plain"` names the header Content-Type."""
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def dribble(self, data: bytes) -> None:
        """Write `data` again and again, a little apart, until the other side hangs up."""
        while not self.server.owner.closing.wait(0.05):
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Keep quiet."""


class Listener(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, owner: HttpServer) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.owner = owner

    def server_bind(self) -> None:
        """Bind without http.server's look-up of the machine's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count the connection, then serve it in a thread."""
        self.owner.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that hang up, which is what many tests are about."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class HttpServer:
    """An HTTP server that records what it receives and answers as `answer` says, by default 200 with "ok"."""

    def __init__(
        self,
        answer: Callable[[Exchange], None] = lambda exchange: exchange.reply(body=b"ok", content_type="text/plain"),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.received: list[ReceivedRequest] = []
        self.connections = 0
        self.closing = threading.Event()
        self._scheme = "http" if tls is None else "https"
        self._listener = Listener(self)
        if tls is not None:
            self._listener.socket = tls.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="http-server")

    @property
    def port(self) -> int:
        """Return the port, chosen by the system."""
        return self._listener.server_port

    @property
    def authority(self) -> str:
        """Return `127.0.0.1:port`, as HTTP_REQUEST_ALLOWED_HOSTS takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Return the server's URL without a path."""
        return f"{self._scheme}://{self.authority}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message as an SMTP client handed it over."""

    sender: str
    recipients: list[str]
    content: bytes


class SmtpServer(Controller):
    """An SMTP server that records messages and answers the recipients in `refused` with their reply."""

    def __init__(self, data_reply: str = "250 taken", refused: dict[str, str] | None = None) -> None:
        self.messages: list[ReceivedMessage] = []
        self.data_reply = data_reply
        self.refused = refused or {}
        # asyncio switches Nagle's algorithm off (40 ms a reply) only on sockets with this protocol number.
        self._bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._bound.bind(("127.0.0.1", 0))
        super().__init__(self, hostname="127.0.0.1", port=self._bound.getsockname()[1])

    @property
    def email_settings(self) -> dict[str, Any]:
        """Return the Django settings that send mail here."""
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": self.hostname,
            "EMAIL_PORT": self.port,
            "EMAIL_HOST_USER": "",
            "EMAIL_HOST_PASSWORD": "",
            "EMAIL_USE_TLS": False,
            "EMAIL_USE_SSL": False,
        }

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        """Serve on the bound socket: aiosmtpd itself cannot tell which port the system chose."""
        return self.loop.create_server(self._factory_invoker, sock=self._bound, backlog=128)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Take a recipient or refuse it."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message if the reply to it is a good one."""
        if self.data_reply.startswith("2"):
            self.messages.append(
                ReceivedMessage(
                    sender=str(envelope.mail_from),
                    recipients=list(envelope.rcpt_tos),
                    content=bytes(envelope.content),
                )
            )
        return self.data_reply

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        with contextlib.suppress(OSError):
            self._bound.close()
