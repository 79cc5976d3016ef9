"""Ten thousand jobs with real effects, end to end: each arrives, the last submitted first."""

from __future__ import annotations

import bisect
import os
import re
import time
from collections.abc import Callable, Sequence

import pytest

from queueing import Broker, Inspector, NewJob, State
from tests.system.processes import RunWorker
from tests.worker.servers import HttpServer, SmtpServer

EACH = 5_000
PROCESSES, CONCURRENCY = 2, 4
SLOTS = PROCESSES * CONCURRENCY
LIMIT_SECONDS = 60.0


def request(url: str, number: int) -> NewJob:
    return NewJob.of("http.request", {"url": f"{url}/{number}"})


def message(number: int) -> NewJob:
    return NewJob.of(
        "email.send",
        {"to": ["ann@example.org"], "from": "shop@example.com", "subject": f"no {number}", "body": "Hello"},
    )


def numbers_of_requests(http: HttpServer) -> list[int]:
    return [int(received.path.removeprefix("/")) for received in http.received]


def numbers_of_messages(smtp: SmtpServer) -> list[int]:
    found = [re.search(rb"^Subject: no (\d+)\r?$", received.content, re.MULTILINE) for received in smtp.messages]
    return [int(match[1]) for match in found if match]


def most_overtaken(arrived: Sequence[int]) -> int:
    """Return how many newer ones were still missing when one arrived, at most.

    Newer ones are claimed first, so what is missing then is in other slots, however long one of these is held up.
    """
    seen: list[int] = []
    worst = 0
    for number in arrived:
        newer_arrived = len(seen) - bisect.bisect(seen, number)
        worst = max(worst, EACH - 1 - number - newer_arrived)
        bisect.insort(seen, number)
    return worst


@pytest.mark.timeout(90)
def test_every_request_and_message_of_ten_thousand_jobs_arrives_the_last_submitted_first(
    run_worker: Callable[..., RunWorker], broker: Broker, inspector: Inspector
) -> None:
    with HttpServer() as http, SmtpServer() as smtp:
        jobs = [job for number in range(EACH) for job in (request(http.url, number), message(number))]
        began = time.monotonic()
        broker.enqueue_many("default", jobs)
        stored = time.monotonic()
        worker = run_worker(
            "--drain",
            *("--processes", str(PROCESSES), "--concurrency", str(CONCURRENCY)),
            HTTP_REQUEST_ALLOWED_HOSTS=http.authority,
            EMAIL_URL=f"smtp://127.0.0.1:{smtp.port}",
            LOG_LEVEL="WARNING",
        )

        assert worker.wait(LIMIT_SECONDS) == 0, worker.output[-2_000:]

        took = time.monotonic() - stored
        requests, messages = numbers_of_requests(http), numbers_of_messages(smtp)
    print(  # noqa: T201 - a figure for the reader
        f"10,000 jobs: stored in {stored - began:.1f} s, run in {took:.1f} s ({2 * EACH / took:.0f} jobs/s) by "
        f"{SLOTS} slots on {os.cpu_count()} cores; at most {most_overtaken(requests)} requests and "
        f"{most_overtaken(messages)} messages arrived after an older one"
    )
    assert sorted(requests) == list(range(EACH))
    assert sorted(messages) == list(range(EACH))
    assert inspector.stats("default").counts[State.SUCCEEDED] == 2 * EACH
    assert most_overtaken(requests) < SLOTS
    assert most_overtaken(messages) < SLOTS
