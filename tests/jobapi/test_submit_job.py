from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from queueing import Broker

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

FIELDS = [
    "id", "kind", "queue", "state", "priority", "tags", "created_at", "run_at", "expires_at", "started_at",
    "finished_at", "attempt", "max_attempts", "timeout_seconds", "cancel_requested", "position", "progress",
    "request_id", "error", "payload", "result", "attempts",
]  # fmt: skip


def test_a_job_of_a_kind_alone_gets_the_defaults(post: Any) -> None:
    response = post("/api/v1/jobs", {"kind": "echo"})

    job = response.json()
    assert response.status_code == 201
    assert list(job) == FIELDS
    assert (job["queue"], job["state"], job["priority"], job["payload"]) == ("default", "ready", 0, None)
    assert (job["attempt"], job["max_attempts"], job["position"], job["tags"]) == (0, 5, 1, [])
    assert INSTANT.fullmatch(job["created_at"])
    assert job["run_at"] == job["created_at"]


def test_the_location_leads_to_the_same_job(api: Client, post: Any) -> None:
    body = {
        "kind": "email.send",
        "payload": {"to": ["a@example.org"]},
        "queue": "mail",
        "priority": 7,
        "ttl_seconds": 3.0005,
        "timeout_seconds": 1.2345,
        "max_attempts": 3,
        "unique_key": "welcome 1",
        "tags": ["a:b", "c/d"],
    }

    submitted = post("/api/v1/jobs", body)
    found = api.get(submitted["Location"])

    assert submitted.status_code == 201
    assert found.json() == submitted.json()


@pytest.mark.parametrize(
    "when", [{"delay_seconds": 60}, {"delay_seconds": 0.5}, {"run_at": "2035-01-01T00:00:00.1234+02:00"}]
)
def test_a_job_for_later_is_scheduled(api: Client, post: Any, when: dict[str, Any]) -> None:
    submitted = post("/api/v1/jobs", {"kind": "echo", **when}).json()

    found = api.get(f"/api/v1/jobs/{submitted['id']}").json()

    assert (submitted["state"], submitted["position"]) == ("scheduled", None)
    assert submitted["run_at"] > submitted["created_at"]
    assert found == submitted


@pytest.mark.parametrize("run_at", ["0001-01-01T00:00:00+23:59", "2020-02-29T12:00:00z"])
def test_a_moment_that_has_passed_is_now(post: Any, run_at: str) -> None:
    job = post("/api/v1/jobs", {"kind": "echo", "run_at": run_at}).json()

    assert job["state"] == "ready"
    assert job["run_at"] == job["created_at"]


def test_the_payload_is_kept_as_the_bytes_that_arrived(api: Client, post: Any, broker: Broker) -> None:
    payload = '{"b" : [1.50, 1e2,12345678901234567890 ],"a":"\\u00e9é" }'.encode()

    submitted = post("/api/v1/jobs", b'{"kind":"echo", "payload":' + payload + b"}")

    assert b'"payload":' + payload + b"," in submitted.content
    assert b'"payload":' + payload + b"," in api.get(submitted["Location"]).content
    assert broker.claim("default", worker="w").jobs[0].payload == payload


def test_a_payload_of_256_kib_is_the_largest(post: Any) -> None:
    largest = b'"' + b"x" * (256 * 1024 - 2) + b'"'

    assert post("/api/v1/jobs", b'{"kind":"echo","payload":' + largest + b"}").status_code == 201
    assert post("/api/v1/jobs", b'{"kind":"echo","payload": ' + largest[:-1] + b'x"}').status_code == 413


def test_the_newest_job_is_at_position_1_and_is_claimed_first(api: Client, post: Any, broker: Broker) -> None:
    old, new = (post("/api/v1/jobs", {"kind": "echo"}).json() for _ in range(2))

    assert (old["position"], new["position"]) == (1, 1)
    assert api.get(f"/api/v1/jobs/{old['id']}").json()["position"] == 2
    assert [job.id for job in broker.claim("default", worker="w", limit=2).jobs] == [new["id"], old["id"]]


def test_a_held_unique_key_answers_200_with_the_live_job(post: Any, valkey: Redis) -> None:
    first = post("/api/v1/jobs", {"kind": "echo", "unique_key": "k", "payload": 1})

    second = post("/api/v1/jobs", {"kind": "echo", "unique_key": "k", "payload": 2})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert valkey.zcard("jobs:{default}:ready") == 1


def test_a_unique_key_is_free_again_once_its_job_has_finished(post: Any, broker: Broker) -> None:
    first = post("/api/v1/jobs", {"kind": "echo", "unique_key": "k"})
    broker.ack(broker.claim("default", worker="w").jobs[0])

    second = post("/api/v1/jobs", {"kind": "echo", "unique_key": "k"})

    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


def test_null_stands_for_a_member_left_out(post: Any) -> None:
    body = {"kind": "echo", "queue": None, "run_at": None, "delay_seconds": None, "ttl_seconds": None,
            "timeout_seconds": None, "unique_key": None}  # fmt: skip

    assert post("/api/v1/jobs", body).status_code == 201


def test_a_queue_that_is_not_known_is_a_404_that_names_the_known_ones(post: Any, valkey: Redis) -> None:
    response = post("/api/v1/jobs", {"kind": "echo", "queue": "nope"})

    assert response.status_code == 404
    assert response.json()["code"] == "unknown_queue"
    assert "default, mail" in response.json()["detail"]
    assert valkey.dbsize() == 0


def deep(levels: int) -> bytes:
    return b'{"kind":"echo","payload":' + b"[" * levels + b"]" * levels + b"}"


MALFORMED = {
    "blank": b" ",
    "not JSON": b"{kind: echo}",
    "cut off": b'{"kind":"echo"',
    "trailing": b'{"kind":"echo"} x',
    "not UTF-8": b'{"kind":"echo","payload":"\xff"}',
    "UTF-16": '{"kind":"echo"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"kind":"echo"}',
    "NaN": b'{"kind":"echo","payload":NaN}',
    "Infinity": b'{"kind":"echo","delay_seconds":Infinity}',
    "overflow in the payload": b'{"kind":"echo","payload":[1e999]}',
    "overflow outside": b'{"kind":"echo","delay_seconds":1e999}',
    "digits": b'{"kind":"echo","payload":' + b"9" * 5000 + b"}",
    "name twice": b'{"kind":"echo","kind":"fail"}',
    "payload twice": b'{"kind":"echo","payload":1,"payload":2}',
    "name twice, escaped": b'{"kind":"echo","k\\u0069nd":"fail"}',
    "name twice in the payload": b'{"kind":"echo","payload":{"a":{"b":1,"b":1}}}',
    "lone surrogate": b'{"kind":"echo","payload":"\\ud800"}',
    "lone surrogate in a name": b'{"kind":"echo","payload":{"\\udfff":1}}',
    "lone surrogate in the key": b'{"kind":"echo","unique_key":"\\ud800"}',
    "NUL in a name": b'{"kind":"echo","payload":{"a\\u0000":1}}',
    "control character": b'{"kind":"echo","payload":"\n"}',
    "1,100 levels": deep(1_100),
    "100,000 levels": deep(100_000),
    "100,000 levels, open": b"[" * 100_000,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_json_is_refused_and_nothing_is_stored(post: Any, valkey: Redis, body: bytes) -> None:
    response = post("/api/v1/jobs", body)

    assert response.status_code == 400
    assert response.json()["code"] == "malformed_json"
    assert "sys." not in response.json()["detail"]
    assert valkey.dbsize() == 0


INVALID: list[tuple[Any, str]] = [
    ([], ""),
    ("echo", ""),
    (None, ""),
    ({}, "/kind"),
    ({"kind": None}, "/kind"),
    ({"kind": ""}, "/kind"),
    ({"kind": "two words"}, "/kind"),
    ({"kind": "echo\n"}, "/kind"),
    ({"kind": "x" * 101}, "/kind"),
    ({"kind": 1}, "/kind"),
    ({"kind": "echo", "color": "red"}, "/color"),
    ({"kind": "echo", "a/b~c`": 1}, "/a~1b~0c`"),
    ({"kind": "echo", "priority": 10}, "/priority"),
    ({"kind": "echo", "priority": -1}, "/priority"),
    ({"kind": "echo", "priority": 1.5}, "/priority"),
    ({"kind": "echo", "priority": True}, "/priority"),
    ({"kind": "echo", "priority": "1"}, "/priority"),
    ({"kind": "echo", "priority": 10**30}, "/priority"),
    ({"kind": "echo", "queue": 1}, "/queue"),
    ({"kind": "echo", "run_at": "2035-01-01T00:00:00"}, "/run_at"),
    ({"kind": "echo", "run_at": "2035-01-01"}, "/run_at"),
    ({"kind": "echo", "run_at": "tomorrow"}, "/run_at"),
    ({"kind": "echo", "run_at": 2051222400}, "/run_at"),
    ({"kind": "echo", "run_at": "9999-12-31T23:59:59-23:59"}, "/run_at"),
    ({"kind": "echo", "run_at": "2035-01-01T00:00:00Z", "delay_seconds": 1}, "/delay_seconds"),
    ({"kind": "echo", "delay_seconds": -1}, "/delay_seconds"),
    ({"kind": "echo", "delay_seconds": 1e12}, "/delay_seconds"),
    ({"kind": "echo", "ttl_seconds": 0}, "/ttl_seconds"),
    ({"kind": "echo", "timeout_seconds": 86_401}, "/timeout_seconds"),
    ({"kind": "echo", "max_attempts": 0}, "/max_attempts"),
    ({"kind": "echo", "max_attempts": 101}, "/max_attempts"),
    ({"kind": "echo", "unique_key": ""}, "/unique_key"),
    ({"kind": "echo", "unique_key": "x" * 201}, "/unique_key"),
    ({"kind": "echo", "tags": "a"}, "/tags"),
    ({"kind": "echo", "tags": ["a", "b c"]}, "/tags/1"),
    ({"kind": "echo", "tags": ["a\n"]}, "/tags"),
    ({"kind": "echo", "tags": ["a"] * 11}, "/tags"),
    ({"kind": "echo", "state": "succeeded"}, "/state"),
]


@pytest.mark.parametrize(("body", "pointer"), INVALID, ids=[str(body)[:60] for body, _ in INVALID])
def test_an_invalid_member_is_pointed_at_and_nothing_is_stored(
    post: Any, valkey: Redis, body: Any, pointer: str
) -> None:
    response = post("/api/v1/jobs", body)

    assert response.status_code == 422
    assert response.json()["code"] == "invalid"
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert valkey.dbsize() == 0


def test_a_payload_of_33_levels_is_pointed_at(post: Any, valkey: Redis) -> None:
    assert post("/api/v1/jobs", deep(32)).status_code == 201
    valkey.flushall()

    response = post("/api/v1/jobs", deep(33))

    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/payload"
    assert valkey.dbsize() == 0


def test_brackets_in_strings_are_no_levels(post: Any) -> None:
    assert post("/api/v1/jobs", {"kind": "echo", "payload": "[" * 5000 + '\\"' + "{" * 5000}).status_code == 201


def test_a_long_text_of_the_client_is_not_repeated_whole(post: Any) -> None:
    response = post("/api/v1/jobs", {"kind": "echo", "x" * 100_000: 1})

    assert response.status_code == 422
    assert len(response.content) < 2_000
