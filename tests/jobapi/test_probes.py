from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.test import Client
from redis import Redis

from jobapi import health


@pytest.fixture(autouse=True)
def fitness(monkeypatch: pytest.MonkeyPatch) -> health.Fitness:
    """Let nothing be known of the database server."""
    fitness = health.Fitness()
    monkeypatch.setattr(health, "fitness", fitness)
    return fitness


@contextmanager
def configured(valkey: Redis, name: str, value: str) -> Iterator[None]:
    """Change a setting of the server for a while."""
    before = valkey.config_get(name)[name]
    valkey.config_set(name, value)
    try:
        yield
    finally:
        valkey.config_set(name, before)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_that_passes_says_ok(api: Client, path: str) -> None:
    response = api.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_probe_needs_no_session_and_no_database_of_django(api: Client) -> None:
    assert api.get("/readyz").cookies == {}


def test_a_server_that_may_drop_jobs_is_not_ready_and_the_code_says_why(api: Client, valkey: Redis) -> None:
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        response = api.get("/readyz")

    assert (response.status_code, response.json()["code"]) == (503, "server_evicts")
    assert int(response["Retry-After"]) > 0


def test_a_replica_is_not_ready(api: Client, valkey: Redis) -> None:
    valkey.replicaof("127.0.0.1", "1")
    try:
        response = api.get("/readyz")
    finally:
        valkey.replicaof("no", "one")

    assert (response.status_code, response.json()["code"]) == (503, "server_is_replica")


def test_who_is_not_let_in_learns_neither_version_nor_address_nor_setting(api: Client, valkey: Redis) -> None:
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        text = api.get("/readyz").content.decode().lower()

    for secret in ("valkey", "redis", "9.1", ".sock", "127.0.0.1", "lru", "maxmemory"):
        assert secret not in text


def test_a_server_that_was_found_fit_is_examined_again_after_half_a_minute(
    api: Client, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(health.time, "monotonic", lambda: now)
    assert api.get("/readyz").status_code == 200

    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        now = 1029.0
        assert api.get("/readyz").status_code == 200
        now = 1031.0
        assert api.get("/readyz").status_code == 503


def test_a_server_that_was_mended_is_ready_at_once(api: Client, valkey: Redis) -> None:
    with configured(valkey, "maxmemory-policy", "allkeys-lru"):
        assert api.get("/readyz").status_code == 503

    assert api.get("/readyz").status_code == 200


def test_many_probes_of_a_fit_server_examine_it_once(api: Client, valkey: Redis) -> None:
    valkey.config_resetstat()

    for _ in range(20):
        assert api.get("/readyz").status_code == 200

    calls = valkey.info("commandstats")
    assert calls["cmdstat_info"]["calls"] == 1
    assert calls["cmdstat_ping"]["calls"] == 19
