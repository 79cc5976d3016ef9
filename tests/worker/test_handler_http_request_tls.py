"""The handler `http.request` over TLS, to names that a prepared resolver leads to a local server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from tests.worker.servers import HttpServer
from worker.handlers.http_request import RequestFailed, http_request
from worker.pinned import tls_context

JOB = SimpleNamespace(id="default_0192f0c1a2b37c4d8e5f60718293a4b5")
PUBLIC = "93.184.216.34"
URL = "https://files.example.com/report"


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[trustme.CA]:
    """Make a certificate authority the only trusted one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    tls_context.cache_clear()
    yield authority
    tls_context.cache_clear()


def context_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def lead_to(monkeypatch: pytest.MonkeyPatch, port: int) -> list[str]:
    """Lead every name by a public address to a local port; return the list of addresses connected to."""
    connects: list[str] = []
    connect = socket.socket.connect

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))]

    def connect_locally(connecting: socket.socket, address: tuple[str, int]) -> None:
        connects.append(address[0])
        connect(connecting, ("127.0.0.1", port))

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect_locally)
    return connects


def test_the_checked_address_is_called_and_the_name_verified_and_sent(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_for(authority, "files.example.com")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with HttpServer(tls=context) as server:
        connects = lead_to(monkeypatch, server.port)

        result = http_request({"url": URL}, JOB)

        assert (result["status"], result["body"]) == (200, "ok")
        assert (server.received[0].path, server.received[0].headers["host"]) == (
            "/report",
            "files.example.com",
        )
    assert (connects, names) == ([PUBLIC], ["files.example.com"])


def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer(tls=context_for(authority, "other.example.com", PUBLIC)) as server:
        lead_to(monkeypatch, server.port)

        with pytest.raises(RequestFailed, match=r"certificate is not valid for 'files\.example\.com'"):
            http_request({"url": URL}, JOB)
        assert server.received == []


def test_a_certificate_of_an_unknown_authority_is_refused(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert authority
    with HttpServer(tls=context_for(trustme.CA(), "files.example.com")) as server:
        lead_to(monkeypatch, server.port)

        with pytest.raises(RequestFailed, match="CERTIFICATE_VERIFY_FAILED"):
            http_request({"url": URL}, JOB)
        assert server.received == []


def test_a_server_that_speaks_no_tls_is_refused(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    assert authority
    with HttpServer() as server:
        lead_to(monkeypatch, server.port)

        with pytest.raises(RequestFailed, match="SSL"):
            http_request({"url": URL}, JOB)
        assert server.received == []


def test_a_handshake_that_never_ends_is_left_at_the_time_limit(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert authority
    with socket.create_server(("127.0.0.1", 0)) as mute:
        lead_to(monkeypatch, mute.getsockname()[1])

        with pytest.raises(RequestFailed, match="timed out"):
            http_request({"url": URL, "timeout_seconds": 0.2}, JOB)


def test_the_certificates_are_read_once(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer(tls=context_for(authority, "files.example.com")) as server:
        lead_to(monkeypatch, server.port)

        for _ in range(3):
            http_request({"url": URL}, JOB)

    assert tls_context.cache_info().misses == 1
