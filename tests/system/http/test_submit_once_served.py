"""Submissions that are sent twice to the served API: at once, or again because the answer was lost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from threading import Barrier

import pytest

from queueing import Inspector
from tests.system.http.server import ApiServer

ROUNDS = 50
BODY = b'{"kind":"echo","payload":{"amount":17}}'


def submit(port: int, key: str) -> tuple[int, str, bool]:
    """Submit and return the status, the job's id and whether it is said to have been submitted before."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/api/v1/jobs", BODY, {"Content-Type": "application/json", "Idempotency-Key": key})
        answer = connection.getresponse()
        return answer.status, json.load(answer)["id"], answer.headers["Idempotency-Replayed"] == "true"
    finally:
        connection.close()


@contextmanager
def losing_answers(port: int) -> Iterator[int]:
    """Give a port that passes one request on, and hangs up when the answer comes."""

    def pass_on() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", port), timeout=10) as server:
            request = b""
            while not request.endswith(BODY):
                request += client.recv(65_536)
            server.sendall(request)
            server.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=pass_on)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_two_clients_that_send_the_same_key_at_once_get_one_job(api: ApiServer, inspector: Inspector) -> None:
    together = Barrier(2)

    def send(number: int) -> tuple[int, str, bool]:
        together.wait(30)
        return submit(api.port, f"order-{number}")

    with ThreadPoolExecutor(2) as first, ThreadPoolExecutor(2) as second:
        rounds = [
            {call.result(30) for call in (first.submit(send, number), second.submit(send, number))}
            for number in range(ROUNDS)
        ]

    assert all(len({job_id for _, job_id, _ in answers}) == 1 for answers in rounds)
    said = [sorted((status, replayed) for status, _, replayed in answers) for answers in rounds]
    assert said == [[(201, False), (201, True)]] * ROUNDS
    assert inspector.stats("default").counters["submitted"] == ROUNDS


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_repeat_after_a_lost_answer_gets_the_same_job(api: ApiServer, inspector: Inspector, repeats: int) -> None:
    for _ in range(repeats):
        with losing_answers(api.port) as port, pytest.raises((OSError, HTTPException)):
            submit(port, "order-17")

    status, job_id, replayed = submit(api.port, "order-17")

    assert (status, replayed) == (201, True)
    assert api.ask("GET", f"/api/v1/jobs/{job_id}").status == 200
    assert inspector.stats("default").counters["submitted"] == 1
