from __future__ import annotations

import pytest
from django.test import Client
from redis import Redis

from jobapi.dashboard.failures import REACH
from jobapi.dashboard.signatures import normalised, own_frame, signature_of
from queueing import Broker, Inspector, JobError, NewJob, State
from tests.dashboard.acting import HOSTILE, counts, die, do, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump
from tests.queueing.timetravel import MINUTE_MS, let_pass

FAILURES = f"{BASE}failures/"
SIGNATURE = "ValueError: bad amount: <number> (pay.py:12)"
HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("bad amount: 12.50", "bad amount: <number>"),
        ("bad amount: -3", "bad amount: <number>"),
        ("no user 'anna' in \"x y\"", "no user <text> in <text>"),
        ("can't open '/tmp/a1'", "can't open <text>"),
        ("object at 0x7ffe12", "object at <hex>"),
        ("commit deadbeef12 is gone", "commit <hex> is gone"),
        (f"job mail_{HEX} died", "job <id> died"),
        ("row 0d1e2f3a-1111-4222-8333-444455556666", "row <id>"),
        ("10.0.0.1:25 refused", "<address> refused"),
        ("no answer from https://example.com/a?b=1", "no answer from <address>"),
        ("unknown user anna@example.com", "unknown user <address>"),
        ("facade and decades, utf8", "facade and decades, utf8"),
        ("two\n  lines", "two lines"),
        ("", ""),
    ],
)
def test_a_message_keeps_what_does_not_vary(message: str, expected: str) -> None:
    assert normalised(message) == expected


def test_the_last_frame_outside_libraries_tells_the_place() -> None:
    ours, library = '  File "/srv/pay.py", line 3, in f\n', '  File "/v/site-packages/x.py", line 9, in g\n'

    assert own_frame(f"{ours}{library}") == "pay.py:3"
    assert own_frame(library) == "x.py:9"
    assert own_frame("") == ""


def test_a_signature_holds_no_secret_of_the_message() -> None:
    error = JobError(type="HTTPError", message="refused Bearer abcdef.ghi for password=geheim")

    assert signature_of(error) == "HTTPError: refused Bearer *** for password=***"


def test_jobs_of_one_kind_and_signature_are_one_group(viewer: Client, broker: Broker) -> None:
    die(broker, "bad amount: 1", "bad amount: 22.5")
    die(broker, "bad amount: 3", queue="mail")
    die(broker, "bad amount: 4", outcome="failed")
    die(broker, "bad amount: 5", kind="other")
    die(broker, "bad amount: 6", line=13)

    page = viewer.get(FAILURES)

    assert page.status_code == 200
    groups = [row["group"] for row in page.context["rows"]]
    assert [(group.kind, group.signature, group.dead, group.retrying) for group in groups] == [
        ("echo", SIGNATURE, 3, 1),
        ("echo", "ValueError: bad amount: <number> (pay.py:13)", 1, 0),
        ("other", SIGNATURE, 1, 0),
    ]
    assert groups[0].queues == {"default", "mail"}
    assert groups[0].first_at < groups[0].last_at


def test_a_window_leaves_out_what_failed_before(viewer: Client, broker: Broker, valkey: Redis) -> None:
    die(broker, "old")
    let_pass(valkey, "default", 90 * MINUTE_MS)
    die(broker, "new")

    shown = {window: viewer.get(FAILURES, {"window": window}).context["rows"] for window in ("1h", "24h", "7d", "x")}

    assert {window: len(rows) for window, rows in shown.items()} == {"1h": 1, "24h": 2, "7d": 2, "x": 2}


def test_the_numbers_lead_to_the_jobs_of_the_group(viewer: Client, broker: Broker) -> None:
    dead = die(broker, "bad amount: 1", "bad amount: 2")
    retrying = die(broker, "bad amount: 3", outcome="failed")
    die(broker, "another")

    row = viewer.get(FAILURES).context["rows"][0]
    lists = [viewer.get(f"{BASE}jobs/?{row[query]}") for query in ("dead_query", "retrying_query")]

    assert [{each["job"].id for each in found.context["rows"]} for found in lists] == [set(dead), set(retrying)]


def test_the_page_says_how_far_it_looked(viewer: Client, broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo")] * (REACH + 1))
    for _ in range(REACH // 50 + 1):
        for job in broker.claim("mail", "w1", 50).jobs:
            broker.fail(job, JobError(type="Boom", message="no"), outcome="dead")

    page = viewer.get(FAILURES)

    assert "Looked at the newest 1,000 dead and retrying jobs of mail: there are more." in text_of(page)
    assert page.context["rows"][0]["group"].dead == REACH


def test_a_group_is_requeued_with_the_jobs_that_were_not_looked_at(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    die(broker, *(f"bad amount: {n}" for n in range(7)))
    other = die(broker, "another")
    query = operator.get(FAILURES).context["rows"][0]["dead_query"]

    done = do(operator, "requeue", jobs=query)

    assert counts(done) == [7, 0, 0]
    assert [job.id for job in inspector.page("default", State.DEAD).jobs] == other


def test_only_those_who_may_are_offered_what_can_be_done(viewer: Client, operator: Client, broker: Broker) -> None:
    die(broker, "no")

    offered = {
        name: [word for word in ("Requeue…", "Delete…") if word in text_of(browser.get(FAILURES))]
        for name, browser in (("viewer", viewer), ("operator", operator))
    }

    assert offered == {"viewer": [], "operator": ["Requeue…"]}


def test_all_who_look_within_a_second_share_what_was_read(
    viewer: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(broker, "no")
    monkeypatch.setattr("jobapi.dashboard.snapshot.FRESH_MS", 60_000)
    (first,) = viewer.get(FAILURES).context["rows"]
    monkeypatch.setattr("jobapi.dashboard.failures.grouped", lambda *_: pytest.fail("read twice"))
    (second,) = viewer.get(FAILURES).context["rows"]

    assert second["group"] == first["group"]


def test_a_stranger_is_refused(stranger: Client) -> None:
    assert stranger.get(FAILURES).status_code == 403


def test_a_hostile_error_is_shown_as_text(viewer: Client, broker: Broker) -> None:
    die(broker, HOSTILE, error=HOSTILE, kind="echo")

    page = viewer.get(FAILURES).content.decode()

    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_when_nothing_failed_the_page_says_so_and_looking_changes_nothing(viewer: Client, valkey: Redis) -> None:
    assert "Nothing failed in this time" in text_of(viewer.get(FAILURES))
    assert not [key for key in dump(valkey) if not key.startswith("cache:")]
