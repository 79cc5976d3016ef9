from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from redis import Redis

from jobapi.dashboard import audit
from jobapi.dashboard.audit import PAGE
from queueing import Broker
from tests.dashboard.acting import HOSTILE, die, do, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump

AUDIT = f"{BASE}audit/"
JOB = "mail_" + "0" * 32


def note(who: str, action: str, what: str, **details: Any) -> LogEntry:
    request = RequestFactory().post("/")
    request.user = User.objects.get_or_create(username=who)[0]
    return audit.record(request, action, what, **details)


def shown(browser: Client, **query: str) -> list[str]:
    page = browser.get(f"{AUDIT}?{urlencode(query)}")
    assert page.status_code == 200
    return [f"{row['actor']} {row['action']} {row['what']}" for row in page.context["rows"]]


def test_what_was_done_is_listed_the_latest_first_with_reason_and_figures(operator: Client, broker: Broker) -> None:
    one, two, three = die(broker, "a", "b", "c")
    do(operator, "requeue", one, reason="first")
    do(operator, "requeue", two, three, reason="then")

    page = text_of(operator.get(AUDIT))

    assert shown(operator) == ["olga requeue 2 selected jobs", f"olga requeue job {one}"]
    assert "then done 2, skipped 0, failed 0" in page
    assert "first done 1, skipped 0, failed 0" in page


def test_entries_are_found_by_who_what_whereto_and_when(operator: Client) -> None:
    note("anna", "pause", "queue mail", of="mail", reason="x")
    note("berta", "requeue", f"job {JOB}", of=JOB)
    old = note("berta", "delete", "dead jobs of kind a.b")
    LogEntry.objects.filter(pk=old.pk).update(action_time=datetime.now(UTC) - timedelta(days=3))
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%S}"

    assert shown(operator, actor="anna") == ["anna pause queue mail"]
    assert shown(operator, action="requeue") == [f"berta requeue job {JOB}"]
    assert shown(operator, object=JOB) == [f"berta requeue job {JOB}"]
    assert shown(operator, object="mail", action="pause") == ["anna pause queue mail"]
    assert shown(operator, object="KIND A.B") == ["berta delete dead jobs of kind a.b"]
    assert shown(operator, until=yesterday) == ["berta delete dead jobs of kind a.b"]
    assert len(shown(operator, since=yesterday)) == 2
    assert shown(operator, actor="nobody") == []


def test_pages_have_each_entry_once(operator: Client) -> None:
    for number in range(PAGE + 3):
        note("anna", "pause", f"queue q{number}")

    first = operator.get(f"{AUDIT}?actor=anna")
    second = operator.get(f"{AUDIT}?{first.context['next']}")

    assert [len(page.context["rows"]) for page in (first, second)] == [PAGE, 3]
    assert not second.context["next"]
    assert "actor=anna" in first.context["next"]


def test_a_bulk_action_that_never_came_to_its_end_is_marked(operator: Client) -> None:
    note("anna", "delete", "ready jobs", reason="x", is_over=False)

    assert "not finished" in text_of(operator.get(AUDIT))


def test_other_entries_of_the_admin_are_not_shown(operator: Client) -> None:
    user = User.objects.get(username="olga")
    LogEntry.objects.log_actions(user.pk, [user], 2, "changed the password")

    assert shown(operator) == []


@pytest.mark.parametrize("query", ["action=nonsense", "since=yesterday", "before=x", "before=0", f"actor={'a' * 151}"])
def test_an_address_that_makes_no_sense_is_answered_with_what_is_wrong(operator: Client, query: str) -> None:
    page = operator.get(f"{AUDIT}?{query}")

    assert page.status_code == 400
    assert 'role="alert"' in page.content.decode()


def test_only_those_who_may_read_it(viewer: Client, stranger: Client, operator: Client) -> None:
    assert [browser.get(AUDIT).status_code for browser in (viewer, stranger, operator)] == [403, 403, 200]


def test_hostile_text_is_shown_as_text(operator: Client) -> None:
    note(HOSTILE, "delete", HOSTILE, reason=HOSTILE)

    page = operator.get(AUDIT)

    assert "<img src=x" not in page.content.decode()
    assert text_of(page).count(HOSTILE) == 3


def test_looking_changes_nothing(operator: Client, valkey: Redis) -> None:
    note("anna", "pause", "queue mail", of="mail")
    before = dump(valkey)

    assert len(shown(operator)) == 1

    assert dump(valkey) == before
    assert LogEntry.objects.count() == 1


def test_the_words_of_a_long_filter_are_kept_whole(operator: Client) -> None:
    long = f"dead jobs that mention “{'x' * 300}”"
    note("anna", "delete", long)

    assert shown(operator) == [f"anna delete {long}"]
