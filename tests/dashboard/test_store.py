from __future__ import annotations

import pytest
from django.test import Client
from redis import Redis

from jobapi.dashboard.store import groups_of, memory_of
from tests.dashboard.conftest import BASE

PAGE = f"{BASE}store/"


def test_it_shows_what_the_server_says_of_itself(viewer: Client, valkey: Redis) -> None:
    version = valkey.info()["valkey_version"]

    text = viewer.get(PAGE).content.decode()

    for words in (f"valkey {version}", "<dt>Journal</dt><dd>on</dd>", "<dd>noeviction</dd>", "<dd>primary</dd>"):
        assert words in text


def test_it_shows_what_the_doctor_finds(viewer: Client, valkey: Redis) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        text = viewer.get(PAGE).content.decode()
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")

    assert "error</span> maxmemory-policy is allkeys-lru: the server may drop jobs" in text


@pytest.mark.parametrize(
    ("used", "most", "words", "share"),
    [(1536, 0, ("1.5 KiB", "no limit"), None), (512 * 2**20, 2**30, ("512.0 MiB", "1.0 GiB"), 50.0)],
)
def test_memory_is_told_against_its_limit(used: int, most: int, words: tuple[str, str], share: float | None) -> None:
    memory = memory_of({"used_memory": used, "maxmemory": most})

    assert (memory.used, memory.most) == words
    assert memory.share == share


def test_replicas_are_told_with_how_far_they_are_behind(valkey: Redis) -> None:
    info = valkey.info() | {"connected_slaves": 1, "master_repl_offset": 5000, "slave0": {"offset": 904}}

    facts = dict(fact for _, group in groups_of(info) for fact in group)

    assert facts["Replica 1 is behind by"] == "4.0 KiB"


def test_redis_is_called_by_its_name(valkey: Redis) -> None:
    info = {name: value for name, value in valkey.info().items() if not name.startswith("valkey")}

    assert dict(groups_of(info | {"redis_version": "7.0.15"})[0][1])["Version"] == "redis 7.0.15"
