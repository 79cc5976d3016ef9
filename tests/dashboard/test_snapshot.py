from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from django.conf import LazySettings
from django.core.cache import caches
from django.test import Client
from redis import Redis

from jobapi.dashboard import snapshot
from jobapi.dashboard.snapshot import Snapshot
from queueing import Broker, Inspector, NewJob, State, StoreUnavailable
from tests.dashboard.conftest import BASE


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time that the figures are read from the queues."""
    noted: list[str] = []
    read = Inspector.stats_of

    def note(self: Inspector, queues: Any) -> Any:
        noted.append(threading.current_thread().name)
        return read(self, queues)

    monkeypatch.setattr(Inspector, "stats_of", note)
    return noted


def end_of_turn(valkey: Redis) -> None:
    """Let the second of the last snapshot be over."""
    for turn in valkey.keys("*snapshot*:turn"):
        valkey.delete(turn)


def test_a_snapshot_comes_back_from_the_cache_as_it_was_read(broker: Broker, readings: list[str]) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    broker.pause("default", reason="<b>")
    broker.beat("mail", "host:1:a", b'{"host": "host", "slots": 4}', 30_000)

    read, shared = snapshot.take(), snapshot.take()

    assert shared == read
    assert len(readings) == 1
    assert shared.stats[1].counts[State.READY] == 1
    assert shared.stats[0].paused_reason == "<b>"
    assert [worker.about["slots"] for worker in shared.live_workers("mail")] == [4]


def test_many_readers_of_one_moment_read_the_queues_once(readings: list[str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: snapshot.take(), range(64)))

    assert len(readings) == 1
    assert all(each == taken[0] for each in taken)


def test_the_next_second_is_read_anew(broker: Broker, readings: list[str], valkey: Redis) -> None:
    snapshot.take()
    broker.enqueue("mail", NewJob.of("echo"))
    end_of_turn(valkey)

    assert snapshot.take().stats[1].counts[State.READY] == 1
    assert len(readings) == 2


def test_a_turn_lasts_a_second_and_ends_by_itself(valkey: Redis) -> None:
    snapshot.take()

    turns = valkey.keys("*snapshot*:turn")

    assert [0 < valkey.pttl(turn) <= snapshot.FRESH_MS for turn in turns] == [True]


def test_readers_get_the_last_snapshot_while_the_next_is_made(
    broker: Broker, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = snapshot.take()
    end_of_turn(valkey)
    is_read, may_go_on = threading.Event(), threading.Event()
    read = Inspector.stats_of

    def slow(self: Inspector, queues: Any) -> Any:
        is_read.set()
        assert may_go_on.wait(30)
        return read(self, queues)

    monkeypatch.setattr(Inspector, "stats_of", slow)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(snapshot.take)
        assert is_read.wait(30)
        meanwhile = snapshot.take()
        may_go_on.set()

    assert meanwhile == last
    assert making.result().at > last.at


def test_one_who_dies_with_the_turn_holds_nobody_up(
    valkey: Redis, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most_seconds = snapshot.LOOKS * snapshot.LOOK_SECONDS
    monkeypatch.setattr(snapshot, "LOOK_SECONDS", 0)
    key = caches["default"].make_key("snapshot:figures:default,mail")
    valkey.set(f"{key}:turn", 1)

    found = snapshot.take()

    assert [stats.queue for stats in found.stats] == ["default", "mail"]
    assert len(readings) == 1
    assert at_most_seconds <= 1


def test_a_cache_that_fails_hinders_no_page(settings: LazySettings, readings: list[str]) -> None:
    settings.CACHES = {**settings.CACHES, "default": {**settings.CACHES["default"], "LOCATION": "unix:///nowhere"}}

    found = [snapshot.take(), snapshot.take()]

    assert len(readings) == 2
    assert found[1].stats


@pytest.mark.parametrize("stored", [b"", b"no json", b'{"at": 1}', b"\x80\x04cposix\nsystem\n"])
def test_what_another_release_stored_is_not_taken_for_a_snapshot(
    valkey: Redis, readings: list[str], monkeypatch: pytest.MonkeyPatch, stored: bytes
) -> None:
    monkeypatch.setattr(snapshot, "LOOK_SECONDS", 0)
    snapshot.take()
    for key in valkey.keys("*snapshot:figures*[^n]"):
        valkey.set(key, stored)

    assert isinstance(snapshot.take(), Snapshot)
    assert len(readings) == 2


def test_without_the_database_it_raises_and_waits_for_nobody(settings: LazySettings) -> None:
    settings.CACHES = {name: {**cache, "LOCATION": "unix:///nowhere"} for name, cache in settings.CACHES.items()}

    with pytest.raises(StoreUnavailable):
        snapshot.take()


def test_installations_that_know_other_queues_do_not_share(settings: LazySettings) -> None:
    snapshot.take()
    settings.QUEUES = ["mail"]

    assert [stats.queue for stats in snapshot.take().stats] == ["mail"]


def test_a_history_of_hours_is_shared_too(broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))

    read, shared = snapshot.history(361), snapshot.history(361)

    assert msgspec.json.encode(read) == msgspec.json.encode(shared)
    assert [len(each.series["submitted"]) for each in shared] == [361, 361]
    assert sum(shared[1].series["submitted"]) == 1


def test_what_somebody_did_is_shown_at_once(administrator: Client, broker: Broker) -> None:
    before = administrator.get(f"{BASE}queues/mail/").content.decode()
    administrator.post(f"{BASE}queues/mail/pause/")
    broker.pause("mail", reason="now")
    snapshot.forget()
    after = administrator.get(f"{BASE}queues/mail/").content.decode()

    assert "“now”" not in before
    assert "“now”" in after


@pytest.mark.parametrize("path", ["", "queues/mail/", "workers/"])
def test_a_region_that_is_as_it_was_is_answered_204(viewer: Client, path: str) -> None:
    page = viewer.get(BASE + path)
    region = viewer.get(BASE + path, headers={"HX-Request": "true"})

    again = viewer.get(BASE + path, headers={"HX-Request": "true", "If-None-Match": region["ETag"]})

    assert f'data-etag="{region["ETag"].replace(chr(34), "&quot;")}"' in page.content.decode()
    assert region.content.decode() in page.content.decode()
    assert (again.status_code, again.content, again["ETag"]) == (204, b"", region["ETag"])


def test_a_region_that_has_changed_is_sent(viewer: Client, broker: Broker, valkey: Redis) -> None:
    first = viewer.get(BASE, headers={"HX-Request": "true"})
    broker.enqueue("mail", NewJob.of("echo"))
    end_of_turn(valkey)

    second = viewer.get(BASE, headers={"HX-Request": "true", "If-None-Match": first["ETag"]})

    assert second.status_code == 200
    assert "<html" not in second.content.decode()
    assert second["ETag"] != first["ETag"]


def test_a_page_costs_as_many_commands_with_many_jobs_as_with_one(
    viewer: Client, broker: Broker, valkey: Redis, count_commands: Callable[[], int]
) -> None:
    costs = []
    for jobs in (1, 1000):
        broker.enqueue_many("mail", [NewJob.of("echo")] * jobs)
        end_of_turn(valkey)
        before = count_commands()
        assert viewer.get(BASE).status_code == 200
        costs.append(count_commands() - before)

    assert costs[1] <= costs[0] + 5  # a minute may begin, and a script be loaded


@pytest.fixture
def count_commands(valkey: Redis) -> Callable[[], int]:
    """Give a function that tells how many commands the server has run, those of scripts among them."""
    return lambda: sum(figures["calls"] for figures in valkey.info("commandstats").values())
