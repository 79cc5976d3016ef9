from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from redis import Redis

from jobapi.dashboard import snapshot
from jobapi.dashboard.schedules import schedules_of
from queueing import Broker, Run
from queueing.keys import queue_keys
from tests.dashboard.conftest import BASE

PAGE = f"{BASE}workers/"
HOSTILE = "<img src=x onerror=alert(1)>"


def beat(broker: Broker, name: str, **about: object) -> None:
    said = {"host": "web-2", "pid": 311, "queues": ["default", "mail"], "slots": 8, "running": [], **about}
    for queue in ("default", "mail"):
        broker.beat(queue, name, json.dumps(said).encode(), 3_600_000)


def let_run(valkey: Redis, *minutes_ago: float, host: str = "cron-1", **told: object) -> None:
    """Let runs have ended that began so many minutes ago."""
    for minutes in minutes_ago:
        start = datetime.now(UTC) - timedelta(minutes=minutes)
        usual = {"worker": "w", "mode": "drain", "interval_seconds": None, "jobs": 31, "outcome": "drained"}
        run = Run(
            **{**usual, "host": host, "queues": ("mail",), "started_at": start, "ended_at": start, **told}  # type: ignore[arg-type]
        )
        valkey.rpush(queue_keys("mail").runs, run.to_json())


def test_a_worker_of_two_queues_is_one_row_and_leads_to_what_it_runs(viewer: Client, broker: Broker) -> None:
    job_id = "default_" + "0" * 32
    started_at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    beat(
        broker, "web-2:311:a", running=[{"job_id": job_id, "kind": "send.mail", "attempt": 2}], jobs=812, rss_mib=84,
        mode="continuous", started_at=started_at,
    )  # fmt: skip

    text = viewer.get(PAGE).content.decode()

    assert text.count('<th scope="row" class="wrap">web-2') == 1
    assert f'href="{BASE}jobs/{job_id}/">send.mail</a> <small class="quiet">attempt 2</small>' in text
    assert f'href="{BASE}queues/mail/"' in text
    for words in ("1 live, 0 silent; 1 of 8 slots busy", "812", "84 MiB", ">2h ago<", "continuous"):
        assert words in text


def test_a_worker_that_went_silent_is_shown_as_silent(viewer: Client, broker: Broker, valkey: Redis) -> None:
    beat(broker, "web-2:311:a")
    seen_ms = round((datetime.now(UTC) - timedelta(seconds=90)).timestamp() * 1000)
    for queue in ("default", "mail"):
        valkey.hset(queue_keys(queue).workers, "web-2:311:a", f"{seen_ms}|" + json.dumps({"host": "web-2", "slots": 8}))

    text = viewer.get(PAGE).content.decode()

    assert "0 live, 1 silent; 0 of 0 slots" in text
    assert "silent</span>" in text
    assert ">1m 3" in text


@pytest.mark.parametrize("told", [{}, {"started_at": "yesterday"}, {"started_at": 7, "jobs": None, "running": []}])
def test_a_worker_of_an_earlier_release_tells_less(viewer: Client, broker: Broker, told: dict[str, object]) -> None:
    beat(broker, "old:1:a", **told)

    answer = viewer.get(PAGE)

    assert answer.status_code == 200
    assert "web-2" in answer.content.decode()


def test_what_a_worker_says_of_itself_runs_nowhere(viewer: Client, broker: Broker, valkey: Redis) -> None:
    running = [{"job_id": f'"{HOSTILE}/../', "kind": HOSTILE, "attempt": 1}]
    beat(broker, HOSTILE, host=HOSTILE, queues=[HOSTILE], mode=HOSTILE, running=running)
    let_run(valkey, 1, host=HOSTILE, outcome=HOSTILE, mode=HOSTILE)

    text = viewer.get(PAGE).content.decode()

    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_without_workers_it_says_how_to_start_one(viewer: Client) -> None:
    text = viewer.get(PAGE).content.decode()

    assert "<code>manage.py runworker</code>" in text
    assert "<code>manage.py runworker --drain</code>" in text


@pytest.mark.parametrize(
    ("minutes_ago", "state", "interval_minutes"),
    [
        ((4, 9, 14), "on time", 5),
        ((7, 12, 17), "on time", 5),  # late by two minutes, less than half of the interval
        ((8, 13, 18), "missed", 5),
        ((1.5, 2.5, 3.5), "on time", 1),  # a minute is always given
        ((2.5, 3.5, 4.5), "missed", 1),
        ((30, 90, 150, 155), "on time", 60),  # one that was started by hand between does not count
        ((600, 605), "unknown", None),
    ],
)
def test_what_is_expected_next_follows_from_the_runs_of_the_past(
    valkey: Redis, minutes_ago: tuple[float, ...], state: str, interval_minutes: int | None
) -> None:
    let_run(valkey, *minutes_ago)

    (schedule,) = schedules_of(snapshot.take())

    assert schedule.state == state
    assert interval_minutes == (schedule.interval_seconds and round(schedule.interval_seconds / 60))
    assert (schedule.next_at is None) == (interval_minutes is None)


def test_the_interval_that_a_worker_was_told_goes_before_the_past(valkey: Redis) -> None:
    let_run(valkey, 1, interval_seconds=120.0, mode="interval")

    (schedule,) = schedules_of(snapshot.take())

    assert (schedule.interval_seconds, schedule.state) == (120, "on time")


def test_a_run_that_goes_on_is_not_missed(broker: Broker, valkey: Redis) -> None:
    let_run(valkey, 60, 65, 70)
    beat(broker, "cron-1:7:a", host="cron-1", queues=["mail"], mode="drain")

    (schedule,) = schedules_of(snapshot.take())

    assert schedule.state == "running"


def test_hosts_and_queues_have_schedules_of_their_own(viewer: Client, valkey: Redis) -> None:
    let_run(valkey, 4, 9, 14)
    let_run(valkey, 200, 260, 320, host="cron-2")

    text = viewer.get(PAGE).content.decode()

    assert "on time</span>" in text
    assert "missed</span>" in text
    assert "The last 6 runs" in text
