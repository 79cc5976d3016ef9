"""What a handler knows and can do."""

from __future__ import annotations

import json
import threading

import pytest

from tests.worker.rig import WAIT_SECONDS, claimed, lease_of
from worker.context import JobContext
from worker.errors import LeaseLost
from worker.leases import Lease


def ignore(lease: Lease) -> None:
    """Extend nothing."""


def test_a_handler_sees_the_attempt_it_runs() -> None:
    job = claimed(token="4711-abcd", attempt=2, tags=("a", "b"))
    context = JobContext(lease_of(job), ignore)

    assert (context.id, context.queue, context.kind) == (job.id, "default", "echo")
    assert (context.attempt, context.max_attempts) == (2, 5)
    assert (context.tags, context.created_at, context.fence) == (("a", "b"), job.created_at, 4711)


def test_a_cancel_request_is_seen_and_ends_a_wait() -> None:
    lease = lease_of(claimed())
    context = JobContext(lease, ignore)
    assert not context.cancel_requested
    assert not context.wait(0)

    lease.request_cancel()

    assert context.cancel_requested
    assert context.wait(60)


def test_a_cancel_request_ends_a_wait_that_has_begun() -> None:
    lease = lease_of(claimed())
    ended: list[bool] = []
    waiting = threading.Thread(target=lambda: ended.append(JobContext(lease, ignore).wait(60)))
    waiting.start()

    lease.request_cancel()

    waiting.join(WAIT_SECONDS)
    assert ended == [True]


def test_progress_is_kept_with_a_note_of_at_most_200_characters() -> None:
    lease = lease_of(claimed())

    JobContext(lease, ignore).progress(1, "ü" * 300)

    assert json.loads(lease.take_progress() or b"") == {"fraction": 1, "note": "ü" * 200}


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
def test_progress_outside_0_to_1_is_refused(fraction: float) -> None:
    lease = lease_of(claimed())

    with pytest.raises(ValueError, match="between 0 and 1"):
        JobContext(lease, ignore).progress(fraction)
    assert not lease.has_progress


def test_extend_is_for_this_attempt_and_passes_on_that_the_lease_is_lost() -> None:
    lease, asked = lease_of(claimed()), []

    def lost(lease: Lease) -> None:
        asked.append(lease)
        raise LeaseLost

    with pytest.raises(LeaseLost):
        JobContext(lease, lost).extend()
    assert asked == [lease]
