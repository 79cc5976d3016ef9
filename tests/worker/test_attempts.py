from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from queueing import Broker, Claimed, NewJob
from worker.attempts import AttemptFilter, running

TRACE = "0af7651916cd43dd8448eb211c80319c"

logger = logging.getLogger("worker.tests")


@contextmanager
def logged(job: Claimed) -> Iterator[None]:
    """Run what is inside as an attempt does."""
    attempt = running.set(job)
    yield
    running.reset(attempt)


@pytest.fixture
def job(broker: Broker) -> Claimed:
    """Give a job that runs."""
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    broker.enqueue("default", NewJob.of("echo", request_id="request-1", traceparent=parent))
    return broker.claim("default", "w").jobs[0]


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Give what a handler with the filter sees."""
    only = AttemptFilter()
    caplog.handler.addFilter(only)
    yield caplog
    caplog.handler.removeFilter(only)


def test_what_is_logged_during_an_attempt_names_it(job: Claimed, seen: pytest.LogCaptureFixture) -> None:
    with logged(job):
        logger.warning("inside")

    (record,) = (vars(record) for record in seen.records)
    assert (record["job_id"], record["queue"], record["kind"], record["attempt"]) == (job.id, "default", "echo", 1)
    assert (record["request_id"], record["trace_id"]) == ("request-1", TRACE)


def test_what_is_logged_outside_names_none(job: Claimed, seen: pytest.LogCaptureFixture) -> None:
    with logged(job):
        pass
    logger.warning("outside")

    assert not hasattr(seen.records[0], "job_id")


def test_what_a_record_says_itself_stays(job: Claimed, seen: pytest.LogCaptureFixture) -> None:
    with logged(job):
        logger.warning("of another", extra={"job_id": "another"})

    assert vars(seen.records[0])["job_id"] == "another"
