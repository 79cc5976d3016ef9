"""nginx and HAProxy with the configurations of deploy/, in front of servers of a test."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import trustme

from tests.queueing.servers import free_ports
from tests.system.deploy.conftest import DEPLOY
from tests.system.faults.programs import program
from tests.system.http.server import Answer
from tests.system.processes import wait_until

NAME = "jobs.example.org"
INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.2"  # of the networks that the configurations fence

NGINX = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/jobapi.conf;
}}
"""


class Front:
    """A proxy that serves TLS for `servers`, ports of this machine; its configuration was found right before."""

    def __init__(self, kind: str, folder: Path, servers: Sequence[int], authority: trustme.CA) -> None:
        self.port, self._plain_port = free_ports(2)
        self._authority = authority
        self._log = folder / f"{kind}.log"
        issued = authority.issue_cert(NAME)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "jobapi.pem"))
        issued.private_key_pem.write_to_path(str(folder / "jobapi.key"))
        for at, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(str(folder / "jobapi.crt"), append=at > 0)
        check, run = (self._nginx if kind == "nginx" else self._haproxy)(folder, servers)
        found = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
        assert found.returncode == 0, found.stderr
        assert "warn" not in found.stderr.lower(), found.stderr
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(run, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._listens)

    def _nginx(self, folder: Path, servers: Sequence[int]) -> tuple[list[str], list[str]]:
        text = fenced((DEPLOY / "nginx" / "jobapi.conf").read_text())
        text = re.sub(
            r"\blisten (\[::\]:)?(80|443)\b", lambda found: f"listen {found[1] or ''}{self._port(found[2])}", text
        )
        lines = [f"server 127.0.0.1:{port} max_fails=3 fail_timeout=10s;" for port in servers]
        text = text.replace("server api:8000 max_fails=3 fail_timeout=10s;", "\n".join(lines))
        (folder / "jobapi.conf").write_text(text.replace("/etc/nginx/tls", str(folder)))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user))
        command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        return [*command, "-t", "-q"], command

    def _haproxy(self, folder: Path, servers: Sequence[int]) -> tuple[list[str], list[str]]:
        text = fenced((DEPLOY / "haproxy" / "haproxy.cfg").read_text())
        text = re.sub(r"\bbind (:|:::)(80|443)\b", lambda found: f"bind {found[1]}{self._port(found[2])}", text)
        text = re.sub(r"^    server .*\n", "", text, flags=re.MULTILINE)
        text += "".join(f"    server api{port} 127.0.0.1:{port}\n" for port in servers)
        (folder / "haproxy.cfg").write_text(text.replace("/etc/haproxy/tls", str(folder)))
        command = [program("haproxy"), "-f", str(folder / "haproxy.cfg")]
        return [*command, "-c"], [*command, "-db"]

    def _port(self, usual: str) -> int:
        return self.port if usual == "443" else self._plain_port

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with suppress(OSError), socket.create_connection((INSIDE, self.port), 5):
            return True
        return False

    @property
    def output(self) -> str:
        return self._log.read_text()

    def connect(self, source: str = INSIDE, authority: trustme.CA | None = None) -> HTTPConnection:
        """Return a connection over TLS from an address of this machine, whose certificate was checked."""
        context = ssl.create_default_context()
        (authority or self._authority).configure_trust(context)
        connection = HTTPConnection(NAME, self.port, timeout=30)
        plain = socket.create_connection((INSIDE, self.port), 30, (source, 0))
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        return connection

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, source: str = INSIDE
    ) -> Answer:
        """Send one request on a connection of its own; a body goes as JSON."""
        sent = None if body is None else json.dumps(body).encode()
        with closing(self.connect(source)) as connection:
            connection.request(method, path, sent, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def ask_plainly(self, path: str) -> Answer:
        """Send one request without TLS."""
        with closing(HTTPConnection(INSIDE, self._plain_port, timeout=30)) as connection:
            connection.request("GET", path, headers={"Host": NAME})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)


def fenced(text: str) -> str:
    """Let the networks inside have one address of this machine, and another lie outside."""
    assert "127.0.0.0/8" in text
    return text.replace("127.0.0.0/8", f"{INSIDE}/32")


class Server:
    """An API of a few lines: it notes each request, is ready, and hangs up on calls without an answer if told to."""

    def __init__(self, *, hangs_up: bool = False) -> None:
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            received = b""
            while b"\r\n\r\n" not in received:
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            probes = head.startswith(b"GET /readyz ")
            if not probes:
                self.requests.append(head)
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            if probes or not self._hangs_up:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
