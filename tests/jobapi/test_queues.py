from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from queueing import Broker, JobError, NewJob, State

NO_QUEUE = ["nope", "DEFAULT", "%00", "a%0A", "default%0A", "default.json", "x" * 5000]


def test_a_queue_that_was_never_used_has_zeros(api: Client, valkey: Redis) -> None:
    queue = api.get("/api/v1/queues/mail").json()

    assert queue["name"] == "mail"
    assert queue["counts"] == {state.value: 0 for state in State}
    assert (queue["oldest_ready_age_seconds"], queue["newest_ready_age_seconds"]) == (None, None)
    assert (queue["paused"], queue["paused_reason"], queue["paused_until"]) == (False, None, None)
    assert queue["rates_per_minute"] == {"submitted": 0, "succeeded": 0, "failed": 0}
    assert set(queue["totals"].values()) == {0}
    assert valkey.dbsize() == 0


def test_a_queue_has_a_count_for_each_state(api: Client, broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo") for _ in range(4)])
    broker.enqueue("mail", NewJob.of("echo", delay_seconds=60))
    running, failing, done = broker.claim("mail", worker="w", limit=3).jobs
    broker.fail(failing, JobError(type="E", message="m"), delay_ms=60_000)
    broker.ack(done)

    queue = api.get("/api/v1/queues/mail").json()

    expected = {"scheduled": 1, "ready": 1, "running": 1, "retrying": 1, "succeeded": 1}
    assert {state: count for state, count in queue["counts"].items() if count} == expected
    assert queue["oldest_ready_age_seconds"] >= 0
    assert (queue["totals"]["submitted"], queue["totals"]["claimed"], queue["totals"]["failed"]) == (5, 3, 1)
    assert running.attempt == 1


def test_the_list_has_all_known_queues_in_their_order(api: Client) -> None:
    page = api.get("/api/v1/queues").json()

    assert [queue["name"] for queue in page["items"]] == ["default", "mail"]
    assert page["next_cursor"] is None


def test_live_workers_are_counted(api: Client, broker: Broker, valkey: Redis) -> None:
    broker.beat("mail", "alive", b"{}", forget_ms=60_000)
    valkey.hset("jobs:{mail}:workers", "silent", b"1|{}")

    assert api.get("/api/v1/queues/mail").json()["workers"] == 1


@pytest.mark.parametrize("name", NO_QUEUE)
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/pause"), ("POST", "/resume")])
def test_a_queue_that_is_not_known_is_a_404_that_names_the_known_ones(
    api: Client, valkey: Redis, method: str, path: str, name: str
) -> None:
    response = api.generic(method, f"/api/v1/queues/{name}{path}")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_queue")
    assert "default, mail" in response.json()["detail"]
    assert valkey.dbsize() == 0


def test_a_paused_queue_tells_why_and_until_when_and_gives_no_job(api: Client, post: Any, broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    until = datetime.now(UTC).replace(microsecond=123_000) + timedelta(hours=1)

    response = post("/api/v1/queues/mail/pause", {"reason": "maintenance", "until": until.isoformat()})

    queue = response.json()
    assert response.status_code == 200
    assert (queue["paused"], queue["paused_reason"]) == (True, "maintenance")
    assert datetime.fromisoformat(queue["paused_until"]) == until
    assert broker.claim("mail", worker="w").paused
    assert api.get("/api/v1/queues/mail").json()["paused"]
    assert not api.get("/api/v1/queues/default").json()["paused"]


def test_a_paused_queue_accepts_jobs(post: Any) -> None:
    post("/api/v1/queues/mail/pause", {})

    assert post("/api/v1/jobs", {"kind": "echo", "queue": "mail"}).status_code == 201


def test_a_resumed_queue_gives_jobs_again(api: Client, broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    api.generic("POST", "/api/v1/queues/mail/pause")

    answers = [api.generic("POST", "/api/v1/queues/mail/resume") for _ in range(2)]

    assert [(answer.status_code, answer.json()["paused"]) for answer in answers] == [(200, False), (200, False)]
    assert len(broker.claim("mail", worker="w").jobs) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": 1}, "/reason"),
        ({"reason": "x" * 201}, "/reason"),
        ({"until": "2035-01-01T00:00:00"}, "/until"),
        ({"until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"until": "9999-12-31T23:59:59Z"}, "/until"),
        ({"until": "9999-12-31T23:59:59-23:59"}, "/until"),
        ({"why": "x"}, "/why"),
    ],
)
def test_an_invalid_pause_is_pointed_at_and_nothing_is_paused(
    post: Any, valkey: Redis, body: Any, pointer: str
) -> None:
    response = post("/api/v1/queues/mail/pause", body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert valkey.dbsize() == 0


def test_the_list_is_what_the_single_queues_are(api: Client) -> None:
    items = json.loads(api.get("/api/v1/queues").content)["items"]

    assert items == [api.get(f"/api/v1/queues/{name}").json() for name in ("default", "mail")]
