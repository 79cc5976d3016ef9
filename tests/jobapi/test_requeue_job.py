from __future__ import annotations

import pytest
from django.test import Client

from queueing import Broker, JobError, NewJob


def test_a_dead_job_is_ready_again(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("fail", max_attempts=1)).id
    broker.fail(broker.claim("mail", worker="w").jobs[0], JobError(type="E", message="m"))

    response = api.generic("POST", f"/api/v1/jobs/{job_id}/requeue")

    assert response.status_code == 200
    assert (response.json()["state"], response.json()["position"]) == ("ready", 1)
    assert broker.claim("mail", worker="w").jobs[0].id == job_id


def test_a_job_that_is_not_dead_is_409_with_its_state(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    response = api.generic("POST", f"/api/v1/jobs/{job_id}/requeue")

    assert response.status_code == 409
    assert (response.json()["code"], response.json()["state"]) == ("wrong_state", "ready")


@pytest.mark.parametrize("job_id", ["default_" + "0" * 32, "x"])
def test_an_id_that_no_job_has_is_404(api: Client, job_id: str) -> None:
    assert api.generic("POST", f"/api/v1/jobs/{job_id}/requeue").status_code == 404
