from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.test import Client
from redis import Redis

from jobapi.dashboard.bulk import APPLIES, Verb
from queueing import Broker, Inspector, JobNotFound, NewJob, State, StoreUnavailable
from tests.dashboard.acting import HOSTILE, ask, die, do, field, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump
from tests.queueing.states import job_in

AFTER = {Verb.REQUEUE: State.READY, Verb.CANCEL: State.CANCELLED}


def queue_action(browser: Client, action: str, **fields: str) -> int:
    return browser.post(f"{BASE}queues/default/{action}/", {"confirmed": "1", **fields}).status_code


def details() -> dict[str, object]:
    """Return what the only entry of the audit says."""
    found: dict[str, object] = json.loads(LogEntry.objects.get().change_message)
    return found


@pytest.mark.parametrize("verb", Verb)
def test_a_button_asks_first_and_changes_nothing(
    administrator: Client, broker: Broker, valkey: Redis, verb: Verb
) -> None:
    job_id = job_in(min(APPLIES[verb]), broker, valkey)
    before = dump(valkey)

    page = ask(administrator, verb, job_id)

    assert page.status_code == 200
    assert f"{verb.capitalize()} this job?" in text_of(page)
    assert dump(valkey) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("verb", "state"), [(verb, state) for verb in Verb for state in State])
def test_one_job_is_changed_if_its_state_allows_and_left_alone_if_not(
    administrator: Client, broker: Broker, valkey: Redis, inspector: Inspector, verb: Verb, state: State
) -> None:
    job_id = job_in(state, broker, valkey)

    answer = do(administrator, verb, job_id, reason="")

    assert answer.status_code == 302
    if state in APPLIES[verb] and verb is Verb.DELETE:
        with pytest.raises(JobNotFound):
            inspector.job(job_id)
    elif state in APPLIES[verb] and state is not State.RUNNING:
        assert inspector.job(job_id).state is AFTER[verb]
    else:
        assert inspector.job(job_id).state is state
        assert inspector.job(job_id).cancel_requested is (verb is Verb.CANCEL and state is State.RUNNING)


def test_each_action_is_recorded_with_who_and_why_and_told_the_log(
    operator: Client, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    (job_id,) = die(broker, "no", payload={"password": "geheim"})

    with caplog.at_level(logging.INFO, "jobapi.dashboard"):
        do(operator, "requeue", job_id, reason="  the relay\nis back ")

    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id, entry.object_repr) == ("olga", job_id, f"job {job_id}")
    assert details() == {
        "action": "requeue", "reason": "the relay is back", "kind": "echo", "done": 1, "skipped": 0, "failed": 0,
        "is_over": True,
    }  # fmt: skip
    (line,) = [vars(record) for record in caplog.records if vars(record).get("action") == "dashboard_requeue"]
    assert (line["actor"], line["job_id"], line["reason"]) == ("olga", job_id, "the relay is back")
    assert "geheim" not in caplog.text + entry.change_message


def test_without_the_right_nobody_asks_or_does(viewer: Client, operator: Client, broker: Broker, valkey: Redis) -> None:
    (job_id,) = die(broker, "no")
    plan = field(ask(operator, "requeue", job_id), "plan")
    before = dump(valkey)

    answers = [
        ask(viewer, "requeue", job_id),
        ask(viewer, "cancel", job_id),
        ask(operator, "delete", job_id),
        viewer.post(f"{BASE}jobs/requeue/", {"plan": plan, "reason": "x"}),
        viewer.post(f"{BASE}queues/default/pause/", {"confirmed": "1", "reason": "x"}),
        operator.post(f"{BASE}queues/default/purge/", {"confirmed": "1", "reason": "x", "name": "default"}),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert dump(valkey) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("route", ["jobs/requeue/", "jobs/cancel/", "jobs/delete/", "queues/default/pause/"])
def test_a_stranger_is_refused(stranger: Client, route: str) -> None:
    assert stranger.post(f"{BASE}{route}", {"id": "default_" + "0" * 32}).status_code == 403


def test_a_plan_is_good_for_the_person_and_the_verb_it_was_made_for_only(
    administrator: Client, operator: Client, broker: Broker, valkey: Redis
) -> None:
    (job_id,) = die(broker, "no")
    plan = field(ask(administrator, "delete", job_id), "plan")
    before = dump(valkey)

    answers = [
        operator.post(f"{BASE}jobs/requeue/", {"plan": plan}),
        administrator.post(f"{BASE}jobs/requeue/", {"plan": plan}),
        administrator.post(f"{BASE}jobs/delete/", {"plan": plan[:-2]}),
        administrator.post(f"{BASE}jobs/delete/", {"progress": plan}),
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert dump(valkey) == before


def test_a_form_that_names_no_job_does_nothing(administrator: Client, broker: Broker) -> None:
    broker.enqueue("default", NewJob.of("echo"))

    answers = [
        ask(administrator, "delete"),
        ask(administrator, "delete", "nonsense", HOSTILE),
        ask(administrator, "requeue", jobs="state=ready"),
        ask(administrator, "delete", jobs="state=running"),
        ask(administrator, "delete", jobs="state=nonsense"),
    ]

    assert [answer.status_code for answer in answers] == [400] * 5
    assert all("<img" not in answer.content.decode() for answer in answers)


def test_a_read_only_dashboard_changes_nothing(
    administrator: Client, broker: Broker, valkey: Redis, settings: LazySettings
) -> None:
    (job_id,) = die(broker, "no")
    plan = field(ask(administrator, "delete", job_id), "plan")
    settings.DASHBOARD_READ_ONLY = True
    before = dump(valkey)

    answers = [
        administrator.post(f"{BASE}jobs/delete/", {"plan": plan}).status_code,
        *(queue_action(administrator, action, reason="x", name="default") for action in ("pause", "resume", "purge")),
    ]

    assert answers == [403] * 4
    assert dump(valkey) == before


def test_a_post_without_the_token_of_its_form_is_refused(administrator: Client, broker: Broker) -> None:
    (job_id,) = die(broker, "no")
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.cookies = administrator.cookies

    assert ask(strict, "delete", job_id).status_code == 403


def test_a_queue_is_paused_for_a_reason_and_until_a_time(operator: Client, inspector: Inspector) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).replace(second=0, microsecond=0)

    assert queue_action(operator, "pause", reason="relay down", until=f"{until:%Y-%m-%dT%H:%M}") == 302

    stats = inspector.stats("default")
    assert (stats.paused, stats.paused_reason, stats.paused_until) == (True, "relay down", until)
    assert details() == {
        "action": "pause",
        "reason": "relay down",
        "until": until.isoformat(timespec="minutes"),
        "is_over": True,
    }


@pytest.mark.parametrize(
    "fields", [{}, {"reason": "  "}, {"reason": "x", "until": "2020-01-01T00:00"}, {"reason": "x", "until": "soon"},
               {"reason": "x", "until": "2999-01-01T00:00"}, {"reason": "x" * 301}],
)  # fmt: skip
def test_a_pause_without_a_reason_or_with_a_wrong_end_is_asked_for_again(
    operator: Client, inspector: Inspector, fields: dict[str, str]
) -> None:
    page = operator.post(f"{BASE}queues/default/pause/", {"confirmed": "1", **fields})

    assert page.status_code == 400
    assert 'role="alert"' in page.content.decode()
    assert not inspector.stats("default").paused
    assert not LogEntry.objects.exists()


def test_a_paused_queue_goes_on(operator: Client, broker: Broker, inspector: Inspector) -> None:
    broker.pause("default", reason="x")

    asked = operator.post(f"{BASE}queues/default/resume/")
    was_paused = inspector.stats("default").paused

    assert asked.status_code == 200
    assert was_paused
    assert queue_action(operator, "resume") == 302
    assert not inspector.stats("default").paused
    assert details()["action"] == "resume"


@pytest.mark.parametrize("fields", [{"reason": "x"}, {"reason": "x", "name": "mail"}, {"name": "default"}])
def test_a_purge_wants_the_name_typed_and_a_reason(
    administrator: Client, broker: Broker, inspector: Inspector, fields: dict[str, str]
) -> None:
    broker.enqueue("default", NewJob.of("echo"))

    assert queue_action(administrator, "purge", **fields) == 400
    assert inspector.stats("default").counts[State.READY] == 1
    assert queue_action(administrator, "purge", name="default", reason="flood") == 302
    assert inspector.stats("default").counts[State.READY] == 0
    assert details() == {"action": "purge", "reason": "flood", "done": 1, "is_over": True}


def test_all_dead_jobs_of_a_queue_are_requeued_from_its_page(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    die(broker, "a", "b")
    die(broker, "c", queue="mail")

    page = operator.post(f"{BASE}queues/default/requeue-dead/")
    done = operator.post(f"{BASE}jobs/requeue/", {"plan": field(page, "plan"), "reason": "fixed"})

    assert "Requeue 2 jobs?" in text_of(page)
    assert "Done." in text_of(done)
    assert [stats.counts[State.DEAD] for stats in inspector.stats_of(["default", "mail"])] == [0, 1]


@pytest.mark.parametrize("action", ["pause", "resume", "purge", "requeue-dead"])
def test_a_queue_that_is_not_there_is_answered_404(administrator: Client, action: str) -> None:
    assert administrator.post(f"{BASE}queues/nowhere/{action}/").status_code == 404


def test_a_hostile_reason_is_shown_as_text(administrator: Client, broker: Broker) -> None:
    (job_id,) = die(broker, "no")
    queue_action(administrator, "pause", reason=HOSTILE)
    do(administrator, "requeue", job_id, reason=HOSTILE)

    pages = [
        administrator.get(f"{BASE}{route}") for route in (f"jobs/{job_id}/", "audit/", "queues/default/", "", "jobs/")
    ]
    pages.append(administrator.post(f"{BASE}queues/default/purge/", {"confirmed": "1", "reason": HOSTILE}))

    assert all("<img src=x" not in page.content.decode() for page in pages)
    assert HOSTILE in text_of(pages[1])


def test_the_address_to_go_back_to_stays_on_the_dashboard(administrator: Client, broker: Broker) -> None:
    (job_id,) = die(broker, "no")
    asked = administrator.post(f"{BASE}jobs/delete/", {"id": job_id, "back": "//evil.example/?x"})

    done = administrator.post(f"{BASE}jobs/delete/", {"plan": field(asked, "plan")})

    assert done["Location"].startswith(f"{BASE}jobs/?")


def test_an_action_that_the_database_did_not_answer_is_recorded_as_not_finished(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(Broker, "pause", away)

    assert queue_action(operator, "pause", reason="x") == 503
    assert details() == {"action": "pause", "reason": "x", "is_over": False}
