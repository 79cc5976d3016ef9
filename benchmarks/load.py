"""A client that keeps some connections busy with one request, over and over, at little cost of its own.

    python -m benchmarks.load PORT PATH CONNECTIONS SECONDS < BODY

sends the next request on a connection as soon as the answer to the last is there, and prints as JSON how many were
answered in how many seconds, the percentiles of their times, and the CPU time it took itself; the first tenth of the
time is not in it. An answer that is no 200 or 201 ends it.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_GOOD = (b"200", b"201")


class Connection:
    """One connection, and the answer that is on its way."""

    def __init__(self, port: int, request: bytes) -> None:
        self._request = request
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._answer = b""

    def send(self) -> None:
        """Send the request."""
        self.began = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what has come and tell whether the answer is whole."""
        got = self.socket.recv(1 << 20)
        if not got:
            raise ConnectionError("the server closed a connection")
        self._answer = self._answer + got if self._answer else got
        head = self._answer.find(b"\r\n\r\n")
        if head < 0:
            return False
        found = _LENGTH.search(self._answer, 0, head + 2)
        if self._answer[9:12] not in _GOOD or found is None:
            raise ConnectionError(self._answer[:1000].decode(errors="replace"))
        if len(self._answer) < head + 4 + int(found[1]):
            return False
        self._answer = b""
        return True


def run(port: int, path: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Keep the connections busy for so long, wait for the last answers, and return the figures."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    opened = [Connection(port, request) for _ in range(connections)]
    by_number = {connection.socket.fileno(): connection for connection in opened}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    began = time.perf_counter()
    measured_from, until = began + seconds / 10, began + seconds
    times: list[float] = []
    total, waiting, cpu = 0, len(opened), time.process_time()
    for connection in opened:
        connection.send()
    while waiting:
        for number, _ in poll.poll():
            connection = by_number[number]
            if not connection.receive():
                continue
            now, total = time.perf_counter(), total + 1
            if measured_from <= now < until:
                times.append(now - connection.began)
            if now < until:
                connection.send()
            else:
                waiting -= 1
    rate, times = len(times) / (until - measured_from), sorted(times) or [0.0]
    return {
        "total": total,
        "rate": rate,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
        "cpu_seconds": time.process_time() - cpu,
    }


if __name__ == "__main__":
    port, path, connections, seconds = sys.argv[1:]
    print(json.dumps(run(int(port), path, sys.stdin.buffer.read(), int(connections), float(seconds))))
