"""What staff do with the dashboard, done in a real browser."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, StorageState, expect
from redis import Redis

from queueing import Broker, Inspector, JobError, NewJob, State
from queueing.keys import queue_keys
from tests.system.dashboard.conftest import DASHBOARD, OpenContext, log_in

REFRESH = "dashboard.refresh"
HOSTILE = '<img src=x onerror="window.struck=1">'

Work = Callable[[], None]
FailJobs = Callable[[int], list[str]]


def renew_each_second(page: Page) -> None:
    """Choose the shortest time between two updates, as this browser then remembers."""
    page.locator("#refresh").select_option("1")


def mark(page: Page) -> None:
    """Leave a mark that is gone once the page is loaded anew."""
    page.evaluate("window.mark = 1")


def is_marked(page: Page) -> bool:
    return page.evaluate("window.mark") == 1


# Looking


def test_staff_log_in_and_come_to_the_overview(open_context: OpenContext) -> None:
    page = open_context().new_page()

    log_in(page)

    expect(page).to_have_url(re.compile(rf"{DASHBOARD}$"))
    expect(page.get_by_text("STAGING")).to_be_visible()
    expect(page.locator("#card-ready strong")).to_have_text("0")


def test_a_job_goes_from_ready_to_succeeded_before_the_viewers_eyes(page: Page, broker: Broker, work: Work) -> None:
    job = broker.enqueue("default", NewJob.of("echo", {"hello": "world"}))
    page.goto(f"{DASHBOARD}jobs/{job.id}/")
    expect(page.locator(".figure")).to_contain_text("ready")
    renew_each_second(page)
    mark(page)

    work()

    expect(page.locator(".figure")).to_contain_text("succeeded")
    expect(page.locator("#result")).to_contain_text('"hello": "world"')
    assert is_marked(page)


def test_focus_and_what_is_open_survive_an_update(page: Page, broker: Broker) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    page.goto(DASHBOARD)
    renew_each_second(page)
    page.locator("#queue-default").focus()

    broker.enqueue("default", NewJob.of("echo"))
    expect(page.locator("#card-ready strong")).to_have_text("2")

    assert page.evaluate("document.activeElement.id") == "queue-default"

    details = page.locator("#region details").first
    details.locator("summary").click()
    broker.enqueue("default", NewJob.of("echo"))
    page.wait_for_timeout(2_500)
    expect(page.locator("#card-ready strong")).to_have_text("2")
    assert details.get_attribute("open") is not None
    details.locator("summary").click()
    expect(page.locator("#card-ready strong")).to_have_text("3")


def test_the_browser_remembers_how_often_to_update(page: Page) -> None:
    page.goto(DASHBOARD)
    page.locator("#refresh").select_option("30")

    page.goto(f"{DASHBOARD}workers/")

    expect(page.locator("#refresh")).to_have_value("30")


def test_keys_lead_to_pages_and_a_sheet_names_them(page: Page) -> None:
    page.goto(DASHBOARD)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    page.keyboard.press("g")
    page.keyboard.press("j")

    expect(page).to_have_url(re.compile("/jobs/$"))


# Acting


def test_a_group_of_failures_is_requeued_and_the_audit_says_so(
    page: Page, fail_jobs: FailJobs, inspector: Inspector
) -> None:
    ids = fail_jobs(3)
    page.goto(f"{DASHBOARD}failures/")
    expect(page.locator("#dead-1")).to_have_text("3")

    page.locator("#requeue-1").click()
    page.locator("#reason").fill("the account is there now")
    page.locator("#do").click()

    expect(page.locator("#outcome")).to_contain_text("Done")
    assert {inspector.job(job_id).state for job_id in ids} == {State.READY}
    page.goto(f"{DASHBOARD}audit/")
    row = page.locator("table.jobs tbody tr").first
    for part in ("anna", "requeue", "the account is there now", "3"):
        expect(row).to_contain_text(part)


def test_a_queue_is_paused_and_resumed(page: Page, inspector: Inspector) -> None:
    page.goto(f"{DASHBOARD}queues/mail/")
    page.locator("#pause").click()
    page.locator("#reason").fill("the relay is down")
    page.locator("#do").click()

    expect(page.locator("#region")).to_contain_text("the relay is down")
    stats = inspector.stats("mail")
    assert (stats.paused, stats.paused_reason) == (True, "the relay is down")

    page.goto(f"{DASHBOARD}queues/mail/")
    page.locator("#resume").click()
    if page.locator("#do").count():
        page.locator("#do").click()
    expect(page.locator("#pause")).to_be_visible()
    assert not inspector.stats("mail").paused


def test_jobs_are_exported(page: Page, broker: Broker) -> None:
    job = broker.enqueue("default", NewJob.of("echo"))
    page.goto(f"{DASHBOARD}jobs/")

    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()

    text = Path(download.value.path()).read_text()
    assert [row["id"] for row in csv.DictReader(text.splitlines())] == [job.id]


def test_all_that_works_without_javascript(
    open_context: OpenContext, logged_in: StorageState, fail_jobs: FailJobs, inspector: Inspector
) -> None:
    ids = fail_jobs(2)
    page = open_context(storage_state=logged_in, java_script_enabled=False).new_page()
    page.goto(DASHBOARD)
    page.locator("#card-dead").click()
    page.locator("#requeue-1").click()
    page.locator("#reason").fill("again")
    page.locator("#do").click()
    while page.locator("#continue").count():
        page.locator("#continue").click()

    expect(page.locator("#outcome")).to_contain_text("Done")
    assert {inspector.job(job_id).state for job_id in ids} == {State.READY}


# Safety


def test_text_of_clients_and_staff_is_never_markup(page: Page, broker: Broker, valkey: Redis) -> None:
    """Nor is what the queue would refuse, a kind and a tag, should it be in the database all the same."""
    new = NewJob.of("hostile", {HOSTILE: HOSTILE}, max_attempts=1)
    job_id = broker.enqueue("default", new).id
    claimed = broker.claim("default", worker=f"{HOSTILE}:1:ab").jobs[0]
    broker.fail(claimed, JobError(type=HOSTILE, message=HOSTILE, traceback=HOSTILE))
    fields = {"k": HOSTILE, "g": json.dumps([HOSTILE]), "ri": HOSTILE, "tp": HOSTILE, "ow": HOSTILE}
    for hostile in (job_id, broker.enqueue("default", new).id):
        valkey.hset(queue_keys("default").job(hostile), mapping=fields)
    broker.pause("default", reason=HOSTILE)
    about = {"host": HOSTILE, "pid": 1, "queues": ["default", HOSTILE], "slots": 1, "running": [{"kind": HOSTILE}]}
    broker.beat("default", f"{HOSTILE}:1:ab", json.dumps(about).encode(), 60_000)

    for path in ("", "jobs/", f"jobs/{job_id}/", "failures/", "queues/default/", "workers/", "store/", "audit/"):
        page.goto(DASHBOARD + path)
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
        assert page.evaluate("window.struck") is None, path
        assert page.locator("img[src=x]").count() == 0, path
    page.goto(f"{DASHBOARD}jobs/{job_id}/")
    expect(page.locator("#region")).to_contain_text(HOSTILE)


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/user/1/change/",
        "/admin/auth/user/1/history/",
        "/admin/auth/group/1/delete/",
        "/admin/auth/group/",
        "/admin/password_change/",
        "/api/docs/",
    ],
)
def test_pages_of_others_work_under_our_policy(page: Page, path: str) -> None:
    """The fixture fails the test when the console says anything, such as that the policy was broken."""
    answer = page.goto(path, wait_until="networkidle")

    assert answer is not None
    assert answer.status == 200
    assert "default-src 'none'" in (answer.header_value("content-security-policy") or "")
