from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from redis import Redis

from queueing import Broker, NewJob


def test_a_waiting_job_is_cancelled_at_once_and_again(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    answers = [api.generic("POST", f"/api/v1/jobs/{job_id}/cancel") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["state"] for answer in answers] == ["cancelled", "cancelled"]
    assert broker.claim("mail", worker="w").jobs == ()


def test_a_running_job_is_flagged(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id
    claimed = broker.claim("mail", worker="w").jobs[0]

    job = api.generic("POST", f"/api/v1/jobs/{job_id}/cancel").json()

    assert (job["state"], job["cancel_requested"]) == ("running", True)
    assert broker.extend([(claimed, None)])[0].cancel_requested


def test_a_job_that_has_succeeded_is_409_with_its_state(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id
    broker.ack(broker.claim("mail", worker="w").jobs[0])

    response = api.generic("POST", f"/api/v1/jobs/{job_id}/cancel")

    assert response.status_code == 409
    assert (response.json()["code"], response.json()["state"]) == ("wrong_state", "succeeded")


@pytest.mark.parametrize("job_id", ["default_" + "0" * 32, "x"])
def test_an_id_that_no_job_has_is_404(api: Client, valkey: Redis, job_id: str) -> None:
    response = api.generic("POST", f"/api/v1/jobs/{job_id}/cancel")

    assert (response.status_code, response.json()["code"]) == (404, "job_not_found")
    assert valkey.dbsize() == 0


def test_an_argument_is_refused_and_nothing_is_cancelled(api: Client, post: Any, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    response = post(f"/api/v1/jobs/{job_id}/cancel", {"reason": "late"})

    assert response.status_code == 422
    assert api.get(f"/api/v1/jobs/{job_id}").json()["state"] == "ready"
