from __future__ import annotations

import json

from django.test import Client
from redis import Redis

from queueing import Broker

ABOUT = {
    "host": "alpha",
    "pid": 17,
    "queues": ["default", "mail"],
    "slots": 4,
    "running": [{"job_id": "default_" + "0" * 32, "kind": "echo", "attempt": 2}],
}


def test_an_installation_without_workers_has_an_empty_list(api: Client) -> None:
    assert api.get("/api/v1/workers").json() == {"items": [], "next_cursor": None}


def test_a_worker_of_several_queues_is_listed_once_with_what_it_runs(api: Client, broker: Broker) -> None:
    for queue in ("default", "mail"):
        broker.beat(queue, "alpha:17:abcd", json.dumps(ABOUT).encode(), forget_ms=60_000)

    (worker,) = api.get("/api/v1/workers").json()["items"]

    assert worker.pop("last_seen_at").endswith("Z")
    assert worker == {"id": "alpha:17:abcd", **ABOUT}


def test_a_worker_that_fell_silent_is_not_listed(api: Client, broker: Broker, valkey: Redis) -> None:
    broker.beat("mail", "alpha:17:abcd", b"{}", forget_ms=60_000)
    valkey.hset("jobs:{mail}:workers", "silent:1:x", b"1|{}")

    assert [worker["id"] for worker in api.get("/api/v1/workers").json()["items"]] == ["alpha:17:abcd"]


def test_workers_are_looked_at_only(api: Client) -> None:
    assert api.post("/api/v1/workers").status_code == 405
