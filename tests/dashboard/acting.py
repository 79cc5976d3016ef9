"""Bring jobs about, and go through the forms of the dashboard as a browser without JavaScript does."""

from __future__ import annotations

import html
import re
from typing import Any

from django.http import HttpResponse
from django.test import Client

from queueing import Broker, JobError, NewJob
from tests.dashboard.conftest import BASE

HOSTILE = "<img src=x onerror=alert(1)>"
_FRAMES = 'File "/srv/app/pay.py", line {line}, in pay\n  File "/usr/lib/python3.11/json.py", line 9, in loads\n'


def die(
    broker: Broker,
    *messages: str,
    queue: str = "default",
    kind: str = "echo",
    error: str = "ValueError",
    line: int = 12,
    outcome: str = "dead",
    payload: Any = None,
) -> list[str]:
    """Let a job fail with each of the messages; returns their ids."""
    ids = []
    for message in messages:
        broker.enqueue(queue, NewJob.of(kind, payload, tags=("nightly",)))
        job = broker.claim(queue, "w1").jobs[0]
        failure = JobError(type=error, message=message, traceback=_FRAMES.format(line=line))
        broker.fail(job, failure, delay_ms=600_000, outcome=outcome)
        ids.append(job.id)
    return ids


def field(page: HttpResponse, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.content.decode())
    assert found, f"there is no field {name}"
    return html.unescape(found[1])


def text_of(page: HttpResponse) -> str:
    """Return a page without its tags, as people read it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.content.decode())).split())


def ask(browser: Client, verb: str, *ids: str, jobs: str | None = None) -> HttpResponse:
    """Press a button: for the jobs ticked, or all that a query string stands for."""
    chosen: dict[str, Any] = {"id": ids} if jobs is None else {"jobs": jobs}
    answer: HttpResponse = browser.post(f"{BASE}jobs/{verb}/", chosen)
    return answer


def do(browser: Client, verb: str, *ids: str, jobs: str | None = None, reason: str = "because") -> HttpResponse:
    """Press a button, and confirm; returns the answer to the first batch."""
    page = ask(browser, verb, *ids, jobs=jobs)
    assert page.status_code == 200, text_of(page)
    answer: HttpResponse = browser.post(f"{BASE}jobs/{verb}/", {"plan": field(page, "plan"), "reason": reason})
    return answer


def go_on(browser: Client, verb: str, page: HttpResponse) -> HttpResponse:
    """Press Continue."""
    answer: HttpResponse = browser.post(f"{BASE}jobs/{verb}/", {"progress": field(page, "progress")})
    return answer


def counts(page: HttpResponse) -> list[int]:
    """Return how many jobs a page of progress says were done, passed over and failed."""
    return [int(number) for number in re.findall(r"<dd[^>]*>(\d+)</dd>", page.content.decode())]
