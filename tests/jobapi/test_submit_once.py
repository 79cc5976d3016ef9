"""Submissions made twice, and those that a queue or the database server cannot take as asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from queueing import Broker
from queueing.conf import get_inspector

JOBS = "/api/v1/jobs"
BODY = {"kind": "echo", "payload": 1}


def submitted() -> int:
    return get_inspector().stats("default").counters["submitted"]


@pytest.mark.parametrize("key", ['"order 17"'.replace(" ", "-"), "order-17"])
def test_a_repeat_with_the_same_key_answers_the_same_job(post: Any, key: str) -> None:
    first = post(JOBS, BODY, headers={"Idempotency-Key": key})

    second = post(JOBS, BODY, headers={"Idempotency-Key": "order-17"})

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert second["Location"] == first["Location"]
    assert submitted() == 1


def test_the_same_key_with_another_body_is_refused(post: Any) -> None:
    post(JOBS, BODY, headers={"Idempotency-Key": "k"})

    refused = post(JOBS, {"kind": "echo", "payload": 2}, headers={"Idempotency-Key": "k"})

    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert submitted() == 1


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 201, "ü", '"open', 'a"b'])
def test_a_key_that_is_none_is_refused(post: Any, key: str) -> None:
    refused = post(JOBS, BODY, headers={"Idempotency-Key": key})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert submitted() == 0


def test_a_refused_submission_does_not_use_up_the_key(post: Any) -> None:
    post(JOBS, {"kind": "no such kind!"}, headers={"Idempotency-Key": "k"})

    assert post(JOBS, BODY, headers={"Idempotency-Key": "k"}).status_code == 201


def test_once_its_job_is_deleted_the_submission_is_gone(post: Any, broker: Broker) -> None:
    post(JOBS, BODY, headers={"Idempotency-Key": "k"})
    broker.purge("default")

    gone = post(JOBS, BODY, headers={"Idempotency-Key": "k"})

    assert (gone.status_code, gone.json()["code"]) == (410, "job_gone")
    assert submitted() == 1


def test_clients_that_send_the_same_key_at_once_get_one_job(post: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(JOBS, BODY, headers={"Idempotency-Key": "k"}), range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert submitted() == 1


def test_a_full_queue_answers_429_and_stores_nothing(post: Any, broker: Broker) -> None:
    broker.configure("default", max_depth=1)
    post(JOBS, BODY)

    refused = post(JOBS, BODY)

    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert int(refused["Retry-After"]) > 0
    assert submitted() == 1


def test_the_answer_names_the_durability(post: Any) -> None:
    assert post(JOBS, BODY)["Durability"] == "accepted"


def test_a_durability_the_server_does_not_offer_is_refused_before_anything_is_stored(post: Any) -> None:
    refused = post(JOBS, {**BODY, "durability": "fsynced"})

    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (503, "durability_not_met")
    assert "job_id" not in problem
    assert int(refused["Retry-After"]) > 0
    assert submitted() == 0


def test_a_durability_that_was_not_reached_names_the_job(post: Any, api: Any) -> None:
    refused = post(JOBS, {**BODY, "durability": "replicated"})

    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (503, "durability_not_met")
    assert api.get(f"{JOBS}/{problem['job_id']}").status_code == 200
