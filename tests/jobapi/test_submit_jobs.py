from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from redis import Redis

from jobapi.submissions import MAX_BULK_BYTES
from queueing import Broker, Inspector, NewJob, State
from queueing.conf import get_inspector

BULK = "/api/v1/jobs/bulk"
ECHO = {"kind": "echo"}


@pytest.fixture
def inspector() -> Inspector:
    return get_inspector()


def counts(inspector: Inspector, queue: str = "default") -> int:
    return sum(inspector.stats(queue).counts.values())


def statuses(response: Any) -> list[int]:
    return [result["status"] for result in response.json()["results"]]


def test_every_job_is_stored_and_the_last_one_is_served_first(post: Any, broker: Broker) -> None:
    response = post(BULK, {"jobs": [{"kind": "echo", "payload": n} for n in range(3)]})

    results = response.json()["results"]
    assert response.status_code == 200
    assert [(result["index"], result["status"], result["state"]) for result in results] == [
        (0, 201, "ready"), (1, 201, "ready"), (2, 201, "ready"),
    ]  # fmt: skip
    served = broker.claim("default", "w", 3).jobs
    assert [job.payload for job in served] == [b"2", b"1", b"0"]
    assert [job.id for job in served] == [result["id"] for result in results][::-1]


def test_a_job_that_is_refused_does_not_hinder_the_others(post: Any, inspector: Inspector) -> None:
    jobs = [
        ECHO,
        {"kind": "echo", "priority": 10},
        {"kind": "echo", "queue": "nope"},
        {"queue": "mail", "kind": "x"},
        7,
    ]

    response = post(BULK, {"jobs": jobs})

    problems = [result.get("problem") for result in response.json()["results"]]
    assert statuses(response) == [201, 422, 404, 201, 422]
    assert problems[1]["errors"] == [{"pointer": "/priority", "detail": "Expected int <= 9"}]
    assert problems[2]["code"] == "unknown_queue"
    assert problems[1]["request_id"] == response["X-Request-ID"]
    assert (counts(inspector), counts(inspector, "mail")) == (1, 1)


def test_jobs_come_as_lines_too(post: Any, broker: Broker) -> None:
    body = b'{"kind":"echo","payload":1}\r\n\n{"kind":"echo"\n{"kind":"echo","a":1,"a":2}\n{"kind":"echo","payload":2}'

    response = post(BULK, body, content_type="application/x-ndjson")

    results = response.json()["results"]
    assert statuses(response) == [201, 400, 400, 201]
    assert results[1]["problem"]["code"] == "malformed_json"
    assert [job.payload for job in broker.claim("default", "w", 9).jobs] == [b"2", b"1"]


def test_an_atomic_bulk_names_every_member_that_is_wrong_and_stores_nothing(
    post: Any, inspector: Inspector, valkey: Redis
) -> None:
    jobs = [
        ECHO,
        {"kind": "echo", "priority": 10},
        {"kind": "echo", "delay_seconds": 1, "run_at": "2030-01-01T00:00:00Z"},
    ]

    response = post(BULK, {"jobs": jobs, "atomic": True})

    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert [error["pointer"] for error in response.json()["errors"]] == ["/jobs/1/priority", "/jobs/2/delay_seconds"]
    assert valkey.dbsize() == 0


def test_an_atomic_bulk_that_finds_its_queue_full_stores_nothing(
    post: Any, broker: Broker, inspector: Inspector
) -> None:
    broker.configure("default", max_depth=2)

    response = post(BULK, {"jobs": [ECHO] * 3, "atomic": True})

    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert "Retry-After" in response.headers
    assert counts(inspector) == 0


def test_an_atomic_bulk_is_of_one_queue(post: Any, valkey: Redis) -> None:
    response = post(BULK, {"jobs": [ECHO, {"kind": "echo", "queue": "mail"}], "atomic": True})

    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/jobs"
    assert valkey.dbsize() == 0


def test_an_atomic_bulk_that_fits_is_stored(post: Any, inspector: Inspector) -> None:
    assert statuses(post(BULK, {"jobs": [ECHO] * 3, "atomic": True})) == [201] * 3
    assert counts(inspector) == 3


def test_a_full_queue_takes_as_many_as_it_may(post: Any, broker: Broker, inspector: Inspector) -> None:
    broker.configure("default", max_depth=2)

    response = post(BULK, {"jobs": [ECHO] * 3})

    assert statuses(response) == [201, 201, 429]
    assert response.json()["results"][2]["problem"]["code"] == "queue_full"
    assert counts(inspector) == 2


def test_a_live_job_that_holds_the_unique_key_is_answered(post: Any, broker: Broker) -> None:
    holder = broker.enqueue("default", NewJob.of("echo", unique_key="k")).id

    response = post(BULK, {"jobs": [{"kind": "echo", "unique_key": "k"}, {"kind": "echo", "unique_key": "l"}] * 2})

    results = response.json()["results"]
    assert statuses(response) == [200, 201, 200, 200]
    assert [results[0]["id"], results[2]["id"]] == [holder, holder]
    assert results[3]["id"] == results[1]["id"]


def test_a_bulk_sent_again_with_its_key_answers_the_jobs_of_the_first_time(post: Any, inspector: Inspector) -> None:
    body = {"jobs": [ECHO, {"kind": "echo", "queue": "mail"}]}

    first = post(BULK, body, HTTP_IDEMPOTENCY_KEY="k")
    again = post(BULK, body, HTTP_IDEMPOTENCY_KEY="k")
    other = post(BULK, {"jobs": [ECHO, ECHO]}, HTTP_IDEMPOTENCY_KEY="k")

    assert "Idempotency-Replayed" not in first.headers
    assert again["Idempotency-Replayed"] == "true"
    assert [result["id"] for result in again.json()["results"]] == [result["id"] for result in first.json()["results"]]
    assert [result["replayed"] for result in again.json()["results"]] == [True, True]
    assert statuses(other) == [422, 201]  # a key is remembered in the queue of its job
    assert other.json()["results"][0]["problem"]["code"] == "idempotency_key_reused"
    assert counts(inspector, "mail") == 1


def test_a_key_that_is_none_is_refused_with_the_whole_bulk(post: Any, valkey: Redis) -> None:
    refused = post(BULK, {"jobs": [ECHO, ECHO]}, headers={"Idempotency-Key": "a b"})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert valkey.dbsize() == 0


def test_a_replayed_job_that_was_deleted_since_is_said_to_be_gone(post: Any, broker: Broker) -> None:
    first = post(BULK, {"jobs": [ECHO]}, HTTP_IDEMPOTENCY_KEY="k").json()["results"][0]
    broker.delete(first["id"])

    again = post(BULK, {"jobs": [ECHO]}, HTTP_IDEMPOTENCY_KEY="k")

    assert statuses(again) == [410]
    assert again.json()["results"][0]["problem"]["code"] == "job_gone"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"jobs": []}, "/jobs"),
        ({"jobs": [ECHO] * 1001}, "/jobs"),
        ({}, "/jobs"),
        ({"jobs": {}}, "/jobs"),
        ({"jobs": [ECHO], "atomic": 1}, "/atomic"),
        ({"jobs": [ECHO], "more": 1}, "/more"),
        ([ECHO], ""),
    ],
)
def test_a_body_that_is_no_bulk_is_refused(post: Any, body: Any, pointer: str, valkey: Redis) -> None:
    response = post(BULK, body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert valkey.dbsize() == 0


def test_a_thousand_jobs_are_stored_in_one_call(post: Any, inspector: Inspector) -> None:
    response = post(BULK, {"jobs": [ECHO] * 1000})

    assert set(statuses(response)) == {201}
    assert inspector.stats("default").counts[State.READY] == 1000


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"\n\n", "application/x-ndjson", 422),
        (b'{"kind":"echo"}\n' * 1001, "application/x-ndjson", 413),
        (b" " * (MAX_BULK_BYTES + 1), "application/json", 413),
        (b'{"jobs":[{"kind":"echo"}]}', "text/plain", 415),
        (b'{"jobs":[{"kind":"echo"}]', "application/json", 400),
        (b'{"jobs":[],"jobs":[]}', "application/json", 400),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_whole(
    post: Any, valkey: Redis, body: bytes, content_type: str, status: int
) -> None:
    assert post(BULK, body, content_type=content_type).status_code == status
    assert valkey.dbsize() == 0


def test_a_payload_of_the_greatest_size_fits_beside_others(post: Any) -> None:
    text = "x" * (256 * 1024 - 2)

    response = post(BULK, {"jobs": [{"kind": "echo", "payload": text}] * 3 + [{"kind": "echo", "payload": text + "x"}]})

    assert statuses(response) == [201, 201, 201, 413]


def test_jobs_of_a_bulk_are_as_safe_as_they_ask(post: Any, inspector: Inspector) -> None:
    response = post(BULK, {"jobs": [ECHO, {"kind": "echo", "durability": "fsynced"}]})

    assert statuses(response) == [201, 503]
    assert response.json()["results"][1]["problem"]["code"] == "durability_not_met"
    assert counts(inspector) == 1


def test_when_no_job_of_a_bulk_can_be_stored_the_call_fails(post: Any, inspector: Inspector) -> None:
    response = post(BULK, {"jobs": [{"kind": "echo", "durability": "fsynced"}] * 2})

    assert (response.status_code, response.json()["code"]) == (503, "durability_not_met")
    assert counts(inspector) == 0


def test_a_job_keeps_the_request_it_came_with(api: Client, post: Any, broker: Broker) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"HTTP_X_REQUEST_ID": "request-12345", "HTTP_TRACEPARENT": parent}

    post("/api/v1/jobs", ECHO, **sent)
    post(BULK, {"jobs": [ECHO]}, **sent)

    jobs = broker.claim("default", "w", 2).jobs
    assert [(job.request_id, job.traceparent) for job in jobs] == [("request-12345", parent)] * 2
    assert api.get(f"/api/v1/jobs/{jobs[0].id}").json()["request_id"] == "request-12345"


@pytest.mark.parametrize(
    "traceparent",
    [
        "", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01", "x" * 5000,
    ],
)  # fmt: skip
def test_a_traceparent_that_is_not_valid_is_not_kept(post: Any, broker: Broker, traceparent: str) -> None:
    response = post("/api/v1/jobs", ECHO, HTTP_TRACEPARENT=traceparent)

    assert response.status_code == 201
    assert broker.claim("default", "w").jobs[0].traceparent == ""
