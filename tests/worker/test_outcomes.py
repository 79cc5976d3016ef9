"""How attempts end, and what the queue is told of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.db import connections

from tests.worker.rig import claimed, lease_of
from worker import outcomes
from worker.context import JobContext
from worker.errors import AttemptTimeout, GiveUp, JobCancelled, LeaseLost, RetryLater
from worker.leases import Lease
from worker.outcomes import UNKNOWN_KIND_DELAY_MS, Outcome, run_attempt
from worker.registry import Handler


class Unprintable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class HalfMade(RetryLater):
    """A RetryLater that forgot its delay."""

    def __init__(self) -> None:
        Exception.__init__(self, "half made")


def ignore(lease: Lease) -> None:
    """Extend nothing."""


def attempt(handler: Handler, payload: bytes = b"null", **changes: Any) -> Outcome:
    """Run the handler for a job."""
    return run_attempt(lease_of(claimed(payload, kind="tested", **changes)), {"tested": handler}, ignore)


def raising(error: BaseException) -> Handler:
    """Return a handler that raises the error."""

    def raise_it(payload: Any, job: JobContext) -> NoReturn:
        raise error

    return raise_it


def test_a_returned_value_is_the_result() -> None:
    outcome = attempt(lambda payload, job: {"got": payload, "attempt": job.attempt}, b'[1,"\xc3\xbc"]')

    assert outcome.verdict == "succeeded"
    assert json.loads(outcome.result or b"") == {"got": [1, "ü"], "attempt": 1}
    assert outcome.error is None
    assert 0 <= outcome.duration_seconds < 10


def test_an_attempt_whose_lease_is_over_does_not_begin() -> None:
    """Somebody else may run the job by now, under a higher fence."""
    begun: list[Any] = []
    lease = lease_of(claimed(kind="tested"), lease_seconds=0)

    outcome = run_attempt(lease, {"tested": lambda payload, job: begun.append(payload)}, ignore)

    assert (outcome.verdict, begun) == ("lost", [])


def test_old_connections_are_closed_around_each_attempt_in_a_thread_that_has_had_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[int] = []
    monkeypatch.setitem(connections.settings["default"], "NAME", str(tmp_path / "database"))
    monkeypatch.setattr(outcomes, "close_old_connections", lambda: looks.append(1))
    counts: list[int] = []

    def work() -> None:
        for handler in (ask_nothing, ask_database, ask_nothing):
            attempt(handler)
            counts.append(len(looks))
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert counts == [0, 1, 3]


def ask_nothing(payload: Any, job: JobContext) -> None:
    """Need no database."""


def ask_database(payload: Any, job: JobContext) -> None:
    """Connect to Django's database."""
    connections["default"].ensure_connection()


def test_none_is_no_result() -> None:
    outcome = attempt(lambda payload, job: None)

    assert (outcome.verdict, outcome.result) == ("succeeded", None)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes", object(), "\ud800", {"deep": {("a",): 1}}])
def test_a_result_that_is_no_json_is_kept_as_text(value: Any) -> None:
    outcome = attempt(lambda payload, job: value)

    assert outcome.verdict == "succeeded"
    assert isinstance(json.loads(outcome.result or b""), str)


def test_a_long_result_is_cut_and_says_so() -> None:
    outcome = attempt(lambda payload, job: "x" * 1_000_000)

    kept = json.loads(outcome.result or b"")
    assert (kept["truncated"], kept["size_bytes"]) == (True, 1_000_002)
    assert len(outcome.result or b"") <= 64 * 1024


@pytest.mark.parametrize(
    ("error", "verdict", "delay_ms"),
    [
        (ValueError("wrong"), "failed", None),
        (RetryLater(2.5, "busy"), "failed", 2_500),
        (RetryLater(0), "failed", 0),
        (GiveUp("never"), "dead", None),
        (JobCancelled(), "cancelled", None),
        (AttemptTimeout(), "failed", None),
        (LeaseLost(), "lost", None),
        (SystemExit(3), "failed", None),
        (KeyboardInterrupt(), "failed", None),
        (MemoryError(), "failed", None),
        (StopIteration(), "failed", None),
        (GeneratorExit(), "failed", None),
        (RecursionError("deep"), "failed", None),
        (ExceptionGroup("two", [ValueError("a"), OSError("b")]), "failed", None),
    ],
)
def test_each_exception_has_its_verdict(error: BaseException, verdict: str, delay_ms: int | None) -> None:
    outcome = attempt(raising(error))

    assert (outcome.verdict, outcome.delay_ms, outcome.result) == (verdict, delay_ms, None)
    assert outcome.error is not None
    assert outcome.error.type == type(error).__name__


def test_a_failure_keeps_the_message_and_the_traceback() -> None:
    outcome = attempt(raising(ValueError("wrong number")))

    assert outcome.error is not None
    assert outcome.error.message == "wrong number"
    assert "raise_it" in outcome.error.traceback
    assert "ValueError: wrong number" in outcome.error.traceback


def test_an_error_on_purpose_needs_no_traceback() -> None:
    outcome = attempt(raising(GiveUp("no such customer")))

    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.traceback) == ("no such customer", "")


def test_an_error_without_text_is_described_by_its_class() -> None:
    outcome = attempt(raising(AttemptTimeout()))

    assert outcome.error is not None
    assert outcome.error.message == "The attempt ran longer than the job allows."


def test_an_unprintable_error_fails_the_attempt_and_says_that_it_is_unprintable() -> None:
    outcome = attempt(raising(Unprintable()))

    assert outcome.verdict == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "Unprintable"
    assert outcome.error.message == "the error's text could not be read: RuntimeError"


def test_a_handler_that_recurses_without_end_fails_its_attempt() -> None:
    def deeper(payload: Any, job: JobContext) -> Any:
        return deeper(payload, job)

    outcome = attempt(deeper)

    assert outcome.verdict == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "RecursionError"
    assert len(outcome.error.to_json()) < 20_000


def test_an_endless_error_text_is_stored_cut() -> None:
    outcome = attempt(raising(ValueError("x" * 1_000_000)))

    assert outcome.error is not None
    assert len(outcome.error.to_json()) < 20_000


def test_an_error_whose_verdict_cannot_be_read_fails_the_attempt() -> None:
    outcome = attempt(raising(HalfMade()))

    assert outcome.verdict == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "HalfMade"


@pytest.mark.parametrize("delay_seconds", [-1, float("nan"), float("inf"), 1e12])
def test_a_delay_that_no_clock_can_keep_is_refused_where_it_is_made(delay_seconds: float) -> None:
    with pytest.raises(ValueError, match="delay_seconds"):
        RetryLater(delay_seconds)


def test_an_unknown_kind_waits_for_the_worker_that_knows_it() -> None:
    outcome = run_attempt(lease_of(claimed(kind="new.kind")), {}, ignore)

    assert (outcome.verdict, outcome.delay_ms) == ("failed", UNKNOWN_KIND_DELAY_MS)
    assert outcome.error is not None
    assert outcome.error.type == "UnknownKind"
    assert "'new.kind'" in outcome.error.message


def test_a_damaged_payload_is_dead_as_corrupt_and_no_handler_sees_it() -> None:
    seen: list[Any] = []

    outcome = attempt(lambda payload, job: seen.append(payload), b'{"amount":10}', payload_crc=1)

    assert outcome.verdict == "dead"
    assert outcome.error is not None
    assert outcome.error.type == "corrupt"
    assert seen == []


def test_a_handler_may_clean_up_when_it_is_interrupted() -> None:
    lease, cleaned = lease_of(claimed(kind="tested")), []

    def careful(payload: Any, job: JobContext) -> None:
        try:
            lease.interrupt(JobCancelled)
            threading.Event().wait(0)
        finally:
            cleaned.append(True)

    outcome = run_attempt(lease, {"tested": careful}, ignore)

    assert (outcome.verdict, cleaned) == ("cancelled", [True])


def test_after_an_attempt_the_thread_can_run_the_next() -> None:
    assert [attempt(raising(SystemExit())).verdict, attempt(lambda *_: 1).verdict] == ["failed", "succeeded"]
