"""Lines over TCP to an aggregator, as well as can be without ever holding up who logs.

Who logs puts a line into a bounded queue and goes on; a thread of its own, started with the first line and anew after
a fork, sends what is there. TCP has no receipts: what the system took is counted as sent, and may be lost with the
connection. The record of truth is stdout or a file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

from settings.log_handlers import Figures, Losses

MAX_RECORDS = 10_000
MAX_BYTES = 16 * 1024 * 1024
BATCH_BYTES = 64 * 1024
LINGER_SECONDS = 0.05  # in which lines gather to be sent together
CONNECT_SECONDS = 3.0
SEND_SECONDS = 5.0  # a sink that takes nothing for so long is left
FLUSH_SECONDS = 0.5
EXIT_SECONDS = 1.5  # after a flush, for what is queued when the process ends
HANG_UP_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 4.0  # with a connect that times out still within 10 s of the sink being back
SEND_BUFFER_BYTES = 128 * 1024  # what a connection that dies takes with it at most

Frame = Callable[[logging.LogRecord, str], bytes]


def as_line(_record: logging.LogRecord, line: str) -> bytes:
    """Frame a line by its end."""
    return f"{line}\n".encode()


@dataclass(frozen=True, slots=True)
class Syslog:
    """Frames lines as syslog messages (RFC 5424) with their lengths in front (RFC 6587, section 3.4.1)."""

    service: str
    host: str

    def __call__(self, record: logging.LogRecord, line: str) -> bytes:
        """Return the message of a record; its facility is local0, its MSGID the action."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        priority = 16 * 8 + _severity(record.levelno)
        names = (_name(self.host, 255), _name(self.service, 48), record.process, _name(_action(record), 32))
        message = f"<{priority}>1 {at} {' '.join(map(str, names))} - {line}".encode()
        return b"%d %s" % (len(message), message)


def _severity(level: int) -> int:
    """Return a level as syslog counts: critical 2, error 3, warning 4, informational 6, debug 7."""
    levels = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((severity for least, severity in levels if level >= least), 7)


def _action(record: logging.LogRecord) -> str:
    return str(getattr(record, "action", ""))


def _name(text: str, max_chars: int) -> str:
    return re.sub("[^!-~]", "_", text)[:max_chars] or "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The names of PEM files: whom to trust (the system's, when empty), and what to show when asked who we are."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Return what TLS needs, read anew."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return context


@dataclass(slots=True)
class Sink:
    """A connection to where lines go, with TLS if there are files for it; connects and sends within time limits."""

    host: str
    port: int
    tls: TlsFiles | None = None
    connections: int = 0
    _socket: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect unless there is a connection that the other side has not closed."""
        if self._socket is not None and not _is_closed(self._socket):
            return
        self.close()
        plain = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        try:
            _watch(plain)
            self._socket = self.tls.context().wrap_socket(plain, server_hostname=self.host) if self.tls else plain
        except BaseException:
            plain.close()
            raise
        self._socket.settimeout(SEND_SECONDS)
        self.connections += 1

    def send(self, data: memoryview) -> int:
        """Send some of the data, and return how many bytes that was."""
        assert self._socket is not None  # noqa: S101 - for the type checker
        return self._socket.send(data)

    def close(self) -> None:
        """Drop the connection; what the system has taken it goes on sending."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def hang_up(self) -> None:
        """End the connection in order: after close alone, what lies unread here would take back what was sent."""
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                self._socket.settimeout(HANG_UP_SECONDS)
                if isinstance(self._socket, ssl.SSLSocket):
                    self._socket = self._socket.unwrap()
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.recv(1)
        self.close()


def _watch(connection: socket.socket) -> None:
    """Let the system find out that nobody is there any more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed; what it says otherwise, such as tickets of TLS, is read and forgotten."""
    connection.settimeout(0)
    try:
        while connection.recv(4096):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        connection.settimeout(SEND_SECONDS)
        return False
    except OSError:
        return True
    return True


class Outbox:
    """A queue bounded by count and bytes; what is being sent counts until it is sent.

    Who puts may be a thread that is interrupted at the end of any call, or a signal handler: only locks and queues
    written in C, and no call between what belongs together.
    """

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._lock = threading.RLock()
        self._inbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._waiting: deque[bytes] = deque()

    def put(self, data: bytes) -> bool:
        """Take a record unless there is no room for it; returns whether it was taken."""
        size = len(data)
        with self._lock:
            if self.count >= MAX_RECORDS or self.bytes + size > MAX_BYTES:
                return False
            self.count += 1
            self.bytes += size
            self._inbox.put(data)
        return True

    def wake(self) -> None:
        """End a wait."""
        self._inbox.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to send, or the time is over."""
        if not self._waiting:
            with contextlib.suppress(Empty):
                self._take(self._inbox.get(timeout=seconds))

    def batch(self) -> list[bytes]:
        """Return the oldest records, of a batch's size; they stay until they are removed."""
        with contextlib.suppress(Empty):
            while True:
                self._take(self._inbox.get_nowait())
        batch: list[bytes] = []
        size = 0
        for data in self._waiting:
            batch.append(data)
            size += len(data)
            if size >= BATCH_BYTES:
                break
        return batch

    def _take(self, data: bytes | None) -> None:
        if data is not None:
            self._waiting.append(data)

    def remove(self, number: int) -> None:
        """Forget the oldest records."""
        size = sum(len(self._waiting.popleft()) for _ in range(number))
        with self._lock:
            self.count -= number
            self.bytes -= size


class TcpHandler(logging.Handler):
    """Ships lines to a sink; does no more than format and queue them on the thread that logs."""

    def __init__(self, sink: Sink, frame: Frame = as_line) -> None:
        super().__init__()
        self._sink = sink
        self._frame = frame
        self._start_afresh()
        _HANDLERS.add(self)

    def createLock(self) -> None:  # noqa: N802 - logging's own name
        """Have no lock: one held while the rest is sent at the end would hold up other threads."""
        self.lock = None

    def _start_afresh(self) -> None:
        """Begin with nothing; in a forked process the parent's lines and connection are the parent's."""
        self._outbox = Outbox()
        self._losses = Losses(self)
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._sent = 0
        self._failures = 0
        self._cause = ""
        self._sink.connections = 0
        self._sink.close()

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a record, unless a filter is against it."""
        wanted = bool(self.filter(record))
        if wanted:
            self.emit(record)
        return wanted

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; one for which there is no room is counted as lost."""
        try:
            data = self._frame(record, self.format(record))
            if self._closing.is_set():
                self._losses.add("closing")
            elif not self._outbox.put(data):
                self._losses.add("queue_full")
            if self._thread is None:
                self._start()
        except Exception:  # noqa: BLE001 - logging's rule for handlers
            self._losses.add("format_error")

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log-shipping", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread is to be had now: the next line tries again
            self._thread = None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._outbox.wait(1.0)
            if self._outbox.bytes < BATCH_BYTES:
                self._hurry.wait(LINGER_SECONDS)
            self._hurry.clear()
            if not self._ship():
                self._closing.wait(self._pause())
            self._losses.tell(self._cause or "the queue is full")
        while self._outbox.count and self._ship():
            pass
        self._sink.hang_up()

    def _pause(self) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter

    def _ship(self) -> bool:
        """Send what fits into a batch; returns whether nothing went wrong."""
        batch = self._outbox.batch()
        if not batch:
            return True
        try:
            self._sink.connect()
            self._send(batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next lines are tried again
            self._sink.close()
            self._failures += 1
            self._cause = f"{self._sink.host}:{self._sink.port}: {error}"
            return False
        self._failures, self._cause = 0, ""
        return True

    def _send(self, batch: Sequence[bytes]) -> None:
        """Send records; one that was sent in part when an error comes is kept, to be sent whole the next time."""
        data, done = memoryview(b"".join(batch)), 0
        try:
            while done < len(data):
                done += self._sink.send(data[done:])
        finally:
            self._note_sent(batch, done)

    def _note_sent(self, batch: Sequence[bytes], done: int) -> None:
        number = 0
        for record in batch:
            done -= len(record)
            if done < 0:
                break
            number += 1
        self._outbox.remove(number)
        self._sent += number

    def flush(self) -> None:
        """Wait until what is queued is sent, for half a second at most, and no longer than the sink is well."""
        self._hurry.set()
        until = time.monotonic() + FLUSH_SECONDS
        while self._outbox.count and not self._failures and time.monotonic() < until:
            time.sleep(0.002)

    def close(self) -> None:
        """Send what is queued, within 2 s, and count the rest as lost."""
        is_first = not self._closing.is_set()
        self._closing.set()
        self._hurry.set()
        self._outbox.wake()
        if self._thread is not None:
            self._thread.join(EXIT_SECONDS)
        if is_first and self._outbox.count:
            self._losses.add("closing", self._outbox.count)
        self._losses.tell(self._cause or "the process ends", now=True)
        super().close()

    def figures(self) -> Figures:
        """Return what became of the lines."""
        reasons = ("queue_full", "closing", "format_error")
        return Figures(
            sent=self._sent,
            dropped={reason: self._losses.counts[reason] for reason in reasons},
            queued=self._outbox.count,
            queued_bytes=self._outbox.bytes,
            connected=self._sink.is_connected,
            reconnects=max(0, self._sink.connections - 1),
        )


_HANDLERS: weakref.WeakSet[TcpHandler] = weakref.WeakSet()


def _forget_the_parent() -> None:
    for handler in _HANDLERS:
        handler._start_afresh()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forget_the_parent)
