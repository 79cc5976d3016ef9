"""What the templates of the dashboard, and of the admin's own pages, ask for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobapi.dashboard import words
from jobapi.dashboard.pages import PAGES, missing_rights
from queueing import State

register = template.Library()
register.filter(words.age)
register.filter(words.short)
register.filter(words.size)

#: A sign for each state, so that none is told by its colour alone.
SIGNS = {
    State.SCHEDULED: "◷",
    State.READY: "○",
    State.RUNNING: "▶",
    State.RETRYING: "↻",
    State.SUCCEEDED: "✓",
    State.DEAD: "✗",
    State.CANCELLED: "⊘",
    State.EXPIRED: "∅",
}


@register.simple_tag
def environment() -> str:
    """Return the name of this installation's environment (setting ENVIRONMENT)."""
    return str(settings.ENVIRONMENT)


@register.simple_tag
def refresh_choices() -> list[tuple[int, bool]]:
    """Return after how many seconds pages may renew themselves, and which choice is the usual one."""
    choices = settings.DASHBOARD_REFRESH_SECONDS
    return [(seconds, seconds == choices[0]) for seconds in sorted(choices)]


@register.inclusion_tag("dashboard/nav.html", takes_context=True)
def nav(context: dict[str, Any]) -> dict[str, Any]:
    """Show the pages that the viewer may see."""
    request = context["request"]
    tabs = [page for page in PAGES if page.tab and not missing_rights(request, page, "GET")]
    return {"tabs": tabs, "current": request.resolver_match.url_name}


@register.simple_tag
def jobs_url(**filters: str) -> str:
    """Return the address of the list of jobs that match."""
    return f"{reverse('admin:dashboard-jobs')}?{urlencode(filters)}"


@register.simple_tag
def state(name: str) -> SafeString:
    """Show a state: a sign, its word, and a colour."""
    return format_html(
        '<span class="state state-{}"><span aria-hidden="true">{}</span> {}</span>', name, SIGNS[State(name)], name
    )


@register.simple_tag
def when(moment: datetime | None, now: datetime) -> SafeString | str:
    """Show a moment by how far it is from `now`, the whole of it in its title."""
    if moment is None:
        return "-"
    seconds = (now - moment).total_seconds()
    text = f"{words.age(seconds)} ago" if seconds >= 0 else f"in {words.age(-seconds)}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        f"{moment:%Y-%m-%d %H:%M:%S %Z}",
        text,
    )


@register.filter
def percent(share: float | None) -> str:
    """Return a share of 1 as people read it."""
    return "-" if share is None else f"{100 * share:.1f} %".replace(".0 %", " %")
