"""The dashboard as its users have it: served by granian, in a real browser, with the queues of the session's server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState, sync_playwright
from redis import Redis

from queueing import Broker, NewJob
from queueing.embedded import EmbeddedServer
from tests.system.auth.conftest import manage
from tests.system.http.server import ApiServer
from tests.system.processes import RunWorker

NAME, PASSWORD = "anna", "correct horse battery"
MAKE_STAFF = f"""
from django.contrib.auth.models import User
User.objects.create_superuser({NAME!r}, password={PASSWORD!r})
"""
WAIT_MS = 30_000
HINTS = ("info", "verbose")  # of the browser about Django's own forms: a field has the focus, a name is not shown
DASHBOARD = "/admin/dashboard/dashboard/"

OpenContext = Callable[..., BrowserContext]


@pytest.fixture(scope="session")
def site(valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve the dashboard for the session, with one member of staff."""
    folder = tmp_path_factory.mktemp("site")
    environment = {"DATABASE_URL": f"sqlite:///{folder / 'staff.sqlite3'}", "QUEUES": "default,mail"}
    manage(environment, "migrate", "--verbosity", "0")
    manage(environment, "shell", "--command", MAKE_STAFF)
    server = ApiServer(folder / "api.log", **environment, ENVIRONMENT="STAGING", DASHBOARD_REFRESH_SECONDS="1,5,30")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium; where it is missing there is no test but in CI.

    For a module, not for the session: as long as it runs so does an event loop, and Django refuses its database.
    """
    program = shutil.which("chromium")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is missing")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def logged_in(site: ApiServer, browser: Browser) -> StorageState:
    """Return the cookies of the member of staff."""
    context = browser.new_context(base_url=site.url)
    log_in(context.new_page())
    state = context.storage_state()
    context.close()
    return state


def log_in(page: Page) -> None:
    """Come by the short address and fill in the form."""
    page.goto("/dashboard/")
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def open_context(site: ApiServer, browser: Browser, valkey: Redis) -> Iterator[Callable[..., BrowserContext]]:
    """Give a function that opens a browser of its own; whatever its console says fails the test."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def open_context(**options: Any) -> BrowserContext:
        context = browser.new_context(base_url=site.url, **options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        context.on("console", lambda message: message.type in HINTS or said.append(_text(message)))
        context.on("weberror", lambda error: said.append(str(error.error)))
        return context

    yield open_context
    for context in contexts:
        context.close()
    assert said == []


def _text(message: ConsoleMessage) -> str:
    return f"{message.type} on {message.page.url if message.page else '?'}: {message.text}"


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], logged_in: StorageState) -> Page:
    """Give a page of the browser of the member of staff."""
    return open_context(storage_state=logged_in).new_page()


@pytest.fixture
def work(run_worker: Callable[..., RunWorker]) -> Callable[[], None]:
    """Give a function that lets a worker run what is ready, and end."""

    def work() -> None:
        assert run_worker("--drain", "--queues", "default,mail", QUEUES="default,mail").wait() == 0

    return work


@pytest.fixture
def fail_jobs(broker: Broker, work: Callable[[], None]) -> Callable[[int], list[str]]:
    """Give a function that leaves dead jobs, which all failed in the same way."""

    def fail_jobs(count: int) -> list[str]:
        job = NewJob.of("fail", {"message": "no such account"}, max_attempts=1)
        ids = [enqueued.id for enqueued in broker.enqueue_many("default", [job] * count)]
        work()
        return ids

    return fail_jobs
