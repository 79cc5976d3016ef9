from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.test import Client
from redis import Redis

from jobapi.dashboard.timeline import WIDTH, phases_of
from queueing import Broker, Inspector, NewJob, State
from tests.dashboard.acting import HOSTILE, die, do, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump
from tests.queueing.states import job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass


def address(job_id: str) -> str:
    return f"{BASE}jobs/{job_id}/"


@pytest.mark.parametrize("state", State)
def test_a_job_is_shown_in_each_state_with_the_actions_that_apply(
    administrator: Client, broker: Broker, valkey: Redis, state: State
) -> None:
    offered = {
        State.DEAD: ["requeue", "delete"],
        State.RUNNING: ["cancel"],
        **{state: ["cancel", "delete"] for state in (State.SCHEDULED, State.READY, State.RETRYING)},
    }

    page = administrator.get(address(job_in(state, broker, valkey)))

    assert page.status_code == 200
    assert f'class="state state-{state}"' in page.content.decode()
    assert [verb["name"] for verb in page.context["verbs"]] == offered.get(state, ["delete"])


def test_attempts_are_told_with_what_went_wrong(
    viewer: Client, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    (job_id,) = die(broker, "first", outcome="failed")
    let_pass(valkey, "default", 20 * MINUTE_MS)
    broker.promote("default")
    broker.ack(broker.claim("default", "w2").jobs[0], b'{"ok":true}')

    page = viewer.get(address(job_id))
    names = [phase.name for phase in page.context["phases"]]

    assert names == ["waited", "failed", "waited", "succeeded"]
    assert all(text in text_of(page) for text in ("ValueError : first", "Attempt 1", "Attempt 2", "w1", "w2", "pay.py"))
    assert re.search(
        r'<svg[^>]*role="img" aria-label="The life of this job: waited [^"]*succeeded after', page.content.decode()
    )


def test_the_phases_of_a_job_fill_the_drawing_in_order(broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    (job_id,) = die(broker, "no")
    let_pass(valkey, "default", 3 * MINUTE_MS)
    job = inspector.job(job_id)

    phases = phases_of(job, inspector.stats("default").at)

    assert [phase.left for phase in phases] == sorted(phase.left for phase in phases)
    assert phases[-1].left + phases[-1].width == pytest.approx(WIDTH, abs=1)
    assert phases_of(inspector.job(broker.enqueue("mail", NewJob.of("echo")).id), job.created_at) == []


def test_a_ready_job_says_why_it_still_waits(viewer: Client, broker: Broker) -> None:
    old = broker.enqueue("default", NewJob.of("echo", ttl_seconds=3600)).id
    for _ in range(3):
        newest = broker.enqueue("default", NewJob.of("echo")).id
    broker.pause("default", reason="relay down")

    told = {job_id: viewer.get(address(job_id)).context["waits"] for job_id in (old, newest)}

    assert told[old][:2] == [
        "It is number 4 of 4 that are ready in queue default.",
        "The queue is paused (relay down).",
    ]
    assert told[old][2].startswith("3 jobs with a higher priority, or submitted later, will run before")
    assert told[old][3].startswith("It expires")
    assert told[newest][2] == "It is the next one to be served, unless a newer one comes."


def test_payload_and_result_are_masked_for_everybody_until_they_are_revealed(
    administrator: Client, broker: Broker
) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", {"user": "anna", "password": "geheim"})).id
    broker.ack(broker.claim("default", "w1").jobs[0], b'{"session":{"token":"verborgen"}}')

    page = administrator.get(address(job_id)).content.decode()
    revealed = administrator.post(f"{address(job_id)}reveal/")

    assert "anna" in page
    assert "geheim" not in page
    assert "verborgen" not in page
    assert "geheim" in revealed.content.decode()
    assert "verborgen" in revealed.content.decode()
    assert "no-store" in revealed["Cache-Control"]


def test_a_reveal_is_recorded_before_it_is_shown(administrator: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", {"password": "geheim"})).id

    administrator.post(f"{address(job_id)}reveal/")

    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("anna", job_id)
    assert json.loads(entry.change_message) == {"action": "reveal", "kind": "echo"}
    assert "reveal by anna" in text_of(administrator.get(address(job_id)))


def test_one_who_may_not_see_payloads_cannot_reveal_them(viewer: Client, operator: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", {"password": "geheim"})).id

    answers = [browser.post(f"{address(job_id)}reveal/") for browser in (viewer, operator)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "Reveal" not in viewer.get(address(job_id)).content.decode()
    assert not LogEntry.objects.exists()


def test_secrets_in_errors_are_masked_too(viewer: Client, broker: Broker) -> None:
    (job_id,) = die(broker, "login failed for password=geheim")

    assert "geheim" not in viewer.get(address(job_id)).content.decode()


def test_big_integers_are_shown_exactly(viewer: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob(kind="echo", payload=b'{"id":9007199254740993001,"price":1.10}')).id

    page = text_of(viewer.get(address(job_id)))

    assert '"id": 9007199254740993001' in page
    assert '"price": 1.10' in page


def test_a_big_payload_is_cut_and_its_size_told(viewer: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo", ["x" * 1000] * 200)).id

    page = viewer.get(address(job_id))

    assert len(page.content) < 60_000
    assert "this is the beginning of 195.9 KiB" in text_of(page)


def test_where_it_came_from_is_told(viewer: Client, broker: Broker) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    options = {"tags": ("a", "b"), "request_id": "req-1", "owner": "billing", "traceparent": trace}
    job_id = broker.enqueue("default", NewJob.of("echo", **options)).id

    page = text_of(viewer.get(address(job_id)))

    assert all(text in page for text in ("req-1", "by billing", trace, "a b"))


def test_it_leads_to_its_logs_and_to_the_api(viewer: Client, broker: Broker, settings: LazySettings) -> None:
    settings.LOG_LINK = "https://logs.example/?q={job_id}&k={kind}"
    job_id = broker.enqueue("default", NewJob.of("a.b")).id

    page = viewer.get(address(job_id)).content.decode()

    assert f'href="https://logs.example/?q={job_id}&amp;k=a.b"' in page
    assert f'href="/api/v1/jobs/{job_id}"' in page


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "http://logs.example/", "//logs.example/", "/\\\\logs.example"]
)
def test_a_log_link_that_leads_elsewhere_than_https_or_this_server_is_refused(link: str) -> None:
    environment = {**os.environ, "LOG_LINK": link, "SECRET_KEY": "x"}
    command = [sys.executable, "-c", "import settings.base"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    assert "ImproperlyConfigured: LOG_LINK must be a link that begins with https://" in done.stderr


def test_what_staff_did_to_it_is_told(operator: Client, broker: Broker) -> None:
    one, two, three = die(broker, "a", "b", "c")

    do(operator, "requeue", one, reason="fixed it")
    do(operator, "requeue", two, three, reason="and these")

    assert "requeue by olga" in text_of(operator.get(address(one)))
    assert "“fixed it”" in text_of(operator.get(address(one)))
    assert "“and these”" in text_of(operator.get(address(three)))


def test_jobs_with_the_same_error_are_one_link_away(viewer: Client, broker: Broker) -> None:
    one, two = die(broker, "bad amount: 1", "bad amount: 2")
    die(broker, "another")

    link = viewer.get(address(one)).context["same_error"]

    assert {row["job"].id for row in viewer.get(f"{BASE}jobs/?{link}").context["rows"]} == {one, two}


@pytest.mark.parametrize("job_id", ["default_" + "0" * 32, "nonsense", "../x", HOSTILE])
def test_a_job_that_is_not_there_is_answered_404(viewer: Client, job_id: str) -> None:
    page = viewer.get(address(job_id))

    assert page.status_code == 404
    assert "<img src=x" not in page.content.decode()


def test_a_stranger_is_refused(stranger: Client, broker: Broker) -> None:
    job_id = broker.enqueue("default", NewJob.of("echo")).id

    assert stranger.get(address(job_id)).status_code == 403
    assert stranger.post(f"{address(job_id)}reveal/").status_code == 403


def test_hostile_text_is_shown_as_text(administrator: Client, broker: Broker, valkey: Redis) -> None:
    (job_id,) = die(broker, HOSTILE, error=HOSTILE, payload={HOSTILE: HOSTILE})
    stored = {"k": HOSTILE, "g": f'["{HOSTILE}"]', "pg": f'"{HOSTILE}"', "r": f'"{HOSTILE}"', "ri": HOSTILE}
    valkey.hset(f"jobs:{{default}}:job:{job_id}", mapping={**stored, "tp": HOSTILE, "ow": HOSTILE})  # past every check

    pages = [administrator.get(address(job_id)), administrator.post(f"{address(job_id)}reveal/")]

    assert all("<img src=x" not in page.content.decode() for page in pages)
    assert text_of(pages[0]).count(HOSTILE) >= 8


def test_looking_changes_nothing(viewer: Client, broker: Broker, valkey: Redis) -> None:
    (job_id,) = die(broker, "no")
    before = dump(valkey)

    viewer.get(address(job_id))

    assert dump(valkey) == before
    assert not LogEntry.objects.exists()
