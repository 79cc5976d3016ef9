"""The way in under granian: a request is given a thread once its body is here.

granian's WSGI interface gives each request a thread at once, which a body that never comes holds for ever: as many such
bodies as there are threads stop the API. Here the event loop (granian's RSGI interface) waits for the bodies, and not
longer than a client may take; Django (WSGI) gets requests that have arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from django.core.handlers.wsgi import WSGIHandler
from granian.rsgi import ProtocolClosed, ProtocolError, Scope

from jobapi import access, proxies
from jobapi.afterwards import afterwards
from queueing import traces

THREADS = 32  # requests served at a time, at most; those that wait for Redis must not hold up the rest
FEW_THREADS = 4  # that serve as a rule: Python runs one at a time, and more would only take turns with cold caches
PATIENCE_SECONDS = 0.05  # for a request, until the thread that serves it passes for held up
SMALL_BODY_BYTES = 64 * 1024  # as many may come at once as there are connections
CHUNK_BYTES = 64 * 1024  # of an answer that is made while it is sent
LARGE_BODIES = 8  # that may come, and be served, at a time: what they take of the memory is bounded

Environ = dict[str, Any]
Work = Callable[[], object]  # returns True when nobody waits for its end
Done = asyncio.Future[None]
Headers = list[tuple[str, str]]


class Stream(Protocol):
    """An answer that has begun."""

    async def send_bytes(self, data: bytes) -> None:
        """Send the next piece, once the client has taken enough of those before; raises ProtocolClosed."""


class Exchange(Protocol):
    """One request's body and answer, as granian gives them."""

    async def __call__(self) -> bytes:
        """Return the body once it is here; raises ProtocolError or ProtocolClosed when it will not be."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Send the answer, from any thread."""

    def response_stream(self, status: int, headers: Headers) -> Stream:
        """Begin an answer that comes in pieces, from any thread."""


class Entrance:
    """An RSGI application in front of Django; a body may take `body_seconds` and have `max_body_bytes`.

    What proxies in `trusted_proxies`, networks, say of their clients is believed.
    """

    def __init__(
        self, django: WSGIHandler, *, body_seconds: float, max_body_bytes: int, trusted_proxies: Sequence[str] = ()
    ) -> None:
        self._django = django
        self._body_seconds = body_seconds
        self._max_body_bytes = max_body_bytes
        self._trusted_proxies = trusted_proxies
        self._servers = Servers(THREADS)
        self._large_bodies = asyncio.Semaphore(LARGE_BODIES)

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Serve a request; the thread that serves it sends the answer."""
        began = time.monotonic()
        environ = environ_of(scope)
        proxies.heed(environ, self._trusted_proxies)
        async with self._large_bodies if _length(environ) > SMALL_BODY_BYTES else contextlib.nullcontext():
            environ["wsgi.input"] = io.BytesIO(await self._body(environ, exchange))
            loop = asyncio.get_running_loop()
            await self._servers.run(lambda: self._serve(environ, exchange, began, loop))

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Send what is left of spans and log lines: granian ends this process without Python's own way out."""
        self._servers.close()
        afterwards.close()
        traces.close()
        logging.shutdown()

    async def _body(self, environ: Environ, exchange: Exchange) -> bytes:
        """Return the body; nothing of one that is late or cut off, or that will be refused for its length."""
        if 0 < _length(environ) <= self._max_body_bytes:
            with contextlib.suppress(TimeoutError, ProtocolError, ProtocolClosed):
                async with asyncio.timeout(self._body_seconds):
                    return await exchange()
        return b""

    def _serve(self, environ: Environ, exchange: Exchange, began: float, loop: asyncio.AbstractEventLoop) -> bool:
        """Answer; return whether nobody waits for the end: the answer is on its way, and no large body had a place."""
        answer = Answer()
        try:
            with contextlib.closing(self._django(environ, answer.start)) as pieces:
                is_whole = self._send(answer, pieces, exchange, loop)
            return is_whole and _length(environ) <= SMALL_BODY_BYTES
        finally:
            access.note(environ, status=answer.status, length=answer.length, seconds=time.monotonic() - began)

    def _send(
        self, answer: Answer, pieces: Iterable[bytes], exchange: Exchange, loop: asyncio.AbstractEventLoop
    ) -> bool:
        """Send an answer whole; one whose length nobody knows in pieces, as fast as the client takes them.

        Returns whether it was sent whole.
        """
        if not answer.is_endless(pieces):
            body = b"".join([*answer.written, *pieces])
            answer.length = len(body)
            exchange.response_bytes(answer.status, answer.headers, body)
            return True
        stream = exchange.response_stream(answer.status, answer.headers)
        with contextlib.suppress(TimeoutError, ProtocolError, ProtocolClosed):  # the client has gone, or takes no more
            for chunk in _chunks(pieces):
                asyncio.run_coroutine_threadsafe(_sent(stream, chunk), loop).result(self._body_seconds)
                answer.length += len(chunk)
        return False


async def _sent(stream: Stream, chunk: bytes) -> None:
    await stream.send_bytes(chunk)  # which is awaitable, and not always a coroutine


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what pieces add up to, in such parts as are worth a send."""
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


class Servers:
    """Threads that work for an event loop; they wake it once for all that they have finished by then.

    For work whose end nobody waits for they do not wake it: it looks for that with the next work, or within 50 ms. Each
    time it wakes it has to wait for the interpreter, and takes it from a thread that serves.

    A few do all work. For each that its work holds up another comes, up to `number` in all, and goes when it is spare.

    An executor of `concurrent.futures` does the same with more: what its locks and futures cost is a tenth of a call.
    """

    def __init__(self, number: int, few: int = FEW_THREADS) -> None:
        self._number, self._few = number, min(few, number)
        self._threads: dict[threading.Thread, float] = {}  # since when each is at its work
        self._leaving = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Work, Done] | None] = queue.SimpleQueue()
        self._finished: deque[tuple[Done, BaseException | None]] = deque()
        self._underway = 0  # pieces of work whose end the loop does not know of
        self._is_waking = False
        self._is_watching = False

    async def run(self, work: Work) -> None:
        """Do some work in one of the threads, and return when it is done; raises what it raises.

        When the work returns True this may return up to PATIENCE_SECONDS after its end.
        """
        self._tell()
        loop = asyncio.get_running_loop()
        if len(self._threads) < self._few:
            self._add_thread()
        done: Done = loop.create_future()
        self._waiting.put((work, done))
        self._underway += 1
        if not self._is_watching:
            self._is_watching = True
            loop.call_later(PATIENCE_SECONDS, self._watch, loop)
        try:
            await done
        finally:
            del done, work  # see `_do`

    def close(self) -> None:
        """End the threads, when they have done all work."""
        threads = list(self._threads)
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="request", daemon=True)
        self._threads[thread] = math.inf
        thread.start()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let threads come for those that are held up; look again as long as work is underway."""
        self._tell()
        waiting = self._waiting.qsize()
        for _ in range(min(waiting, self._few - self._able(), self._number - len(self._threads))):
            self._add_thread()
        self._is_watching = self._underway > 0
        if self._is_watching:
            loop.call_later(PATIENCE_SECONDS, self._watch, loop)

    def _able(self) -> int:
        """Return how many threads are not held up."""
        late = time.monotonic() - PATIENCE_SECONDS
        return sum(began > late for began in list(self._threads.values()))

    def _serve(self) -> None:
        this = threading.current_thread()
        while (taken := self._waiting.get()) is not None:
            self._threads[this] = time.monotonic()
            self._do(*taken)
            del taken
            self._threads[this] = math.inf
            if len(self._threads) > self._few and self._leaves(this):
                return

    def _leaves(self, this: threading.Thread) -> bool:
        """Whether a thread goes, as there are enough without it."""
        with self._leaving:
            is_spare = self._able() > self._few
            if is_spare:
                del self._threads[this]
            return is_spare

    def _do(self, work: Work, done: Done) -> None:
        """Work, and keep nothing of it: an answer in pieces ends only when nobody holds its exchange any more."""
        loop = done.get_loop()
        error: BaseException | None = None
        may_wait = False
        try:
            may_wait = work() is True
        except BaseException as raised:  # noqa: BLE001 - it is for who waits
            error = raised
        self._finished.append((done, error))
        del error, done  # an error holds this frame, which must not hold the error
        if not (may_wait or self._is_waking):
            self._is_waking = True
            loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        """Let those go on whose work is done; what is finished from now on wakes the loop again."""
        self._is_waking = False
        while self._finished:
            done, error = self._finished.popleft()
            self._underway -= 1
            if done.cancelled():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)


class Answer:
    """What a WSGI application has said of its answer."""

    def __init__(self) -> None:
        self.status: int = HTTPStatus.INTERNAL_SERVER_ERROR
        self.headers: Headers = []
        self.written: list[bytes] = []
        self.length = 0

    def is_endless(self, pieces: Iterable[bytes]) -> bool:
        """Whether Django makes the answer while it is sent."""
        return getattr(pieces, "streaming", False) and all(name.lower() != "content-length" for name, _ in self.headers)

    def start(self, status: str, headers: Headers, _error: Any = None, /) -> Callable[[bytes], object]:
        """Note the status and the headers (PEP 3333, start_response)."""
        self.status, self.headers = int(status.partition(" ")[0]), headers
        return self.written.append


def environ_of(scope: Scope) -> Environ:
    """Return the environ of a request (PEP 3333), all but its body."""
    server, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": _native(scope.path),
        "QUERY_STRING": _native(scope.query_string),
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": server.strip("[]"),
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **headers_of(scope),
    }
    # A target with a host goes before the header (RFC 9112, section 3.2.2); no host at all is for Django to refuse
    environ["HTTP_HOST"] = scope.authority or environ.get("HTTP_HOST", "")
    return environ


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers under their WSGI names, repeated ones joined; a value that is not ASCII is empty.

    A name with an underscore is left out: in WSGI it would pass for the one with a dash, which a proxy may vouch for.
    """
    values: dict[str, list[str]] = {name: [] for name in scope.headers.keys() if "_" not in name}  # noqa: SIM118
    for name, value in scope.headers.items():
        if name in values:
            values[name].append(value)
    return {_variable(name): (";" if name == "cookie" else ",").join(found) for name, found in values.items()}


def _variable(name: str) -> str:
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


def _length(environ: Environ) -> int:
    """Return the length that a body says it has; 0 for what is no number, which Django refuses."""
    sent: str = environ.get("CONTENT_LENGTH", "")
    return int(sent) if sent.isascii() and sent.isdecimal() and len(sent) < 19 else 0


def _native(text: str) -> str:
    """Return text as WSGI has it: each byte of its UTF-8 a character."""
    return text.encode().decode("latin-1")
