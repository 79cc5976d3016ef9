from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.conf import LazySettings
from django.http import HttpResponse
from django.test import Client
from redis import Redis

from jobapi.dashboard.selection import PAGE, REACH, Selection, open_mark, seal_mark
from queueing import Broker, ListingMark, NewJob, PageMark, State
from tests.dashboard.acting import HOSTILE, die, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump
from tests.queueing.states import job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

JOBS = f"{BASE}jobs/"
MANY = 1_000_000 if os.environ.get("SOAK") else 20_000


def ids(page: HttpResponse) -> list[str]:
    return [row["job"].id for row in page.context["rows"]]


def every_page(browser: Client, query: str = "") -> list[list[str]]:
    pages = [browser.get(f"{JOBS}?{query}")]
    while pages[-1].context["next"]:
        assert len(pages) < 50
        pages.append(browser.get(f"{JOBS}?{pages[-1].context['next']}"))
    return [ids(page) for page in pages]


def test_each_state_has_a_tab_with_its_number_and_its_jobs(viewer: Client, broker: Broker, valkey: Redis) -> None:
    made = {}
    for state in sorted(State, key=lambda state: state is State.READY):  # a ready one would be claimed
        made[state] = job_in(state, broker, valkey)

    page = viewer.get(JOBS)

    assert sorted(ids(page)) == sorted(made.values())
    assert {tab["name"]: tab["count"] for tab in page.context["tabs"]} == {"": 8, **dict.fromkeys(State, 1)}
    for tab in page.context["tabs"][1:]:
        assert ids(viewer.get(f"{JOBS}?{tab['query']}")) == [made[State(tab["name"])]]


def test_ready_jobs_come_in_the_order_of_service(viewer: Client, broker: Broker) -> None:
    first, second = (broker.enqueue("default", NewJob.of("echo")).id for _ in range(2))
    urgent = broker.enqueue("default", NewJob.of("echo", priority=9)).id

    page = viewer.get(f"{JOBS}?state=ready")

    assert ids(page) == [urgent, second, first]
    assert "The first one is served next".lower() in text_of(page).lower()


def test_filters_are_in_the_address_and_are_all_met(viewer: Client, broker: Broker) -> None:
    wanted = broker.enqueue("mail", NewJob.of("a", tags=("x", "y"))).id
    for queue, kind, tags in (("default", "a", ("x",)), ("mail", "b", ("x",)), ("mail", "a", ("z",))):
        broker.enqueue(queue, NewJob.of(kind, tags=tags))

    page = viewer.get(f"{JOBS}?queue=mail&kind=a&tag=x&state=ready")

    assert ids(page) == [wanted]
    assert {tab["query"] for tab in page.context["tabs"] if tab["is_current"]} == {
        "state=ready&queue=mail&kind=a&tag=x"
    }


def test_times_bound_submission_and_end(viewer: Client, broker: Broker) -> None:
    dead = die(broker, "no")
    ready = broker.enqueue("default", NewJob.of("echo")).id

    def found(**times: str) -> list[str]:
        return ids(viewer.get(f"{JOBS}?{urlencode(times)}"))

    assert sorted(found(created_from="2026-01-01T00:00")) == sorted([*dead, ready])
    assert found(created_until="2026-01-01T00:00") == found(finished_from="2999-01-01T00:00") == []
    assert found(finished_from="2026-01-01T00:00", finished_until="2999-01-01T00:00:00") == dead


@pytest.mark.parametrize(
    "query", ["state=failed", "queue=nowhere", "created_from=yesterday", f"kind={'k' * 101}", "q=%00", f"q={'q' * 201}"]
)
def test_an_address_that_makes_no_sense_is_answered_with_what_is_wrong(viewer: Client, query: str) -> None:
    page = viewer.get(f"{JOBS}?{query}")

    assert page.status_code == 400
    assert 'role="alert"' in page.content.decode()


def test_an_id_leads_to_its_job_also_without_its_queue(viewer: Client, broker: Broker) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo")).id

    answers = [viewer.get(JOBS, {"q": text}) for text in (job_id, f"  {job_id} ", job_id.removeprefix("mail_"))]

    assert {answer["Location"] for answer in answers} == {f"{JOBS}{job_id}/"}


def test_a_text_is_looked_for_in_kind_tags_and_last_error_whatever_its_case(viewer: Client, broker: Broker) -> None:
    dead = die(broker, "No Route to host")
    kind = broker.enqueue("mail", NewJob.of("routes.update")).id
    tag = broker.enqueue("mail", NewJob.of("echo", tags=("route:1",))).id
    broker.enqueue("mail", NewJob.of("echo", "route"))

    page = viewer.get(JOBS, {"q": "ROUTE"})

    assert sorted(ids(page)) == sorted([*dead, kind, tag])
    assert "Looked at all 4 jobs, in kind, tags and last error." in text_of(page)


def test_payloads_are_searched_for_those_who_may_see_them_only(
    viewer: Client, administrator: Client, broker: Broker
) -> None:
    job_id = broker.enqueue("mail", NewJob.of("echo", {"token": "geheim"})).id

    assert ids(viewer.get(JOBS, {"q": "geheim"})) == []
    assert ids(administrator.get(JOBS, {"q": "geheim"})) == [job_id]


def test_a_search_says_how_far_it_reached_and_goes_on_with_older_jobs(viewer: Client, broker: Broker) -> None:
    rare = broker.enqueue("default", NewJob.of("rare")).id
    broker.enqueue_many("default", [NewJob.of("echo")] * REACH)

    first = viewer.get(JOBS, {"q": "rare"})
    second = viewer.get(f"{JOBS}?{first.context['next']}")

    assert ids(first) == []
    assert "Looked at the newest 1,000 of 1,001 jobs" in text_of(first)
    assert "None of these matches. Older jobs may." in text_of(first)
    assert ids(second) == [rare]


def test_what_is_masked_in_an_error_cannot_be_guessed_by_searching(viewer: Client, broker: Broker) -> None:
    die(broker, "login failed for password=geheim")

    assert ids(viewer.get(JOBS, {"q": "geheim"})) == []
    assert len(ids(viewer.get(JOBS, {"q": "login failed"}))) == 1


def test_a_search_of_a_window_of_time_ends_where_the_window_ends(viewer: Client, broker: Broker, valkey: Redis) -> None:
    die(broker, "bad 1", "bad 2")
    let_pass(valkey, "default", 90 * MINUTE_MS)
    (new,) = die(broker, "bad 3")
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    page = viewer.get(JOBS, {"state": "dead", "q": "bad", "finished_from": since})

    assert ids(page) == [new]
    assert "Looked at all 1 jobs" in text_of(page)
    assert not page.context["next"]


def test_a_search_of_payloads_ends_before_it_fills_the_memory(
    administrator: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobapi.dashboard.selection.REACH_BYTES", 20_000)
    broker.enqueue_many("default", [NewJob.of("echo", "x" * 1_000)] * 60)

    page = administrator.get(JOBS, {"q": "y"})

    assert "Looked at the newest 25 of 60 jobs" in text_of(page)


def test_jobs_with_one_error_are_found_by_its_signature(viewer: Client, broker: Broker) -> None:
    wanted = die(broker, "bad amount: 1", "bad amount: 2")
    die(broker, "another")

    page = viewer.get(JOBS, {"state": "dead", "error": "ValueError: bad amount: <number> (pay.py:12)"})

    assert sorted(ids(page)) == sorted(wanted)


def test_pages_have_each_job_once_while_newer_ones_arrive(viewer: Client, broker: Broker) -> None:
    made = [enqueued.id for enqueued in broker.enqueue_many("default", [NewJob.of("echo")] * (2 * PAGE + 5))]

    first = viewer.get(f"{JOBS}?state=ready")
    broker.enqueue_many("default", [NewJob.of("echo")] * 5)
    rest = every_page(viewer, first.context["next"])

    assert [len(page) for page in rest] == [PAGE, 5]
    assert ids(first) + [job_id for page in rest for job_id in page] == made[::-1]


def test_a_mark_is_good_for_the_list_that_it_was_made_for_only(viewer: Client, broker: Broker) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * (PAGE + 1))
    mark = ListingMark(group=1, after=PageMark(score="1", id="x"))
    sealed = seal_mark(Selection(queue="default"), mark)

    assert open_mark(Selection(queue="default"), sealed) == mark
    assert open_mark(Selection(queue="mail"), sealed) is None
    assert len(ids(viewer.get(JOBS, {"state": "ready", "after": "forged"}))) == PAGE


def test_payloads_are_previewed_masked_unless_the_setting_says_no(
    administrator: Client, broker: Broker, settings: LazySettings
) -> None:
    broker.enqueue("default", NewJob.of("echo", {"user": "berta", "password": "geheim"}))
    broker.enqueue("default", NewJob.of("echo", "x" * 20_000))

    shown = administrator.get(JOBS).content.decode()
    settings.PAYLOAD_PREVIEW = False
    hidden = administrator.get(JOBS).content.decode()

    assert "berta" in shown
    assert "19.5 KiB" in shown
    assert "geheim" not in shown
    assert "berta" not in hidden


def test_each_person_is_offered_what_they_may_do(
    viewer: Client, operator: Client, administrator: Client, broker: Broker, settings: LazySettings
) -> None:
    die(broker, "no")
    browsers = {"viewer": viewer, "operator": operator, "administrator": administrator}

    def offered() -> dict[str, list[str]]:
        return {
            name: [verb["name"] for verb in browser.get(f"{JOBS}?state=dead").context["verbs"]]
            for name, browser in browsers.items()
        }

    assert offered() == {"viewer": [], "operator": ["requeue"], "administrator": ["requeue", "delete"]}
    settings.DASHBOARD_READ_ONLY = True
    assert offered() == {"viewer": [], "operator": [], "administrator": []}


def test_the_region_alone_renews_itself(viewer: Client, broker: Broker) -> None:
    broker.enqueue("default", NewJob.of("echo"))

    region = viewer.get(JOBS, headers={"HX-Request": "true"})

    assert "<html" not in region.content.decode()
    assert 'id="jobs-scroll"' in region.content.decode()
    assert region["ETag"]


def test_a_stranger_is_refused(stranger: Client) -> None:
    assert stranger.get(JOBS).status_code == 403


def test_hostile_text_is_shown_as_text(viewer: Client, broker: Broker, valkey: Redis) -> None:
    (job_id,) = die(broker, HOSTILE, error=HOSTILE, payload={"note": HOSTILE})
    valkey.hset(f"jobs:{{default}}:job:{job_id}", mapping={"k": HOSTILE, "g": f'["{HOSTILE}"]'})  # past every check

    pages = [viewer.get(f"{JOBS}?{urlencode({'state': 'dead', name: HOSTILE})}") for name in ("q", "kind", "tag", "x")]

    assert all(HOSTILE in text_of(page) for page in pages[-1:])
    assert all("<img src=x" not in page.content.decode() for page in pages)


def test_looking_changes_nothing(viewer: Client, broker: Broker, valkey: Redis) -> None:
    for state in sorted(State, key=lambda state: state is State.READY):
        job_in(state, broker, valkey)
    before = dump(valkey)

    for query in ("", "state=dead", "q=no", "queue=default&kind=echo", "state=ready&tag=a", "error=x"):
        assert viewer.get(f"{JOBS}?{query}").status_code == 200

    assert dump(valkey) == before


def test_an_empty_list_says_why(viewer: Client) -> None:
    assert "There are no jobs yet" in text_of(viewer.get(JOBS))
    assert "No job is dead. Good." in text_of(viewer.get(f"{JOBS}?state=dead"))
    assert "No job matches." in text_of(viewer.get(f"{JOBS}?state=dead&kind=a"))


@pytest.mark.timeout(900)
def test_no_list_takes_more_than_three_times_as_much_with_many_more_jobs(
    viewer: Client, broker: Broker, valkey: Redis
) -> None:
    def spent() -> float:
        """Return the seconds of processor that this thread and the server have used: what else runs does not count."""
        used = valkey.info("cpu")
        return time.thread_time() + sum(used[f"used_cpu_{kind}_main_thread"] for kind in ("user", "sys"))

    def cost(query: str) -> float:
        costs = []
        for _ in range(5):
            before = spent()
            assert viewer.get(f"{JOBS}?{query}").status_code == 200
            costs.append(spent() - before)
        return min(costs)

    queries = ("", "state=ready&kind=rare", "state=ready&q=rare", "state=ready&queue=default")
    broker.enqueue_many("default", [NewJob.of("echo")] * REACH)
    few = {query: cost(query) for query in queries}
    for _ in range(MANY // REACH - 1):
        broker.enqueue_many("default", [NewJob.of("echo")] * REACH)
    ratios = {query: round(cost(query) / few[query], 2) for query in queries}

    print(f"{MANY:,} jobs against {REACH:,}, as much time: {ratios}")  # noqa: T201
    assert max(ratios.values()) <= 3
