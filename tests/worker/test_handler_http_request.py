"""The handler `http.request`, against real HTTP servers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from tests.worker.servers import Exchange, HttpServer
from worker.errors import GiveUp, RetryLater
from worker.handlers.http_request import RequestFailed, http_request, retry_after_seconds

JOB = SimpleNamespace(id="default_0192f0c1a2b37c4d8e5f60718293a4b5")
PUBLIC = "93.184.216.34"
CONNECT = socket.socket.connect


@pytest.fixture
def server(settings: Settings) -> Iterator[HttpServer]:
    """Run a server whose host and port are listed."""
    with HttpServer() as server:
        settings.HTTP_REQUEST_ALLOWED_HOSTS = [server.authority]
        yield server


def replying(*arguments: Any, **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.reply(*arguments, **headers)


class Network:
    """A resolver with prepared answers, and a record of every connection a client tries.

    Connections to the addresses in `routes` reach that local port, all others to public ones are unreachable.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.routes: dict[str, int] = {}
        self.lookups: list[str] = []
        self.connects: list[str] = []

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """Give the next answer for a name, the last one for ever."""
        self.lookups.append(host)
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def connect(self, connecting: socket.socket, address: tuple[str, int]) -> None:
        """Connect to where the address leads."""
        self.connects.append(address[0])
        if address[0] in self.routes:
            CONNECT(connecting, ("127.0.0.1", self.routes[address[0]]))
        elif address[0].startswith("127."):
            CONNECT(connecting, address)
        else:
            raise OSError(f"{address[0]} is unreachable")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()

    def connect(connecting: socket.socket, address: tuple[str, int]) -> None:
        network.connect(connecting, address)

    monkeypatch.setattr(socket, "getaddrinfo", network.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect)
    return network


def test_a_get_arrives_with_the_jobs_id_as_idempotency_key(server: HttpServer) -> None:
    http_request({"url": f"{server.url}/a/b?c=d#e"}, JOB)

    (received,) = server.received
    assert (received.method, received.path, received.body) == ("GET", "/a/b?c=d", b"")
    assert received.headers == {
        "host": server.authority,
        "user-agent": "jobapi",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "idempotency-key": JOB.id,
    }


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ({"a": [1, None, "ü"]}, b'{"a":[1,null,"\xc3\xbc"]}', "application/json"),
        ([], b"[]", "application/json"),
        (False, b"false", "application/json"),
        (0, b"0", "application/json"),
        ("Grüße", "Grüße".encode(), "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
def test_a_body_is_posted_as_json_or_as_text(server: HttpServer, body: Any, sent: bytes, content_type: str) -> None:
    http_request({"url": server.url, "body": body}, JOB)

    (received,) = server.received
    assert (received.method, received.body) == ("POST", sent)
    assert received.headers["content-type"] == content_type
    assert received.headers["content-length"] == str(len(sent))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_each_method_is_sent_without_a_body(server: HttpServer, method: str) -> None:
    result = http_request({"url": server.url, "method": method}, JOB)

    assert server.received[0].method == method
    assert server.received[0].headers.get("content-length") == ("0" if method in {"POST", "PUT", "PATCH"} else None)
    assert result["status"] == 200


def test_headers_are_sent_and_may_replace_the_defaults(server: HttpServer) -> None:
    headers = {
        "X-Trace": " 7 ",
        "Content-Type": "text/xml",
        "Idempotency-Key": "order-17",
        "Authorization": "B t",
    }

    http_request({"url": server.url, "body": "<a/>", "headers": headers}, JOB)

    sent = server.received[0].headers
    assert (sent["x-trace"], sent["content-type"], sent["idempotency-key"]) == ("7", "text/xml", "order-17")
    assert sent["authorization"] == "B t"


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "HOST",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Length",
        "Expect",
        "Accept-Encoding",
    ],
)
def test_headers_of_the_connection_are_refused(server: HttpServer, name: str) -> None:
    with pytest.raises(GiveUp, match=f"may not set the header {name.lower()}"):
        http_request({"url": server.url, "headers": {name: "x"}}, JOB)
    assert server.connections == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nHost: evil.example"},
        {"X": "a\n"},
        {"X": "ü"},
        {"X": "\x00"},
        {"X\r\nY": "a"},
        {"X ": "a"},
        {"": "a"},
        {"X:": "a"},
        {"X\n": "a"},
        {"X": 1},
        {"X": None},
        {"X": "a" * 8001},
        {f"X-{n}": "a" for n in range(51)},
    ],
)
def test_malformed_headers_are_refused(server: HttpServer, headers: Any) -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        http_request({"url": server.url, "headers": headers}, JOB)
    assert server.connections == 0


@pytest.mark.parametrize(
    "change",
    [
        {"url": None},
        {"url": 1},
        {"method": "get"},
        {"method": "CONNECT"},
        {"method": "TRACE"},
        {"timeout_seconds": 0},
        {"timeout_seconds": 61},
        {"timeout_seconds": "1"},
        {"expect_status": 99},
        {"expect_status": "200"},
        {"verify": False},
        {"proxy": "http://127.0.0.1"},
        {"headers": []},
    ],
)
def test_a_bad_payload_is_given_up(server: HttpServer, change: dict[str, Any]) -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        http_request({"url": server.url, **change}, JOB)
    assert server.connections == 0


def test_a_payload_without_a_url_is_given_up() -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        http_request(None, JOB)


def test_the_result_has_status_headers_and_text(server: HttpServer) -> None:
    server.answer = replying(201, b'{"a": 1}', content_type="application/json", etag='"7"', set_cookie="a=b", x_own="1")

    result = http_request({"url": server.url}, JOB)

    assert result == {
        "status": 201,
        "headers": {"content-type": "application/json", "content-length": "8", "etag": '"7"'},
        "body_bytes": 8,
        "body": '{"a": 1}',
    }


def test_an_empty_answer_has_no_body(server: HttpServer) -> None:
    server.answer = replying(204)

    result = http_request({"url": server.url}, JOB)

    assert result == {"status": 204, "headers": {"content-length": "0"}, "body_bytes": 0}


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "image/png"},
        {},
        {"content_type": "application/zip"},
        {"content_type": "text/plain", "content_encoding": "gzip"},
    ],
)
def test_a_body_that_is_not_plain_text_is_counted_and_not_kept(server: HttpServer, headers: dict[str, str]) -> None:
    server.answer = replying(200, b"\x00\x01\x02", **headers)

    result = http_request({"url": server.url}, JOB)

    assert result["body_bytes"] == 3
    assert "body" not in result


def test_bytes_that_are_not_utf_8_are_replaced(server: HttpServer) -> None:
    server.answer = replying(200, b"Gr\xfc\xdfe", content_type="text/plain")

    assert http_request({"url": server.url}, JOB)["body"] == "Gr��e"


def test_four_kibibytes_of_text_are_kept_cut_between_characters(server: HttpServer) -> None:
    server.answer = replying(200, ("x" + "ü" * 4096).encode(), content_type="text/plain")

    result = http_request({"url": server.url}, JOB)

    assert result["body"] == "x" + "ü" * 2047
    assert result["body_bytes"] == 8193
    assert result["body_truncated"] is True


def test_sixty_four_kibibytes_are_read_of_a_longer_body(server: HttpServer) -> None:
    server.answer = replying(200, b"x" * 1_000_000, content_type="text/plain")

    result = http_request({"url": server.url}, JOB)

    assert result["body_bytes"] == 65_536
    assert result["body_truncated"] is True


def test_an_endless_body_is_left_at_sixty_four_kibibytes(server: HttpServer) -> None:
    def stream(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"x" * 65_536)

    server.answer = stream

    assert http_request({"url": server.url}, JOB)["body_bytes"] == 65_536


def test_a_body_of_exactly_the_limit_is_not_called_truncated(server: HttpServer) -> None:
    server.answer = replying(200, b"x" * 4096, content_type="text/plain")

    assert "body_truncated" not in http_request({"url": server.url}, JOB)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 304])
def test_a_redirect_is_not_followed_and_gives_up(server: HttpServer, status: int) -> None:
    server.answer = replying(status, location="http://169.254.169.254/latest/meta-data/")

    with pytest.raises(GiveUp, match=f"was answered with {status}"):
        http_request({"url": server.url}, JOB)
    assert server.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_a_client_error_gives_up_with_the_start_of_the_answer(server: HttpServer, status: int) -> None:
    server.answer = replying(status, b"no\nsuch\torder " + b"x" * 1000, content_type="text/plain")

    with pytest.raises(GiveUp, match=rf"^GET {server.url} was answered with {status}: no such order x+$") as raised:
        http_request({"url": f"{server.url}/orders?token=secret"}, JOB)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 599])
def test_a_passing_trouble_is_raised_to_be_tried_again(server: HttpServer, status: int) -> None:
    server.answer = replying(status)

    with pytest.raises(RequestFailed, match=str(status)):
        http_request({"url": server.url}, JOB)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize(("retry_after", "delay_seconds"), [("0", 0), ("120", 120), ("3601", 3600), ("9" * 400, 3600)])
def test_retry_after_is_honoured_up_to_an_hour(
    server: HttpServer, status: int, retry_after: str, delay_seconds: int
) -> None:
    server.answer = replying(status, retry_after=retry_after)

    with pytest.raises(RetryLater) as raised:
        http_request({"url": server.url}, JOB)
    assert raised.value.delay_seconds == delay_seconds


def test_retry_after_may_be_a_date() -> None:
    now = datetime.now(UTC)

    assert retry_after_seconds(format_datetime(now + timedelta(seconds=90), usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after_seconds(format_datetime(now - timedelta(days=1), usegmt=True)) == 0
    assert retry_after_seconds(format_datetime(now + timedelta(days=1), usegmt=True)) == 3600
    assert retry_after_seconds("Fri, 31 Dec 2999 23:59:59 -0000") == 3600


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "²", "Fri, 99 Dec 2999 23:59:59 GMT", None])
def test_a_retry_after_that_says_nothing_is_no_delay(value: str | None) -> None:
    assert retry_after_seconds(value) is None


def test_a_useless_retry_after_leaves_the_delay_to_the_queue(server: HttpServer) -> None:
    server.answer = replying(503, retry_after="soon")

    with pytest.raises(RequestFailed):
        http_request({"url": server.url}, JOB)


@pytest.mark.parametrize(
    ("status", "expected"), [(404, 404), (404, [200, 404]), (302, 302), (500, [500]), (201, [200, 201])]
)
def test_an_expected_status_is_a_success(server: HttpServer, status: int, expected: Any) -> None:
    server.answer = replying(status)

    assert http_request({"url": server.url, "expect_status": expected}, JOB)["status"] == status


@pytest.mark.parametrize(("status", "error"), [(200, GiveUp), (404, GiveUp), (503, RequestFailed)])
def test_another_status_than_the_expected_one_is_a_failure(
    server: HttpServer, status: int, error: type[Exception]
) -> None:
    server.answer = replying(status)

    with pytest.raises(error):
        http_request({"url": server.url, "expect_status": [201, 202]}, JOB)


def test_cookies_are_not_kept_between_requests(server: HttpServer) -> None:
    server.answer = replying(200, set_cookie="session=1; Path=/")

    http_request({"url": server.url}, JOB)
    http_request({"url": server.url}, JOB)

    assert "cookie" not in server.received[1].headers


def test_a_server_that_hangs_up_is_tried_again(server: HttpServer) -> None:
    server.answer = lambda exchange: exchange.connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(RequestFailed):
        http_request({"url": server.url}, JOB)


def test_an_answer_that_is_not_http_is_tried_again(server: HttpServer) -> None:
    server.answer = lambda exchange: exchange.wfile.write(b"220 mail.example ESMTP\r\n\r\n") and None

    with pytest.raises(RequestFailed, match="RemoteProtocolError"):
        http_request({"url": server.url}, JOB)


def test_a_body_that_ends_early_is_tried_again(server: HttpServer) -> None:
    server.answer = lambda exchange: exchange.reply(200, b"half", content_length="8")

    with pytest.raises(RequestFailed, match="RemoteProtocolError"):
        http_request({"url": server.url}, JOB)


def test_a_refused_connection_is_tried_again(settings: Settings) -> None:
    with HttpServer() as server:
        settings.HTTP_REQUEST_ALLOWED_HOSTS = [server.authority]

    with pytest.raises(RequestFailed, match="ConnectionRefusedError"):
        http_request({"url": server.url}, JOB)


def test_a_name_that_does_not_resolve_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(RequestFailed, match="Temporary failure"):
        http_request({"url": "https://files.example.com/"}, JOB)


def dribble_head(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    exchange.dribble(b"x")


def dribble_interim(exchange: Exchange) -> None:
    exchange.dribble(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def dribble_body(exchange: Exchange) -> None:
    exchange.send_response(200)
    exchange.send_header("Content-Length", "100000")
    exchange.end_headers()
    exchange.dribble(b"x")


def say_nothing(exchange: Exchange) -> None:
    exchange.server.owner.closing.wait(30)


@pytest.mark.parametrize("answer", [dribble_head, dribble_interim, dribble_body, say_nothing])
def test_the_whole_request_ends_at_its_time_limit(server: HttpServer, answer: Callable[[Exchange], None]) -> None:
    server.answer = answer
    started = time.monotonic()

    with pytest.raises(RequestFailed, match="the time of the request is over"):
        http_request({"url": server.url, "timeout_seconds": 0.4}, JOB)
    server.closing.set()

    assert 0.4 <= time.monotonic() - started < 2


def test_a_server_that_reads_nothing_is_left_at_the_time_limit(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        authority = f"127.0.0.1:{deaf.getsockname()[1]}"
        settings.HTTP_REQUEST_ALLOWED_HOSTS = [authority]

        with pytest.raises(RequestFailed, match="the time of the request is over"):
            http_request({"url": f"http://{authority}", "body": "x" * 8_000_000, "timeout_seconds": 0.3}, JOB)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "http://files.example.com/",
        "https://files.example.com:22/",
        "https://user:password@files.example.com/",
        "https://[::1]/",
        "https://2130706433/",
        "ftp://files.example.com/",
    ],
)
def test_an_unlisted_url_that_is_not_plain_https_gives_up_before_any_lookup(network: Network, url: str) -> None:
    with pytest.raises(GiveUp):
        http_request({"url": url}, JOB)
    assert (network.lookups, network.connects) == ([], [])


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"])
def test_a_name_with_a_private_address_gives_up_without_connecting(network: Network, private: str) -> None:
    network.answers["files.example.com"] = [[PUBLIC, private]]

    with pytest.raises(GiveUp, match=r"files\.example\.com has an address that is not public"):
        http_request({"url": "https://files.example.com/"}, JOB)
    assert network.connects == []


def test_a_name_that_flips_to_loopback_never_gets_a_connection_there(network: Network) -> None:
    with HttpServer() as inside:
        network.answers["files.example.com"] = [[PUBLIC], ["127.0.0.1"]]

        with pytest.raises(RequestFailed, match="unreachable"):
            http_request({"url": "https://files.example.com:8443/"}, JOB)
        with pytest.raises(GiveUp, match="not public"):
            http_request({"url": "https://files.example.com:8443/"}, JOB)

        assert network.lookups == ["files.example.com"] * 2
        assert network.connects == [PUBLIC]
        assert inside.connections == 0


def test_a_listed_name_is_resolved_once_and_its_next_address_tried(settings: Settings, network: Network) -> None:
    settings.HTTP_REQUEST_ALLOWED_HOSTS = ["intranet.example"]
    network.answers["intranet.example"] = [["10.0.0.1", "10.0.0.2"]]
    with HttpServer() as server:
        network.routes["10.0.0.2"] = server.port

        result = http_request({"url": "http://intranet.example/"}, JOB)

        assert result["status"] == 200
        assert server.received[0].headers["host"] == "intranet.example"
    assert network.lookups == ["intranet.example"]
    assert network.connects == ["10.0.0.1", "10.0.0.2"]


def test_another_port_of_a_listed_host_is_refused(server: HttpServer) -> None:
    with HttpServer() as other:
        assert other.port != server.port
        with pytest.raises(GiveUp, match="not a listed host"):
            http_request({"url": other.url}, JOB)
        assert other.connections == 0


def test_a_listed_address_of_ipv6_is_called_by_its_brackets(settings: Settings) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        authority = f"[::1]:{listener.getsockname()[1]}"
        settings.HTTP_REQUEST_ALLOWED_HOSTS = [authority]

        with pytest.raises(RequestFailed):
            http_request({"url": f"http://{authority}/", "timeout_seconds": 0.1}, JOB)

        connection, _ = listener.accept()
        with connection:
            assert f"host: {authority}\r\n".encode() in connection.recv(4096).lower()


def test_proxies_of_the_environment_are_not_used(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        http_request({"url": server.url}, JOB)

        assert (len(server.received), proxy.connections) == (1, 0)


def test_credentials_of_a_netrc_file_are_not_sent(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    http_request({"url": server.url}, JOB)

    assert "authorization" not in server.received[0].headers


def test_plain_http_reads_no_certificates(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.handlers.http_request.tls_context", None)

    assert http_request({"url": server.url}, JOB)["status"] == 200


def test_the_result_is_json(server: HttpServer) -> None:
    server.answer = replying(200, bytes(range(256)), content_type="text/plain")

    assert json.loads(json.dumps(http_request({"url": server.url}, JOB)))["body_bytes"] == 256
