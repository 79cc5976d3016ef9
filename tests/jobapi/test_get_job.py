from __future__ import annotations

import pytest
from django.test import Client
from redis import Redis

from queueing import Broker, JobError, NewJob

UNKNOWN = "default_" + "0" * 32


def test_a_job_that_succeeded_has_its_result_and_attempt(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo", {"a": 1})).id
    claimed = broker.claim("mail", worker="host:1").jobs[0]
    broker.extend([(claimed, b'{"done": 0.50}')])
    broker.ack(claimed, b'{"sent":  true}')

    response = api.get(f"/api/v1/jobs/{job_id}")

    job = response.json()
    assert response.status_code == 200
    assert (job["state"], job["attempt"], job["position"], job["error"]) == ("succeeded", 1, None, None)
    assert b'"result":{"sent":  true},' in response.content
    assert b'"progress":{"done": 0.50},' in response.content
    assert job["attempts"] == [
        {
            "number": 1,
            "started_at": job["started_at"],
            "finished_at": job["finished_at"],
            "worker": "host:1",
            "outcome": "succeeded",
            "error": None,
        }
    ]


def test_a_job_that_failed_has_the_error_of_each_attempt(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("fail", max_attempts=2)).id
    for message in ("first", "second"):
        claimed = broker.claim("mail", worker="w").jobs[0]
        broker.fail(claimed, JobError(type="ValueError", message=message, traceback="..."), delay_ms=0)

    job = api.get(f"/api/v1/jobs/{job_id}").json()

    assert (job["state"], job["attempt"]) == ("dead", 2)
    assert job["error"] == {"type": "ValueError", "message": "second", "traceback": "..."}
    assert [attempt["error"]["message"] for attempt in job["attempts"]] == ["first", "second"]


def test_a_job_that_runs_has_a_started_attempt(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("sleep", timeout_seconds=1.5)).id
    broker.claim("mail", worker="w")

    job = api.get(f"/api/v1/jobs/{job_id}").json()

    assert (job["state"], job["timeout_seconds"], job["finished_at"]) == ("running", 1.5, None)
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["running"]


@pytest.mark.parametrize(
    "job_id", [UNKNOWN, "default_x", "x", "%00", "a%0Ab", "../queues", "d%C3%A9", "%FF", f"{UNKNOWN}%0A", "x" * 5000]
)
def test_an_id_that_no_job_has_is_404(api: Client, valkey: Redis, job_id: str) -> None:
    response = api.get(f"/api/v1/jobs/{job_id}")

    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert valkey.dbsize() == 0


def test_a_head_request_is_answered_like_a_get_without_the_body(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    response = api.head(f"/api/v1/jobs/{job_id}")

    assert (response.status_code, response.content) == (200, b"")
