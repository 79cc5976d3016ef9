"""The database over TLS: with its authority and our certificate all is as without, and else nothing is sent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from queueing import Broker, NewJob, State, StoreUnavailable, connect
from queueing.inspector import Inspector
from tests.queueing.servers import PrivateServer, free_ports
from tests.system.http.server import ApiServer
from tests.system.processes import PROJECT, RunWorker, wait_until

TLS_RECORD = b"\x16\x03"  # how a ClientHello begins (RFC 8446, section 5.1)


class TlsServer(PrivateServer):
    """Redis, which takes TLS alone from the network, and only from clients with a certificate of its authority.

    It is Debian's: the wheel's Valkey is built without TLS.
    """

    def __init__(self, folder: Path) -> None:
        self.authority, self.folder = trustme.CA(), folder
        (self.tls_port,) = free_ports(1)
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for name, issued_to in {"server": "localhost", "client": "worker@example.org"}.items():
            certificate = self.authority.issue_cert(issued_to)
            certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
        trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
        files = ["--tls-ca-cert-file", str(folder / "ca.pem")]
        for kind in ("cert", "key"):
            files += [f"--tls-{kind}-file", str(folder / "server.pem")]
        super().__init__("redis", folder, "--bind", "127.0.0.1", "--tls-port", str(self.tls_port), *files)

    def url_with(self, *, host: str = "localhost", ca: str = "ca.pem", client: str = "client.pem") -> str:
        """Return the URL with certificates of these files, without one of the client if it has no name."""
        options = {"ssl_ca_certs": self.folder / ca}
        if client:
            options |= {"ssl_certfile": self.folder / client, "ssl_keyfile": self.folder / client}
        return f"rediss://{host}:{self.tls_port}/0?{urlencode(options)}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with TlsServer(tmp_path_factory.mktemp("tls")) as server:
        yield server


def doctor(url: str) -> subprocess.CompletedProcess[str]:
    """Examine the database of a URL."""
    return subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=PROJECT,
        env={**os.environ, "REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_the_api_a_worker_and_the_doctor_use_the_database_over_tls(server: TlsServer, tmp_path: Path) -> None:
    url = server.url_with()
    api = ApiServer(tmp_path / "api.log", REDIS_URL=url)
    worker = RunWorker([], tmp_path / "worker.log", {"REDIS_URL": url})
    try:
        api.wait_until_ready()
        answer = api.ask("POST", "/api/v1/jobs", b'{"kind": "echo"}', {"Content-Type": "application/json"})
        with connect(url) as client:
            job_id = json.loads(answer.body)["id"]
            wait_until(lambda: Inspector(client).job(job_id).state is State.SUCCEEDED)
        worker.terminate()
        code = worker.wait()
    finally:
        worker.kill()
        api.close()

    assert (answer.status, code) == (201, 0)
    assert doctor(url).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"ca": "other.pem"}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, "IP address mismatch"),
        ({"client": ""}, "ssl_certfile"),
    ],
    ids=["another authority", "another host", "no certificate of the client"],
)
def test_whoever_cannot_be_sure_of_the_other_side_is_refused_and_told_why(
    server: TlsServer, wrong: dict[str, str], text: str
) -> None:
    with connect(server.url_with(**wrong)) as client, pytest.raises(StoreUnavailable, match=text):
        Broker(client).enqueue("default", NewJob.of("echo"))

    done = doctor(server.url_with(**wrong))

    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_nothing_but_tls_is_ever_sent(scheme: str) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=_note_first_piece, args=(listener, received))
        thread.start()
        tail = "/jobs" if "sentinel" in scheme else ""
        done = doctor(f"{scheme}://user:secret@localhost:{listener.getsockname()[1]}{tail}")
        thread.join(10)

    assert done.returncode == 1
    assert received
    assert received[0].startswith(TLS_RECORD)
    assert b"secret" not in received[0]


def _note_first_piece(listener: socket.socket, received: list[bytes]) -> None:
    caller, _ = listener.accept()
    with caller:
        caller.settimeout(5)
        received.append(caller.recv(65_536))
