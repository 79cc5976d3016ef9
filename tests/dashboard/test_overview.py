from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.test import Client
from redis import Redis

from jobapi.dashboard import snapshot
from jobapi.dashboard.figures import WINDOWS, Past, alarms, quantile
from queueing import Broker, Inspector, JobError, NewJob, QueueHistory, Run
from queueing.figures import SERIES
from queueing.jobs import TICKS_PER_MS
from queueing.keys import queue_keys
from tests.dashboard.conftest import BASE

HOSTILE = "<img src=x onerror=alert(1)>"


def beat(broker: Broker, *queues: str, name: str = "host:1:a", **about: object) -> None:
    """Let a worker of these queues give a sign of life."""
    said = {"host": "host", "pid": 1, "queues": list(queues), "slots": 4, "running": [], **about}
    for queue in queues:
        broker.beat(queue, name, json.dumps(said).encode(), 30_000)


def let_wait(valkey: Redis, queue: str, seconds: int) -> None:
    """Let the jobs that are ready have waited for longer."""
    keys = queue_keys(queue)
    for job_id, order in valkey.zrange(keys.ready, 0, -1, withscores=True):
        valkey.zadd(keys.ready, {job_id: order - seconds * 1000 * TICKS_PER_MS})


def texts_of_alarms() -> list[str]:
    return [f"{alarm.text} {alarm.advice}" for alarm in alarms(snapshot.take(), 300)]


def test_the_cards_have_the_sums_and_lead_to_what_they_count(viewer: Client, broker: Broker) -> None:
    for queue in ("default", "mail"):
        broker.enqueue_many(queue, [NewJob.of("echo", max_attempts=1)] * 3)
        broker.claim(queue, "host:1:a")
        broker.fail(broker.claim(queue, "host:1:a").jobs[0], JobError(type="E", message=""))
    beat(broker, "default", "mail")

    text = viewer.get(BASE).content.decode()

    assert f'<a id="card-ready" href="{BASE}jobs/?state=ready"><span>Ready</span> <strong>2</strong>' in text
    assert f'href="{BASE}jobs/?state=running"><span>Running</span> <strong>2</strong> <small>of 4 slots' in text
    assert f'<a id="card-dead" href="{BASE}failures/"><span>Dead</span> <strong>2' in text


def test_an_installation_without_a_job_says_what_there_is_nothing_of(viewer: Client) -> None:
    text = viewer.get(BASE).content.decode()

    assert "No job waits." in text
    assert "no worker is alive" in text
    assert "Nothing in this time" in text
    assert 'class="alarm' not in text


def test_an_installation_without_a_queue_says_so(viewer: Client, settings: LazySettings) -> None:
    settings.QUEUES = []

    answer = viewer.get(BASE)

    assert answer.status_code == 200
    assert "<code>QUEUES</code>" in answer.content.decode()


def test_pages_renew_themselves_as_often_as_the_settings_let_one_choose(viewer: Client, settings: LazySettings) -> None:
    settings.DASHBOARD_REFRESH_SECONDS = [30, 10]

    text = " ".join(viewer.get(BASE).content.decode().split())

    assert '<option value="10">10 s</option> <option value="30" selected>30 s</option> <option value="0">off' in text


@pytest.mark.parametrize("window", ["1h", "6h", "24h"])
def test_the_window_is_in_the_address(viewer: Client, broker: Broker, window: str) -> None:
    broker.enqueue("mail", NewJob.of("echo"))

    text = viewer.get(f"{BASE}?window={window}").content.decode()

    assert f'<strong aria-current="true">{window}</strong>' in text
    assert f"in the last {WINDOWS[window].words}" in text.lower()


def test_a_window_that_is_none_is_an_hour(viewer: Client) -> None:
    assert '<strong aria-current="true">1h</strong>' in viewer.get(f"{BASE}?window=<b>").content.decode()


def test_jobs_that_nobody_consumes_are_an_alarm(broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))

    assert texts_of_alarms() == [
        "Nothing consumes mail: 1 job ready. See that a worker runs, serves this queue and uses this database."
    ]


def test_jobs_of_a_paused_queue_are_none(broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    broker.pause("mail", reason="")

    assert texts_of_alarms() == []


def test_a_worker_of_the_queue_ends_the_alarm_and_one_of_another_does_not(broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo")])
    broker.enqueue_many("default", [NewJob.of("echo")])
    beat(broker, "mail")

    assert [alarm.queue for alarm in alarms(snapshot.take(), 300)] == ["default"]


@pytest.mark.parametrize(("minutes_ago", "alarm"), [(4, []), (30, ["mail"])])
def test_a_queue_that_timers_serve_is_an_alarm_when_a_run_is_missed(
    broker: Broker, valkey: Redis, minutes_ago: int, alarm: list[str]
) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    for number in range(4):
        start = datetime.now(UTC) - timedelta(minutes=minutes_ago + 5 * number)
        valkey.rpush(queue_keys("mail").runs, run_at(start).to_json())

    found = alarms(snapshot.take(), 300)

    assert [each.queue for each in found] == alarm
    assert all("A run that was expected is missing" in each.advice for each in found)


def run_at(start: datetime) -> Run:
    """Return a drain of the queue mail that began then."""
    return Run(
        worker="w", host="cron", queues=("mail",), mode="drain", interval_seconds=None, started_at=start,
        ended_at=start + timedelta(seconds=9), jobs=3, outcome="drained",
    )  # fmt: skip


def test_old_jobs_that_newer_ones_overtake_are_an_alarm(broker: Broker, valkey: Redis) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    let_wait(valkey, "mail", 400)
    broker.enqueue("mail", NewJob.of("echo"))
    broker.ack(broker.claim("mail", "host:1:a").jobs[0])
    beat(broker, "mail")

    (text,) = texts_of_alarms()

    assert text.startswith("The oldest job of mail has waited 6m 40s, the target is 5m, while 1 newer job began")
    assert "fair_every" in text


def test_old_jobs_while_none_is_begun_are_another_alarm(broker: Broker, valkey: Redis) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    let_wait(valkey, "mail", 400)
    beat(broker, "mail")

    (text,) = texts_of_alarms()

    assert "none began in the last 5 minutes" in text


def test_the_table_tells_of_each_queue_and_leads_to_it(viewer: Client, broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo")] * 3)
    broker.pause("mail", reason=HOSTILE)

    text = viewer.get(BASE).content.decode()

    assert f'<a id="queue-mail" href="{BASE}queues/mail/">mail</a>' in text
    assert f'<a href="{BASE}jobs/?queue=mail&amp;state=ready">3</a>' in text
    assert "paused</span>" in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img" not in text


def test_the_ages_of_all_queues_are_one_distribution(viewer: Client, broker: Broker, valkey: Redis) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    broker.enqueue_many("mail", [NewJob.of("echo")] * 3)
    let_wait(valkey, "mail", 4000)

    text = viewer.get(BASE).content.decode()

    assert '<td class="number">3 <span class="warn">late</span></td>' in text
    assert text.count('<rect class="bar') == 5


def history_of(minutes: int, **series: int) -> QueueHistory:
    """Return a history in which the same happened each minute."""
    figures = {name: (series.get(name, 0),) * minutes for name in (*SERIES, "started")}
    return QueueHistory(queue="mail", first_minute=29_000_000, series=figures)


@pytest.mark.parametrize(("name", "minutes"), [("1h", 61), ("6h", 361), ("24h", 1426)])
def test_a_window_leaves_the_minute_that_runs_out_and_adds_queues_up(name: str, minutes: int) -> None:
    past = Past(WINDOWS[name], [history_of(minutes, failed=2), history_of(minutes, failed=1, succeeded=3)])

    assert past.total("failed") == 3 * WINDOWS[name].minutes
    assert past.failed_share() == 0.5
    assert len(past.series("failed")) == len(past.moments()) == len(past.waits(0.5))
    assert past.moments()[-1] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        minutes=29_000_000 + minutes - 1 - WINDOWS[name].step
    )


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [((0, 0, 0), 0.5, None), ((4, 0, 0), 0.5, 5), ((0, 4, 0), 0.5, 15), ((1, 1, 0), 0.5, 10), ((0, 0, 9), 1, 20)],
)  # fmt: skip
def test_a_quantile_lies_within_its_bucket(counts: tuple[int, ...], share: float, seconds: float | None) -> None:
    assert quantile(counts, (10, 20), share) == seconds


def test_the_waiting_time_of_a_job_is_in_the_history(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    broker.claim("mail", "w")

    (history,) = inspector.history(["mail"], 2)

    assert sum(history.series["started"]) == 1
