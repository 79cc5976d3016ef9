from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing import InvalidJob, JobError, NewJob, State
from queueing.jobs import (
    MAX_DELAY_SECONDS,
    MAX_TIMEOUT_SECONDS,
    MAX_TTL_SECONDS,
    from_ms,
    is_kind,
    new_job_id,
    queue_of,
    seconds_to_ms,
    to_ms,
)

NOW = datetime.now(UTC)  # of the collection: a test may run minutes later


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("kind", kind) for kind in ("", "a" * 101, "a b", "a\n", "é", "a/b", "a\0")],
        *[("payload", payload) for payload in (b"", b"{", b"NaN", b'"' + b"a" * 262_144 + b'"')],
        *[("priority", priority) for priority in (-1, 10, math.nan)],
        *[("max_attempts", attempts) for attempts in (0, 101, -1, math.nan)],
        *[("delay_seconds", delay) for delay in (-1, MAX_DELAY_SECONDS + 1, math.nan, math.inf)],
        *[("ttl_seconds", ttl) for ttl in (0, -1, MAX_TTL_SECONDS + 1, math.nan, math.inf)],
        *[("timeout_seconds", timeout) for timeout in (0, -1, MAX_TIMEOUT_SECONDS + 1, math.nan)],
        *[("unique_key", key) for key in ("", "k" * 201, "\ud800")],
        *[("tags", tags) for tags in (("",), ("a b",), ("a" * 65,), ("a\n",), ("é",), ("a",) * 11)],
        ("run_at", datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone is missing on purpose
        ("run_at", datetime(9999, 12, 31, tzinfo=UTC)),
        ("run_at", NOW + timedelta(seconds=MAX_DELAY_SECONDS + 86_400)),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidJob) as raised:
        NewJob(**{"kind": "echo", field: value})

    assert raised.value.field == field
    assert raised.value.reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("kind", kind) for kind in ("a", "a" * 100, "Mail.send_now-2")],
        *[("priority", priority) for priority in (0, 9)],
        *[("max_attempts", attempts) for attempts in (1, 100)],
        *[("delay_seconds", delay) for delay in (0, 0.001, MAX_DELAY_SECONDS)],
        *[("ttl_seconds", ttl) for ttl in (0.001, MAX_TTL_SECONDS)],
        *[("timeout_seconds", timeout) for timeout in (0.001, MAX_TIMEOUT_SECONDS)],
        *[("unique_key", key) for key in ("k", "k" * 200, "é\0 \n}{")],
        *[("tags", tags) for tags in ((), ("a",) * 10, ("a:b/c_d-e.f",), ("a" * 64,))],
        ("run_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        ("run_at", NOW + timedelta(seconds=MAX_DELAY_SECONDS - 86_400)),
    ],
)
def test_a_value_at_its_limit_is_accepted(field: str, value: Any) -> None:
    job = NewJob(**{"kind": "echo", field: value})

    assert getattr(job, field) == value


def test_run_at_and_delay_seconds_exclude_each_other() -> None:
    with pytest.raises(InvalidJob) as raised:
        NewJob(kind="echo", run_at=NOW, delay_seconds=1)

    assert raised.value.field == "delay_seconds"


def test_a_job_of_a_value_has_it_as_compact_json() -> None:
    assert NewJob.of("echo", {"a": [1, "é"]}).payload == '{"a":[1,"é"]}'.encode()


def test_a_new_job_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        NewJob(kind="echo").priority = 3  # type: ignore[misc]


def test_ids_name_their_queue_and_later_ones_sort_after_earlier_ones() -> None:
    ids = [new_job_id("a-queue") for _ in range(1_000)]

    assert {queue_of(job_id) for job_id in ids} == {"a-queue"}
    assert ids == sorted(set(ids))


@given(st.text(max_size=80))
def test_no_text_is_taken_for_an_id_that_is_none(text: str) -> None:
    queue = queue_of(text)

    assert queue is None or text[:-33] == queue


@given(st.text(max_size=20))
def test_a_kind_is_plain_ascii(text: str) -> None:
    assert not is_kind(text) or (text.isascii() and text.isprintable() and " " not in text)


@given(st.integers(0, 4 * 10**12))
def test_milliseconds_and_instants_are_the_same(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


@pytest.mark.parametrize(("seconds", "ms"), [(0, 0), (0.0001, 1), (0.001, 1), (1.0004, 1_000), (86_400, 86_400_000)])
def test_a_duration_above_zero_is_at_least_a_millisecond(seconds: float, ms: int) -> None:
    assert seconds_to_ms(seconds) == ms


def test_an_error_comes_back_as_it_was_stored() -> None:
    error = JobError(type="E", message="m\U0001f600\0", traceback="t")

    assert JobError.from_json(error.to_json()) == error


def test_the_states_that_end_a_job_are_four() -> None:
    finished = {state for state in State if state.is_finished}

    assert finished == {State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED}


@pytest.mark.parametrize("value", [1.5, 1.0, True])
@pytest.mark.parametrize("field", ["priority", "max_attempts"])
def test_a_number_that_is_not_whole_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidJob) as refusal:
        NewJob(kind="echo", **{field: value})

    assert refusal.value.field == field


def test_an_error_with_half_a_surrogate_pair_can_be_stored_and_written_again() -> None:
    stored = JobError(type="\ud800", message="a\udfffb", traceback="\ud83d").to_json()

    read = JobError.from_json(stored)

    assert (read.type, read.message, read.traceback) == ("?", "a?b", "?")
