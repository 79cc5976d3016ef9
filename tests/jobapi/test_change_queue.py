from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from queueing.limits import MAX_KEEP_MS

DEFAULTS = {
    "fair_every": 0,
    "max_depth": 0,
    "overflow": "reject",
    "default_max_attempts": 5,
    "default_timeout_seconds": None,
    "retention": {
        "succeeded": {"keep_seconds": 86400.0, "keep_count": 10000},
        "dead": {"keep_seconds": 1209600.0, "keep_count": 100000},
        "cancelled": {"keep_seconds": 86400.0, "keep_count": 10000},
        "expired": {"keep_seconds": 86400.0, "keep_count": 10000},
    },
}
CHANGES = {
    "fair_every": 3,
    "max_depth": 100,
    "overflow": "drop_oldest",
    "default_max_attempts": 2,
    "default_timeout_seconds": 1.5,
    "retention": {"dead": {"keep_seconds": 60.5, "keep_count": 7}},
}


def patch(api: Client, body: Any, queue: str = "mail", content_type: str = "application/json") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.patch(f"/api/v1/queues/{queue}", data, content_type=content_type, CONTENT_LENGTH=str(len(data)))


def limits(queue: dict[str, Any]) -> dict[str, Any]:
    return {name: queue[name] for name in DEFAULTS}


def test_limits_are_set_and_answered_and_others_stay(api: Client) -> None:
    first = patch(api, {"max_depth": 9})
    second = patch(api, CHANGES | {"max_depth": 10}, content_type="application/merge-patch+json")

    assert (first.status_code, second.status_code) == (200, 200)
    assert limits(first.json()) == DEFAULTS | {"max_depth": 9}
    expected = DEFAULTS | CHANGES | {"max_depth": 10, "retention": DEFAULTS["retention"] | CHANGES["retention"]}  # type: ignore[operator]
    assert limits(second.json()) == expected
    assert limits(api.get("/api/v1/queues/mail").json()) == expected
    assert limits(api.get("/api/v1/queues/default").json()) == DEFAULTS


def test_null_sets_the_default(api: Client) -> None:
    patch(api, CHANGES)

    one = patch(api, {"retention": {"dead": None}, "max_depth": None})
    all_of_them = patch(api, dict.fromkeys(DEFAULTS))

    assert limits(one.json()) == DEFAULTS | CHANGES | {"max_depth": 0, "retention": DEFAULTS["retention"]}
    assert limits(all_of_them.json()) == DEFAULTS


def test_nothing_given_changes_nothing(api: Client) -> None:
    patch(api, CHANGES)

    assert limits(patch(api, {}).json())["max_depth"] == 100


def test_a_job_submitted_afterwards_has_the_new_defaults(api: Client, post: Any) -> None:
    patch(api, CHANGES)

    job = post("/api/v1/jobs", {"kind": "echo", "queue": "mail"}).json()

    assert (job["max_attempts"], job["timeout_seconds"]) == (2, 1.5)
    assert api.get(f"/api/v1/jobs/{job['id']}").json() == job


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"max_depth": -1}, "/max_depth"),
        ({"max_depth": 1.5}, "/max_depth"),
        ({"max_depth": 10**18}, "/max_depth"),
        ({"fair_every": True}, "/fair_every"),
        ({"overflow": "explode"}, "/overflow"),
        ({"default_max_attempts": 0}, "/default_max_attempts"),
        ({"default_timeout_seconds": 0}, "/default_timeout_seconds"),
        ({"default_timeout_seconds": "1"}, "/default_timeout_seconds"),
        ({"retention": {"ready": None}}, "/retention/ready"),
        ({"retention": {"dead": {"keep_seconds": 1}}}, "/retention/dead/keep_count"),
        ({"retention": {"dead": {"keep_seconds": MAX_KEEP_MS, "keep_count": 1}}}, "/retention/dead/keep_seconds"),
        ({"paused": True}, "/paused"),
        ([], ""),
    ],
)
def test_a_member_that_is_not_valid_is_named_and_nothing_is_changed(api: Client, body: Any, pointer: str) -> None:
    response = patch(api, {**body, "fair_every": body.get("fair_every", 4)} if isinstance(body, dict) else body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert limits(api.get("/api/v1/queues/mail").json()) == DEFAULTS


@pytest.mark.parametrize(
    ("queue", "content_type", "body", "status"),
    [
        ("nope", "application/json", {}, 404),
        ("mail", "text/plain", {}, 415),
        ("mail", "application/json", b"{", 400),
    ],
)
def test_what_cannot_be_read_is_refused(api: Client, queue: str, content_type: str, body: Any, status: int) -> None:
    assert patch(api, body, queue, content_type).status_code == status
