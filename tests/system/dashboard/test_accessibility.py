"""Whether everybody can use the dashboard: axe finds nothing, on wide and narrow screens, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, StorageState

from queueing import Broker, NewJob
from tests.system.dashboard.conftest import DASHBOARD, OpenContext

WIDTHS = (1280, 380)
FADE_MS = 400  # in which colors change to those of the other scheme
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # all that a color scheme changes


@pytest.fixture
def pages(broker: Broker, fail_jobs: Callable[[int], list[str]]) -> list[str]:
    """Return every page, with something on each."""
    dead = fail_jobs(2)[0]
    broker.enqueue("mail", NewJob.of("email.send", {"to": "someone@example.org"}, tags=("weekly",)))
    broker.enqueue("default", NewJob.of("echo", delay_seconds=3600))
    broker.pause("mail", reason="the relay is down")
    parts = ("", "?window=24h", "jobs/", "jobs/?state=dead", f"jobs/{dead}/", "failures/", "queues/default/")
    return [DASHBOARD + part for part in (*parts, "queues/mail/", "workers/", "store/", "audit/")]


def open_confirmation(page: Page) -> None:
    page.goto(f"{DASHBOARD}queues/default/")
    page.locator("#purge").click()


def violations(page: Page, **options: Any) -> list[str]:
    found: list[dict[str, Any]] = (
        Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    )
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def examine(page: Page) -> None:
    """Assert that everybody can use what is shown now, on every screen."""
    for scheme, options in (("light", {}), ("dark", CONTRAST)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(FADE_MS)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert violations(page, **options) == [], (page.url, scheme, width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


@pytest.mark.timeout(180)
def test_axe_finds_nothing_and_nothing_is_cut_off(
    open_context: OpenContext, logged_in: StorageState, pages: list[str]
) -> None:
    page = open_context(storage_state=logged_in).new_page()

    for path in pages:
        page.goto(path)
        examine(page)
    open_confirmation(page)
    examine(page)
