from __future__ import annotations

from typing import Any

import pytest

from jobapi import views
from queueing import Broker, JobError, NewJob
from queueing.conf import get_inspector


def counts(queue: str = "default") -> dict[str, int]:
    return {state.value: count for state, count in get_inspector().stats(queue).counts.items() if count}


def test_ready_jobs_are_dropped_unless_another_state_is_named(post: Any, broker: Broker) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 4)
    broker.fail(broker.claim("default", "w").jobs[0], JobError(type="E", message=""), outcome="dead")
    broker.enqueue("default", NewJob.of("echo", delay_seconds=60))

    ready = post("/api/v1/queues/default/purge", {})
    dead = post("/api/v1/queues/default/purge", {"state": "dead"})
    again = post("/api/v1/queues/default/purge", {"state": "dead"})

    assert ready.json() == {"purged": 3, "more": False}
    assert (dead.json()["purged"], again.json()["purged"]) == (1, 0)
    assert counts() == {"scheduled": 1}


def test_a_call_drops_so_many_at_most_and_says_that_more_are_left(
    post: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PURGE_AT_MOST", 3)
    broker.enqueue_many("default", [NewJob.of("echo")] * 5)

    answers = [post("/api/v1/queues/default/purge", {}).json() for _ in range(2)]

    assert answers == [{"purged": 3, "more": True}, {"purged": 2, "more": False}]


@pytest.mark.parametrize("state", ["running", "asleep", None, 1, ["ready"]])
def test_a_state_that_cannot_be_purged_is_refused(post: Any, broker: Broker, state: Any) -> None:
    broker.enqueue("default", NewJob.of("echo"))

    response = post("/api/v1/queues/default/purge", {"state": state})

    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/state"
    assert counts() == {"ready": 1}


def test_a_queue_that_is_not_known_is_a_404(post: Any) -> None:
    assert post("/api/v1/queues/nope/purge").status_code == 404
