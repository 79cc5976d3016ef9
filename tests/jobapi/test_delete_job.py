from __future__ import annotations

import pytest
from django.test import Client

from queueing import Broker, NewJob

UNKNOWN = "default_" + "0" * 32


def test_a_deleted_job_is_gone(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo")).id

    deleted = api.delete(f"/api/v1/jobs/{job_id}")
    again = api.delete(f"/api/v1/jobs/{job_id}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "Content-Type" not in deleted.headers
    assert (again.status_code, again.json()["code"]) == (404, "job_not_found")
    assert broker.claim("default", "w").jobs == ()


def test_a_running_job_is_not_deleted(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo")).id
    broker.claim("default", "w")

    response = api.delete(f"/api/v1/jobs/{job_id}")

    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "wrong_state", "running")
    assert api.get(f"/api/v1/jobs/{job_id}").status_code == 200


@pytest.mark.parametrize("job_id", [UNKNOWN, "nope", "%00", "a%2Fb", "x" * 5000])
def test_an_id_of_no_job_is_a_404(api: Client, job_id: str) -> None:
    assert api.delete(f"/api/v1/jobs/{job_id}").status_code == 404


def test_the_collection_cannot_be_deleted(api: Client) -> None:
    assert api.delete("/api/v1/jobs").status_code == 405
