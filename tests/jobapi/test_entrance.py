"""What the entrance makes of a request: when it gives it a thread, and what Django gets to see."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from granian.rsgi import ProtocolClosed, ProtocolError

from jobapi import entrance
from jobapi.entrance import Entrance, Servers, environ_of
from tests.system.processes import wait_until

BODY = b'{"kind":"echo"}'


class Headers:
    """Headers as granian has them: values that are not ASCII are missing from the items."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def keys(self) -> list[str]:
        return list(dict(self._pairs))

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._pairs if value.isascii()]


@dataclass
class Scope:
    """A request as granian describes it."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    method: str = "POST"
    path: str = "/api/v1/jobs"
    query_string: str = "a=b"
    http_version: str = "1.1"
    server: str = "127.0.0.1:8000"
    client: str = "192.0.2.7:54321"
    scheme: str = "http"
    authority: str | None = None

    @property
    def headers(self) -> Headers:
        return Headers(self.pairs)


class Exchange:
    """A body, None for one that never comes; keeps the answer."""

    def __init__(self, body: bytes | None, error: Exception | None = None) -> None:
        self._body = body
        self._error = error
        self.asked = False
        self.answer: tuple[int, list[tuple[str, str]], bytes] | None = None

    async def __call__(self) -> bytes:
        self.asked = True
        if self._error is not None:
            raise self._error
        if self._body is None:
            await asyncio.Event().wait()
        return self._body or b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = (status, headers, body)


class Echo:
    """A WSGI application that answers the body it got."""

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        start("202 Accepted", [("X-Length", environ.get("CONTENT_LENGTH", ""))])
        return Pieces(environ["wsgi.input"].read())


class Pieces(list[bytes]):
    """An answer's body, piece by piece."""

    def __init__(self, body: bytes) -> None:
        super().__init__([body[:5], body[5:]])

    def close(self) -> None: ...


def entrance_to(application: Any, body_seconds: float) -> Any:
    return Entrance(application, body_seconds=body_seconds, max_body_bytes=100)


def serve(scope: Scope, exchange: Exchange) -> Exchange:
    asyncio.run(entrance_to(Echo(), 0.05).__rsgi__(scope, exchange))
    return exchange


def environ(*pairs: tuple[str, str], **request: Any) -> dict[str, Any]:
    scope: Any = Scope(list(pairs), **request)
    return environ_of(scope)


def of_length(length: int) -> Scope:
    return Scope([("host", "localhost"), ("content-length", str(length))])


def test_a_body_is_served_and_the_answer_sent() -> None:
    served = serve(of_length(len(BODY)), Exchange(BODY))

    assert served.answer == (202, [("X-Length", "15")], BODY)


class Stream:
    """An answer in pieces; a client that stops reading after some."""

    def __init__(self, most: int) -> None:
        self.pieces: list[bytes] = []
        self._most = most

    async def send_bytes(self, data: bytes) -> None:
        if len(self.pieces) == self._most:
            raise ProtocolClosed
        self.pieces.append(data)


class StreamExchange(Exchange):
    def __init__(self, most: int = 100) -> None:
        super().__init__(b"")
        self.stream = Stream(most)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Stream:
        self.answer = (status, headers, b"")
        return self.stream


def serve_in_pieces(exchange: Exchange, *headers: tuple[str, str]) -> StreamingHttpResponse:
    """Let Django answer with a quarter of a megabyte that it makes while it is sent."""
    response = StreamingHttpResponse(b"x" * 1024 for _ in range(256))

    def django(environ: dict[str, Any], start: Any) -> StreamingHttpResponse:
        start("200 OK", [*headers])
        return response

    asyncio.run(entrance_to(django, 1).__rsgi__(Scope(method="GET"), exchange))
    return response


def endless(_environ: dict[str, Any], start: Any) -> StreamingHttpResponse:
    """Answer with what is made while it is sent."""
    start("200 OK", [])
    return StreamingHttpResponse(b"x" for _ in range(3))


def test_an_answer_without_an_end_in_sight_is_sent_in_pieces() -> None:
    exchange = StreamExchange()

    serve_in_pieces(exchange)

    assert [len(piece) for piece in exchange.stream.pieces] == [entrance.CHUNK_BYTES] * 4


def test_an_answer_whose_length_is_known_is_sent_whole() -> None:
    exchange = StreamExchange()

    serve_in_pieces(exchange, ("Content-Length", str(256 * 1024)))

    assert exchange.answer is not None
    assert len(exchange.answer[2]) == 256 * 1024


def test_when_the_client_goes_away_no_more_of_the_answer_is_made() -> None:
    exchange = StreamExchange(most=1)

    response = serve_in_pieces(exchange)

    assert len(exchange.stream.pieces) == 1
    assert response.closed


@pytest.mark.parametrize(
    "exchange", [Exchange(None), Exchange(None, ProtocolClosed()), Exchange(None, ProtocolError())]
)
def test_a_body_that_does_not_come_is_served_as_an_empty_one(exchange: Exchange) -> None:
    served = serve(of_length(len(BODY)), exchange)

    assert served.answer == (202, [("X-Length", "15")], b"")


@pytest.mark.parametrize(
    "scope",
    [
        Scope([("transfer-encoding", "chunked")]),
        of_length(0),
        of_length(101),
        of_length(10**30),
        Scope([("content-length", "15"), ("content-length", "15")]),
        Scope(),
    ],
)
def test_a_body_without_a_length_or_too_large_is_not_waited_for(scope: Scope) -> None:
    served = serve(scope, Exchange(None))

    assert not served.asked
    assert served.answer is not None
    assert served.answer[2] == b""


def test_only_so_many_large_bodies_are_taken_in_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "SMALL_BODY_BYTES", 20)
    monkeypatch.setattr(entrance, "LARGE_BODIES", 2)
    entry = entrance_to(Echo(), 30)
    large = [Exchange(None) for _ in range(3)]
    small = Exchange(BODY)

    async def all_at_once() -> None:
        tasks = [asyncio.ensure_future(entry.__rsgi__(of_length(50), exchange)) for exchange in large]
        await entry.__rsgi__(of_length(15), small)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_at_once())

    assert [exchange.asked for exchange in large] == [True, True, False]
    assert small.answer is not None


def test_work_whose_end_nobody_waits_for_does_not_wake_the_loop() -> None:
    servers = Servers(1)

    async def wakes_for(work: Any) -> int:
        loop = asyncio.get_running_loop()
        wake, wakes = loop.call_soon_threadsafe, list[Any]()
        loop.call_soon_threadsafe = lambda *args: (wakes.append(args), wake(*args))  # type: ignore[assignment,method-assign]
        await asyncio.wait_for(servers.run(work), 5)
        return len(wakes)

    assert asyncio.run(wakes_for(lambda: True)) == 0
    assert asyncio.run(wakes_for(lambda: None)) == 1
    servers.close()


def test_such_work_is_told_of_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "PATIENCE_SECONDS", 60)
    servers, done = Servers(1), threading.Event()

    async def one_after_the_other() -> None:
        first = asyncio.ensure_future(servers.run(lambda: done.set() is None))
        await asyncio.to_thread(done.wait, 5)
        await asyncio.wait_for(servers.run(lambda: None), 5)
        await asyncio.wait_for(first, 5)

    asyncio.run(one_after_the_other())
    servers.close()


@pytest.mark.parametrize("is_large", [False, True])
def test_the_end_is_told_at_once_where_somebody_waits_for_it(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(entrance, "SMALL_BODY_BYTES", 10 if is_large else 1000)
    application: Any = Echo() if is_large else endless
    exchange = Exchange(BODY) if is_large else StreamExchange()

    async def serve_one() -> None:
        await asyncio.wait_for(entrance_to(application, 5).__rsgi__(of_length(len(BODY)), exchange), 5)

    asyncio.run(serve_one())

    assert exchange.answer is not None


def test_what_work_raises_reaches_the_one_who_waits_for_it() -> None:
    servers = Servers(1)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(servers.run(fail))
    servers.close()


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_what_is_done_is_held(fails: bool) -> None:
    class Held:
        """What the work holds."""

        def use(self) -> None:
            if fails:
                raise ValueError("no")

    servers, gone = Servers(1), []

    async def use_one() -> None:
        held = Held()
        weakref.finalize(held, gone.append, True)
        with contextlib.suppress(ValueError):
            await servers.run(lambda held=held: held.use())

    gc.disable()  # for whoever waits for an answer's end cannot wait for it
    try:
        asyncio.run(use_one())
        wait_until(lambda: gone, 5)
    finally:
        gc.enable()
        servers.close()


def test_work_beyond_the_threads_waits_for_one_to_be_free() -> None:
    servers, together, most = Servers(2), threading.Semaphore(2), []

    def note() -> None:
        most.append(together.acquire(blocking=False))
        together.release()

    async def all_at_once() -> None:
        await asyncio.gather(*(servers.run(note) for _ in range(50)))

    asyncio.run(all_at_once())
    servers.close()

    assert most == [True] * 50


def threads_that_serve(servers: Servers, jobs: int) -> int:
    """Return how many threads take part in so many pieces of short work."""
    names: set[int] = set()

    async def all_at_once() -> None:
        await asyncio.gather(*(servers.run(lambda: names.add(threading.get_ident())) for _ in range(jobs)))

    asyncio.run(all_at_once())
    return len(names)


def test_a_few_threads_do_all_work_that_does_not_hold_them_up() -> None:
    servers = Servers(32, few=2)

    assert threads_that_serve(servers, 200) <= 2
    servers.close()


def test_for_threads_that_are_held_up_others_come_and_go_again() -> None:
    servers, end = Servers(32, few=2), threading.Event()

    async def beside_held_ones() -> int:
        held = [asyncio.ensure_future(servers.run(end.wait)) for _ in range(5)]
        await asyncio.sleep(0)
        await servers.run(lambda: None)
        helped = len(servers._threads)
        end.set()
        await asyncio.gather(*held)
        return helped

    assert asyncio.run(beside_held_ones()) == 6
    wait_until(lambda: len(servers._threads) == 2, 5)
    assert threads_that_serve(servers, 200) <= 2
    servers.close()


def test_there_are_no_more_threads_than_may_be_however_many_are_held_up() -> None:
    servers, end, number = Servers(4, few=2), threading.Event(), []

    async def hold() -> None:
        held = [asyncio.ensure_future(servers.run(end.wait)) for _ in range(6)]
        while len(servers._threads) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(3 * entrance.PATIENCE_SECONDS)
        number.append(len(servers._threads))
        end.set()
        await asyncio.gather(*held)

    asyncio.run(hold())
    servers.close()

    assert number == [4]


def test_work_whose_waiter_has_gone_is_done_all_the_same() -> None:
    servers, begin, done = Servers(1), threading.Event(), threading.Event()

    def work() -> None:
        begin.wait()
        done.set()

    async def give_up() -> None:
        waiting = asyncio.ensure_future(servers.run(work))
        await asyncio.sleep(0)
        waiting.cancel()
        begin.set()
        await asyncio.gather(waiting, return_exceptions=True)
        await servers.run(lambda: None)

    asyncio.run(give_up())
    servers.close()

    assert done.is_set()


def test_an_environ_has_what_wsgi_asks_for() -> None:
    seen = environ(("host", "localhost"), ("content-type", "application/json"), ("x-request-id", "a1b2c3d4"), path="/é")

    assert seen["REQUEST_METHOD"] == "POST"
    assert seen["PATH_INFO"] == "/\xc3\xa9"
    assert seen["QUERY_STRING"] == "a=b"
    assert seen["CONTENT_TYPE"] == "application/json"
    assert seen["HTTP_X_REQUEST_ID"] == "a1b2c3d4"
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", "8000")
    assert seen["REMOTE_ADDR"] == "192.0.2.7"


def test_an_ipv6_address_is_without_its_brackets() -> None:
    assert environ(client="[2001:db8::1]:4711")["REMOTE_ADDR"] == "2001:db8::1"


def test_a_header_sent_twice_is_one_list_and_cookies_are_joined_as_such() -> None:
    seen = environ(("accept", "a"), ("accept", "b"), ("cookie", "c=1"), ("cookie", "d=2"))

    assert (seen["HTTP_ACCEPT"], seen["HTTP_COOKIE"]) == ("a,b", "c=1;d=2")


def test_a_name_with_an_underscore_does_not_pass_for_the_one_with_a_dash() -> None:
    seen = environ(("x_forwarded_for", "192.0.2.1"), ("content_length", "5"))

    assert not {"HTTP_X_FORWARDED_FOR", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH"} & set(seen)


def test_a_value_that_is_not_ascii_is_empty_and_not_missing() -> None:
    assert environ(("idempotency-key", "ü"))["HTTP_IDEMPOTENCY_KEY"] == ""


def test_the_host_of_the_target_goes_before_the_header() -> None:
    assert environ(("host", "localhost"), authority="evil.example")["HTTP_HOST"] == "evil.example"


def test_without_any_host_there_is_an_empty_one_for_django_to_refuse() -> None:
    assert environ()["HTTP_HOST"] == ""
