"""Calls to an authorization server: bounded in time, in size and in number, and never led elsewhere.

A call runs in a thread of its own, so that nothing (a name that does not resolve, a handshake, an answer that comes
byte by byte) holds the request that waits for it longer than it may. No redirect is followed and no proxy of the
environment is used.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

LIMIT_SECONDS = 2.0  # for all calls together that one request waits for
MAX_ANSWER_BYTES = 256 * 1024
MAX_CALLS = 16  # at a time: half of the threads that serve requests (entrance.THREADS)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_places = threading.BoundedSemaphore(MAX_CALLS)


class OutsideError(Exception):
    """A call gave no usable answer; `status` is that of the answer, 0 when there was none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


def is_safe(url: str) -> bool:
    """Whether a secret may go to a URL: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
    return named and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def ask(
    url: str, *, until: float, form: Mapping[str, str] | None = None, credentials: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object at a URL, or what a posted form is answered with; `until` is a monotonic time.

    The credentials are those of a client, sent as RFC 6749, section 2.3.1, says. Raises OutsideError.
    """
    if not is_safe(url):
        raise OutsideError("the address is neither https nor on this machine")
    if not _places.acquire(timeout=max(0.0, until - monotonic())):
        raise OutsideError("too many calls wait for the authorization server")
    call = _Call(url, form, credentials, until)
    threading.Thread(target=call.run, daemon=True, name="outside").start()
    return call.answer()


class _Call:
    """One call; the thread that makes it gives its place back when it ends, however late that is."""

    def __init__(
        self, url: str, form: Mapping[str, str] | None, credentials: tuple[str, str] | None, until: float
    ) -> None:
        self._url = urlsplit(url)
        self._form = form
        self._credentials = credentials
        self._until = until
        self._done = threading.Event()
        self._connection: HTTPConnection | None = None
        self._answer: dict[str, Any] | None = None
        self._error = OutsideError("no answer in time")

    def answer(self) -> dict[str, Any]:
        """Wait for the answer as long as there is time."""
        if not self._done.wait(max(0.0, self._until - monotonic())):
            self._give_up()
        if self._answer is None:
            raise self._error
        return self._answer

    def _give_up(self) -> None:
        """Wake the thread from what it waits for, if it has got as far as a connection."""
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Make the call, in a thread of its own."""
        try:
            self._answer = _object(self._exchange())
        except OutsideError as error:
            self._error = error
        except (OSError, HTTPException, ValueError) as error:
            self._error = OutsideError(f"{type(error).__name__}: {error}"[:200])
        finally:
            self._done.set()
            _places.release()

    def _exchange(self) -> bytes:
        self._connection = self._connect()
        with contextlib.closing(self._connection):
            target = f"{self._url.path or '/'}{'?' if self._url.query else ''}{self._url.query}"
            body = None if self._form is None else urlencode(self._form)
            self._connection.request("GET" if body is None else "POST", target, body, self._headers())
            answer = self._connection.getresponse()
            if answer.status != 200:
                raise OutsideError(f"the answer's status is {answer.status}", answer.status)
            return answer.read(MAX_ANSWER_BYTES + 1)

    def _connect(self) -> HTTPConnection:
        seconds = max(0.001, self._until - monotonic())
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            return HTTPSConnection(host, self._url.port, timeout=seconds, context=_tls())
        return HTTPConnection(host, self._url.port, timeout=seconds)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self._credentials is not None:
            pair = ":".join(quote_plus(part) for part in self._credentials)
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_ANSWER_BYTES:
        raise OutsideError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise OutsideError("the answer is not a JSON object") from None
