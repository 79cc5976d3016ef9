from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.test import Client

from queueing import Broker, JobError, NewJob

LEFT_OUT = {"payload", "result", "attempts"}


def pages(api: Client, query: str = "", **more: Any) -> Iterator[dict[str, Any]]:
    """Yield every page of a listing, following its Link header."""
    address = f"/api/v1/jobs?{query}"
    for _ in range(100):
        response = api.get(address)
        assert response.status_code == 200, response.content
        page = response.json()
        yield page
        if page["next_cursor"] is None:
            assert "Link" not in response.headers
            return
        found = re.fullmatch(r'<(/api/v1/jobs\?[^>]*)>; rel="next"', response["Link"])
        assert found
        address = found[1]
    raise AssertionError("the listing does not end")


def ids(api: Client, query: str = "") -> list[str]:
    return [job["id"] for page in pages(api, query) for job in page["items"]]


def enqueue(broker: Broker, count: int, queue: str = "default", **options: Any) -> list[str]:
    return [broker.enqueue(queue, NewJob.of("echo", **options)).id for _ in range(count)]


def test_an_installation_without_jobs_has_an_empty_page(api: Client) -> None:
    assert api.get("/api/v1/jobs").json() == {"items": [], "next_cursor": None}


def test_ready_jobs_are_listed_in_the_order_of_service_with_their_positions(api: Client, broker: Broker) -> None:
    first, second = enqueue(broker, 2)
    urgent = enqueue(broker, 1, priority=5)[0]

    items = api.get("/api/v1/jobs?state=ready").json()["items"]

    assert [(job["id"], job["position"]) for job in items] == [(urgent, 1), (second, 2), (first, 3)]


def test_a_listed_job_is_as_it_is_alone_but_for_what_may_be_large(api: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo", "x" * 1000, tags=("a",), max_attempts=1)).id
    broker.fail(broker.claim("mail", "w").jobs[0], JobError(type="Boom", message="no", traceback="..."))

    (listed,) = api.get("/api/v1/jobs").json()["items"]

    alone = api.get(f"/api/v1/jobs/{job_id}").json()
    assert set(alone) - set(listed) == LEFT_OUT
    assert listed.pop("error") == {"type": "Boom", "message": "no"}
    assert listed == {name: alone[name] for name in listed}


def test_pages_follow_their_link_to_the_end_and_have_every_job_once(api: Client, broker: Broker) -> None:
    made = enqueue(broker, 5) + enqueue(broker, 5, "mail")

    found = [len(page["items"]) for page in pages(api, "limit=3")]

    assert found == [3, 3, 3, 1]
    assert ids(api, "limit=3") == made[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("queue=mail", {"b"}),
        ("queue=default", {"a", "c"}),
        ("kind=k2", {"b", "c"}),
        ("tag=t2", {"c"}),
        ("kind=k2&queue=default", {"c"}),
        ("state=ready", {"b", "c"}),
        ("state=scheduled", {"a"}),
        ("state=dead", set()),
        ("kind=k", set()),
    ],
)
def test_every_filter_must_be_met(api: Client, broker: Broker, query: str, expected: set[str]) -> None:
    names = {
        broker.enqueue("default", NewJob.of("k1", tags=("t1",), delay_seconds=60)).id: "a",
        broker.enqueue("mail", NewJob.of("k2", tags=("t1",))).id: "b",
        broker.enqueue("default", NewJob.of("k2", tags=("t1", "t2"))).id: "c",
    }

    assert {names[job_id] for job_id in ids(api, query)} == expected


def test_ranges_of_time_have_a_beginning_and_an_open_end(api: Client, broker: Broker) -> None:
    job_id = enqueue(broker, 1)[0]
    broker.ack(broker.claim("default", "w").jobs[0])
    job = api.get(f"/api/v1/jobs/{job_id}").json()

    for name in ("created", "finished"):
        at = quote(job[f"{name}_at"])
        assert ids(api, f"{name}_after={at}") == [job_id]
        assert ids(api, f"{name}_before={at}") == []
        assert ids(api, f"{name}_before=2100-01-01T00:00:00%2B01:00") == [job_id]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("state=asleep", "state"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=" + "9" * 400, "limit"),
        ("queue=nope", "queue"),
        ("kind=%20", "kind"),
        ("kind=" + "k" * 101, "kind"),
        ("tag=%22", "tag"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2026-11-21T08:00:00", "created_before"),
        ("finished_after=0", "finished_after"),
        ("cursor=nonsense", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=" + "x" * 1001, "cursor"),
        ("sort=kind", "sort"),
        ("state=ready&state=dead", "state"),
        ("%00=1", "\0"),
    ],
)
def test_a_parameter_that_is_not_valid_is_named(api: Client, query: str, parameter: str) -> None:
    response = api.get(f"/api/v1/jobs?{query}")

    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]
    assert len(response.content) < 1000


def test_a_cursor_is_bound_to_its_filters(api: Client, broker: Broker) -> None:
    enqueue(broker, 3)
    cursor = api.get("/api/v1/jobs?limit=1&state=ready").json()["next_cursor"]

    same = api.get(f"/api/v1/jobs?limit=2&state=ready&cursor={cursor}")
    other = api.get(f"/api/v1/jobs?limit=1&cursor={cursor}")

    assert same.status_code == 200
    assert other.status_code == 400
    assert other.json()["errors"][0]["detail"] == "belongs to a listing with other filters"


def test_a_cursor_that_was_changed_or_made_elsewhere_is_refused(
    api: Client, broker: Broker, settings: LazySettings
) -> None:
    enqueue(broker, 3)
    cursor = api.get("/api/v1/jobs?limit=1").json()["next_cursor"]

    changed = api.get(f"/api/v1/jobs?limit=1&cursor={'A' + cursor[1:]}")
    settings.SECRET_KEY = "another"
    elsewhere = api.get(f"/api/v1/jobs?limit=1&cursor={cursor}")

    assert (changed.status_code, elsewhere.status_code) == (400, 400)
