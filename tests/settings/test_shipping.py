from __future__ import annotations

import json
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from settings import shipping
from settings.log_lines import LineFormatter
from settings.shipping import Frame, Syslog, TcpHandler, TlsFiles, as_line
from tests.settings.sinks import Sink
from tests.system.processes import wait_until

Start = Callable[..., TcpHandler]

NEVER = 0  # a port on which nothing can listen


def record(message: str = "hello", level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", level, "", 0, message, None, None)
    made.action = "greet"
    return made


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that makes a handler for a port, and close what it made."""
    made: list[TcpHandler] = []

    def make(port: int, frame: Frame = as_line, tls: TlsFiles | None = None) -> TcpHandler:
        handler = TcpHandler(shipping.Sink("localhost" if tls else "127.0.0.1", port, tls), frame)
        handler.setFormatter(LineFormatter(service="api"))
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close()


def messages(sink: Sink) -> list[str]:
    return [json.loads(line)["message"] for line in sink.lines]


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def ship(handler: TcpHandler, texts: list[str]) -> None:
    for text in texts:
        handler.handle(record(text))


def test_lines_arrive_in_their_order(sink: Sink, start: Start) -> None:
    handler = start(sink.port)

    ship(handler, numbered(5000))

    wait_until(lambda: len(sink.lines) == 5000)
    assert messages(sink) == numbered(5000)
    wait_until(lambda: handler.figures().sent == 5000)
    assert handler.figures().queued == handler.figures().queued_bytes == 0
    assert handler.figures().connected


def test_nothing_is_started_or_connected_before_the_first_line(sink: Sink, start: Start) -> None:
    before = threading.active_count()

    handler = start(sink.port)

    assert threading.active_count() == before
    assert not handler.figures().connected


def test_closing_sends_what_is_queued(sink: Sink, start: Start) -> None:
    handler = start(sink.port)

    ship(handler, numbered(2000))
    handler.close()

    wait_until(lambda: len(sink.lines) == 2000)
    assert handler.figures().dropped["closing"] == 0


def test_a_flush_waits_until_what_is_queued_is_sent(sink: Sink, start: Start) -> None:
    handler = start(sink.port)

    ship(handler, numbered(10))
    handler.flush()

    assert handler.figures().sent == 10


def test_a_flush_does_not_wait_for_a_sink_that_is_away(start: Start) -> None:
    handler = start(NEVER)
    ship(handler, ["hello"])
    wait_until(lambda: handler._failures)

    began = time.monotonic()
    handler.flush()

    assert time.monotonic() - began < shipping.FLUSH_SECONDS
    assert handler.figures().queued == 1


def test_closing_without_a_sink_ends_soon_and_counts_the_rest(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = start(NEVER)

    ship(handler, numbered(10))
    handler.close()
    ship(handler, ["too late"])

    assert handler.figures().dropped["closing"] == 11
    told = json.loads(capsys.readouterr().err.splitlines()[0])
    assert told["action"] == "log_lines_dropped"
    assert told["message"].startswith("10 ")


def test_the_queue_is_bounded_by_count(start: Start) -> None:
    handler = start(NEVER)

    ship(handler, numbered(shipping.MAX_RECORDS + 50))

    assert handler.figures().queued == shipping.MAX_RECORDS
    assert handler.figures().dropped["queue_full"] == 50


def test_the_queue_is_bounded_by_bytes(start: Start) -> None:
    handler = start(NEVER)

    ship(handler, ["x" * 60_000] * 400)

    figures = handler.figures()
    assert 0.99 * shipping.MAX_BYTES < figures.queued_bytes <= shipping.MAX_BYTES
    assert figures.queued + figures.dropped["queue_full"] == 400


def test_no_line_is_lost_while_the_sink_starts_late(sink: Sink, start: Start) -> None:
    sink.stop()
    handler = start(sink.port)

    ship(handler, numbered(100))
    sink.start()

    wait_until(lambda: len(sink.lines) == 100)
    assert messages(sink) == numbered(100)


def test_a_line_after_the_sink_has_closed_goes_to_a_new_connection(sink: Sink, start: Start) -> None:
    handler = start(sink.port)
    ship(handler, ["before"])
    wait_until(lambda: sink.lines)

    sink.stop()
    sink.start()
    ship(handler, ["after"])

    wait_until(lambda: len(sink.lines) == 2)
    assert messages(sink) == ["before", "after"]
    assert handler.figures().reconnects == 1


def test_a_line_sent_in_part_is_sent_whole_on_the_next_connection(
    sink: Sink, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = shipping.Sink.send, iter(range(10**6))

    def stall_after_a_part(self: shipping.Sink, data: memoryview) -> int:
        call = next(calls)
        if call == 1:
            raise TimeoutError
        return real(self, data[:15_000] if call == 0 else data)

    monkeypatch.setattr(shipping.Sink, "send", stall_after_a_part)
    handler = start(sink.port)
    texts = [f"{number} {'x' * 10_000}" for number in range(5)]

    ship(handler, texts)

    wait_until(lambda: len(sink.lines) == 5)
    assert messages(sink) == texts
    assert [text.endswith(b"\n") for text in sink.received] == [False, True]


def test_who_logs_is_not_held_up_by_a_sink_that_reads_nothing(sink: Sink, start: Start) -> None:
    sink.reading.clear()
    handler = start(sink.port)
    done = threading.Event()

    def log() -> None:
        ship(handler, ["x" * 10_000] * 3000)
        done.set()

    threading.Thread(target=log, daemon=True).start()

    assert done.wait(30)
    assert handler.figures().dropped["queue_full"] > 0


def test_a_forked_process_has_a_connection_of_its_own_and_sends_nothing_twice(sink: Sink, start: Start) -> None:
    handler = start(sink.port)
    ship(handler, ["parent"])
    wait_until(lambda: sink.lines)
    sink.reading.clear()
    ship(handler, numbered(100))  # which the child is not to send

    child = os.fork()
    if child == 0:
        ship(handler, ["child"])
        handler.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    ship(handler, ["parent again"])
    sink.reading.set()

    wait_until(lambda: len(sink.lines) >= 103)
    assert status == 0
    assert sorted(messages(sink)) == sorted(["parent", *numbered(100), "child", "parent again"])
    assert len(sink.received) == 2


def test_a_fork_while_other_threads_log_leaves_the_child_able_to(sink: Sink, start: Start) -> None:
    handler = start(sink.port)
    stop = threading.Event()

    def log() -> None:
        while not stop.is_set():
            ship(handler, ["noise"])

    noisy = [threading.Thread(target=log) for _ in range(3)]
    for thread in noisy:
        thread.start()
    children = []
    for number in range(10):
        child = os.fork()
        if child == 0:
            ship(handler, [f"child {number}"])
            handler.close()
            os._exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    for thread in noisy:
        thread.join()

    assert statuses == [0] * 10
    wait_until(lambda: len([text for text in messages(sink) if text.startswith("child")]) == 10)


def test_a_record_that_cannot_be_formatted_is_counted_and_raises_nothing(sink: Sink, start: Start) -> None:
    handler = start(sink.port)
    handler.setFormatter(logging.Formatter("%(nothing)s"))

    ship(handler, ["hello"])

    assert handler.figures().dropped["format_error"] == 1


def test_syslog_messages_have_their_length_in_front(sink: Sink, start: Start) -> None:
    handler = start(sink.port, Syslog("api of ours", "host.example"))

    handler.handle(record("one\ntwo", logging.ERROR))
    handler.handle(record("three"))
    handler.close()

    wait_until(lambda: b"three" in b"".join(sink.received))
    (text,) = sink.received
    length, _, rest = text.partition(b" ")
    first = rest[: int(length)].decode()
    pattern = r"<131>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z host\.example api_of_ours \d+ greet - (\{.*\})"
    found = re.fullmatch(pattern, first)
    assert found
    assert json.loads(found[1])["message"] == "one\ntwo"
    assert rest[int(length) :].partition(b" ")[2].startswith(b"<134>1 ")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    """Give the files of a client that trusts the authority, and is known to it."""
    certificate = authority.issue_cert("client.example.org")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    return TlsFiles(ca=str(tmp_path / "ca.pem"), certificate=str(tmp_path / "client.pem"))


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Sink]:
    """Run a sink that takes known clients alone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("localhost").configure_cert(context)
    with Sink(context) as running:
        yield running


def test_lines_arrive_over_tls_from_a_known_client(secure: Sink, start: Start, files: TlsFiles) -> None:
    handler = start(secure.port, tls=files)

    ship(handler, numbered(500))
    handler.close()

    wait_until(lambda: len(secure.lines) == 500)


def test_a_sink_that_nobody_vouches_for_gets_nothing(secure: Sink, start: Start) -> None:
    handler = start(secure.port, tls=TlsFiles())

    ship(handler, ["secret"])
    handler.close()

    assert secure.lines == []
    assert handler.figures().dropped["closing"] == 1


def test_a_connection_is_watched_by_the_system(sink: Sink) -> None:
    made = shipping.Sink("127.0.0.1", sink.port)
    made.connect()
    assert made._socket is not None

    assert made._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert made._socket.gettimeout() == shipping.SEND_SECONDS
    made.close()
