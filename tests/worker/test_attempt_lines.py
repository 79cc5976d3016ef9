"""The line that each attempt leaves in the log."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from queueing import JobError
from tests.worker.rig import claimed, lease_of
from worker.attempt_lines import AttemptLines
from worker.outcomes import Outcome

LOGGER = "worker.attempt_lines"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> AttemptLines:
    caplog.set_level(logging.INFO, LOGGER)
    return AttemptLines("host:1:test")


def outcome(verdict: str = "succeeded", error: JobError | None = None) -> Outcome:
    return Outcome(lease=lease_of(claimed()), verdict=verdict, duration_seconds=0.25, error=error)


def test_it_is_written_once_with_the_time_of_the_report(lines: AttemptLines, caplog: pytest.LogCaptureFixture) -> None:
    reported_at = time.time() - 0.5

    lines.note(outcome(), "succeeded", reported_at)
    lines.write()
    lines.write()

    (record,) = caplog.records
    assert record.created == reported_at
    assert record.msecs == pytest.approx(record.created % 1 * 1000)
    assert record.getMessage() == f"attempt 1 of job {claimed().id}: succeeded"
    assert (record.levelname, record.worker, record.duration_seconds) == ("INFO", "host:1:test", 0.25)


def test_one_that_did_not_succeed_is_a_warning_with_the_kind_of_error_and_without_its_text(
    lines: AttemptLines, caplog: pytest.LogCaptureFixture
) -> None:
    lines.note(outcome("failed", JobError(type="Boom", message="the secret")), "retrying", time.time())
    lines.write()

    (record,) = caplog.records
    assert (record.levelname, record.outcome, record.error) == ("WARNING", "retrying", {"type": "Boom"})
    assert record.getMessage().endswith(": retrying (Boom)")
    assert "secret" not in str(vars(record))


def test_what_the_level_leaves_out_is_not_kept(lines: AttemptLines, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
    lines.note(outcome(), "succeeded", time.time())
    caplog.set_level(logging.INFO, LOGGER)
    lines.write()

    assert caplog.records == []


def test_several_threads_write_each_once(lines: AttemptLines, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(500):
        lines.note(outcome(), "succeeded", time.time())
    threads = [threading.Thread(target=lines.write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(caplog.records) == 500
