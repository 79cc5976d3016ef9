from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.http import HttpResponse

from jobapi.permissions import ACCESS
from jobapi.tokens import MANAGE
from queueing import Broker, JobError, State
from queueing.conf import get_inspector
from tests.jobapi.auth.conftest import Party
from tests.jobapi.auth.test_auth_table import PATHS

UNKNOWN = "default_019a9f3c5d6e7f008192a3b4c5d6e7f8"
OF_A_JOB = [
    (name, method) for name in PATHS for method in ACCESS[name] if "UNKNOWN" in PATHS[name].replace(UNKNOWN, "UNKNOWN")
]


def without_ids(answer: HttpResponse) -> tuple[int, str, dict[str, str]]:
    """Return an answer without what differs between any two."""
    headers = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
    return answer.status_code, re.sub(r'"request_id":"[^"]*"', "", answer.content.decode()), headers


@pytest.mark.parametrize(("name", "method"), OF_A_JOB)
def test_a_job_of_another_client_is_as_one_that_is_not_there(
    alice: Party, mallory: Party, name: str, method: str
) -> None:
    job_id = alice.submit(payload={"of": "alice"})["id"]
    before = get_inspector().job(job_id)

    foreign = mallory.ask(method, PATHS[name].replace(UNKNOWN, job_id))
    unknown = mallory.ask(method, PATHS[name])

    assert without_ids(foreign) == without_ids(unknown)
    assert foreign.status_code == 404
    assert get_inspector().job(job_id) == before


@pytest.mark.parametrize(("name", "method"), OF_A_JOB)
def test_its_own_job_and_a_manager_any_job(
    alice: Party, party: Callable[[str, str], Party], broker: Broker, name: str, method: str
) -> None:
    manager = party("manager", "jobs:read jobs:write queues:manage")
    for each in (alice, manager):
        job_id = alice.submit(max_attempts=1)["id"]
        if name == "job-requeue":
            broker.fail(broker.claim("default", worker="w").jobs[0], JobError(type="E", message="m"))

        assert each.ask(method, PATHS[name].replace(UNKNOWN, job_id)).status_code in (200, 204)


@pytest.mark.parametrize("state", [None, *State])
def test_a_listing_has_its_own_jobs_alone(alice: Party, mallory: Party, broker: Broker, state: State | None) -> None:
    for each in (alice, mallory, alice):
        each.submit(tags=["t"])
        each.submit(delay_seconds=60)
        broker.cancel(each.submit()["id"])
    query = f"?limit=1&state={state}" if state else "?limit=1"

    def listed(each: Party) -> list[str]:
        found, cursor = [], ""
        while cursor is not None:
            page = json.loads(each.ask("GET", f"/api/v1/jobs{query}{cursor and '&cursor=' + cursor}").content)
            found += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
        return found

    owners = [{get_inspector().job(job_id).owner for job_id in listed(each)} for each in (alice, mallory)]
    assert owners[0] <= {alice.id}
    assert owners[1] <= {mallory.id}
    if state in (None, State.READY, State.SCHEDULED, State.CANCELLED):
        assert owners == [{alice.id}, {mallory.id}]


def test_a_cursor_is_of_its_client(alice: Party, mallory: Party) -> None:
    for _ in range(2):
        alice.submit()
    cursor = json.loads(alice.ask("GET", "/api/v1/jobs?limit=1").content)["next_cursor"]

    answer = mallory.ask("GET", f"/api/v1/jobs?limit=1&cursor={cursor}")

    assert answer.status_code == 400


def test_a_manager_lists_the_jobs_of_all(alice: Party, mallory: Party, manager: Party) -> None:
    submitted = {alice.submit()["id"], mallory.submit()["id"]}

    page = json.loads(manager.ask("GET", "/api/v1/jobs").content)

    assert {item["id"] for item in page["items"]} == submitted


def test_idempotency_keys_do_not_cross_clients(alice: Party, mallory: Party) -> None:
    body = {"kind": "echo", "payload": {"of": "alice"}}

    first = alice.ask("POST", "/api/v1/jobs", body, **{"Idempotency-Key": "k"})
    others = mallory.ask("POST", "/api/v1/jobs", {"kind": "echo"}, **{"Idempotency-Key": "k"})
    again = alice.ask("POST", "/api/v1/jobs", body, **{"Idempotency-Key": "k"})

    assert (first.status_code, others.status_code, again.status_code) == (201, 201, 201)
    assert json.loads(first.content)["id"] == json.loads(again.content)["id"] != json.loads(others.content)["id"]
    assert "Idempotency-Replayed" not in others


def test_unique_keys_do_not_cross_clients(alice: Party, mallory: Party) -> None:
    assert alice.submit(unique_key="u")["id"] == alice.submit(unique_key="u")["id"]
    assert mallory.submit(unique_key="u")["id"] != alice.submit(unique_key="u")["id"]


def test_a_bulk_is_of_its_client(alice: Party, mallory: Party) -> None:
    bulk: dict[str, Any] = {"jobs": [{"kind": "echo"}, {"kind": "echo"}]}

    answers = [each.ask("POST", "/api/v1/jobs/bulk", bulk, **{"Idempotency-Key": "k"}) for each in (alice, mallory)]

    ids = [[result["id"] for result in json.loads(answer.content)["results"]] for answer in answers]
    assert [{get_inspector().job(job_id).owner for job_id in each} for each in ids] == [{alice.id}, {mallory.id}]


def test_jobs_of_a_time_without_authorization_are_a_managers_alone(
    alice: Party, manager: Party, broker: Broker
) -> None:
    from queueing import NewJob  # noqa: PLC0415

    job_id = broker.enqueue("default", NewJob.of("echo")).id

    assert alice.ask("GET", f"/api/v1/jobs/{job_id}").status_code == 404
    assert manager.ask("GET", f"/api/v1/jobs/{job_id}").status_code == 200


def test_limits_are_of_a_client_wherever_it_calls_from(alice: Party, mallory: Party, settings: LazySettings) -> None:
    settings.RATE_LIMITS = {"writes": None, "reads": (1, 60)}
    for each in (alice, mallory):
        each.browser = type(each.browser)(headers={"host": "localhost"})

    answers = [
        each.browser.get("/api/v1/queues", headers={"Authorization": f"Bearer {each.token}"}, REMOTE_ADDR=address)
        for each, address in ((alice, "192.0.2.1"), (alice, "192.0.2.2"), (mallory, "192.0.2.1"))
    ]

    assert [answer.status_code for answer in answers] == [200, 429, 200]


def test_one_with_a_bad_token_is_limited_by_its_address(alice: Party, settings: LazySettings) -> None:
    settings.RATE_LIMITS = {"writes": None, "reads": (2, 60)}
    alice.browser = type(alice.browser)(headers={"host": "localhost"})

    statuses = [alice.ask("GET", "/api/v1/queues", Authorization=f"Bearer x{n}").status_code for n in range(3)]

    assert statuses == [401, 401, 429]


def test_the_scope_to_manage_opens_no_other_door(party: Callable[[str, str], Party]) -> None:
    manager = party("manager", MANAGE)

    assert manager.ask("GET", "/api/v1/jobs").status_code == 403
    assert manager.ask("POST", "/api/v1/jobs", {"kind": "echo"}).status_code == 403


def test_a_cursor_tells_nothing_of_the_job_where_its_page_ended(alice: Party) -> None:
    last = [alice.submit()["id"] for _ in range(2)][-1]

    cursor = json.loads(alice.ask("GET", "/api/v1/jobs?limit=1").content)["next_cursor"]

    said = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert last.encode() not in said
    assert b"default" not in said


def test_a_cursor_outlives_a_change_of_the_secret_key(alice: Party, settings: LazySettings) -> None:
    ids = [alice.submit()["id"] for _ in range(2)]
    cursor = json.loads(alice.ask("GET", "/api/v1/jobs?limit=1").content)["next_cursor"]

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    page = json.loads(alice.ask("GET", f"/api/v1/jobs?limit=1&cursor={cursor}").content)

    assert [item["id"] for item in page["items"]] == ids[:1]
