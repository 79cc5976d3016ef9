from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from queueing import Broker, JobError, NewJob
from queueing.conf import get_inspector

REQUEUE = "/api/v1/queues/default/requeue-dead"


def dead_job(broker: Broker, kind: str = "echo", **options: Any) -> str:
    job_id = broker.enqueue("default", NewJob.of(kind, **options)).id
    broker.fail(broker.claim("default", "w").jobs[0], JobError(type="E", message=""), outcome="dead")
    return job_id


def dead_ids(api: Client) -> set[str]:
    return {job["id"] for job in api.get("/api/v1/jobs?state=dead&queue=default").json()["items"]}


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what died in this very millisecond have died before the call."""
    now_ms = Broker.server_time_ms
    monkeypatch.setattr(Broker, "server_time_ms", lambda self, queue: now_ms(self, queue) + 1)


def test_all_dead_jobs_are_ready_again(api: Client, post: Any, broker: Broker) -> None:
    ids = [dead_job(broker, max_attempts=1) for _ in range(3)]

    response = post(REQUEUE, {})

    assert (response.status_code, response.json()) == (200, {"requeued": 3, "more": False})
    assert [job.id for job in broker.claim("default", "w", 9).jobs] == ids[::-1]


def test_only_dead_jobs_that_meet_every_filter_are(api: Client, post: Any, broker: Broker) -> None:
    one, two, three = dead_job(broker, "a", tags=("t",)), dead_job(broker, "a"), dead_job(broker, "b", tags=("t",))

    response = post(REQUEUE, {"kind": "a", "tag": "t"})

    assert response.json()["requeued"] == 1
    assert dead_ids(api) == {two, three}
    assert api.get(f"/api/v1/jobs/{one}").json()["state"] == "ready"


def test_a_range_of_times_of_death_is_a_filter(api: Client, post: Any, broker: Broker) -> None:
    job_id = dead_job(broker)
    died_at = api.get(f"/api/v1/jobs/{job_id}").json()["finished_at"]

    before = post(REQUEUE, {"finished_before": died_at})
    after = post(REQUEUE, {"finished_after": died_at})

    assert (before.json()["requeued"], after.json()["requeued"]) == (0, 1)


def test_so_many_at_most_are_requeued_the_latest_first(api: Client, post: Any, broker: Broker) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 250)
    for _ in range(5):
        for job in broker.claim("default", "w", 50).jobs:
            broker.fail(job, JobError(type="E", message=""), outcome="dead")

    first = post(REQUEUE, {"limit": 120})
    rest = post(REQUEUE, {})

    assert first.json() == {"requeued": 120, "more": True}
    assert rest.json() == {"requeued": 130, "more": False}
    assert get_inspector().stats("default").counters["requeued"] == 250


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"limit": 0}, "/limit"),
        ({"limit": 10_001}, "/limit"),
        ({"kind": ""}, "/kind"),
        ({"tag": "a b"}, "/tag"),
        ({"finished_after": "2026-11-21"}, "/finished_after"),
        ({"state": "dead"}, "/state"),
    ],
)
def test_a_filter_that_is_not_valid_is_named(post: Any, broker: Broker, body: Any, pointer: str) -> None:
    dead_job(broker)

    response = post(REQUEUE, body)

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)
    assert broker.claim("default", "w").jobs == ()


def test_a_queue_that_is_not_known_is_a_404(post: Any) -> None:
    assert post("/api/v1/queues/nope/requeue-dead").status_code == 404
