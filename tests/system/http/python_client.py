"""Submit, inspect, list and cancel with the client generated from openapi.yaml; say as JSON what came back."""

from __future__ import annotations

import json
import sys

from job_api_client import Client
from job_api_client.api.jobs import cancel_job, get_job, list_jobs, submit_job
from job_api_client.models import Job, JobPage, NewJob, Problem

with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as api:
    submitted = submit_job.sync(client=api, body=NewJob(kind="echo", payload={"hello": "there"}, tags=["typed"]))
    assert isinstance(submitted, Job)
    inspected = get_job.sync(submitted.id, client=api)
    assert isinstance(inspected, Job)
    listed = list_jobs.sync(client=api, tag="typed", limit=10)
    assert isinstance(listed, JobPage)
    cancelled = cancel_job.sync(submitted.id, client=api)
    assert isinstance(cancelled, Job)
    refused = submit_job.sync(client=api, body=NewJob(kind="not a kind"))
    assert isinstance(refused, Problem)

json.dump(
    {
        "submitted": submitted.state,
        "inspected": inspected.id == submitted.id,
        "listed": [job.id == submitted.id for job in listed.items],
        "cancelled": cancelled.state,
        "refused": refused.code,
    },
    sys.stdout,
)
