"""Who did what, and why: an entry of Django's admin log for each action, and the page that lists them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from jobapi.dashboard.frame import page
from jobapi.dashboard.models import Dashboard

PAGE = 50
MAX_HISTORY = 20
MAX_WHAT_CHARS = 200  # that Django's log has room for; longer texts are kept with the details
ACTIONS = ("requeue", "cancel", "delete", "pause", "resume", "purge", "reveal", "export")

logger = logging.getLogger(__name__)


def record(request: HttpRequest, action: str, what: str, *, of: str = "", **details: Any) -> LogEntry:
    """Note what is about to be done; `of` is the id of the job or the queue's name, empty for jobs of all queues.

    `details` may have a reason and figures, never a payload. What an entry says is kept as JSON, the action first.
    """
    entry = LogEntry(
        user_id=cast(int, request.user.pk),
        content_type=_content_type(),
        object_id=of,
        object_repr=what[:MAX_WHAT_CHARS],
        action_flag=CHANGE,
        change_message=_message({"action": action, **details, "what": what if len(what) > MAX_WHAT_CHARS else ""}),
    )
    entry.save()
    actor, subject = request.user.get_username(), {("job_id" if "_" in of else "queue"): of} if of else {}
    extra = {"action": f"dashboard_{action}", "actor": actor, "entry": entry.pk, **subject, **_short(details)}
    logger.info("%s: %s, entry %d of the audit", actor, action, entry.pk, extra=extra)  # a filter may quote an error
    return entry


@contextlib.contextmanager
def noted(request: HttpRequest, action: str, what: str, **details: Any) -> Iterator[dict[str, Any]]:
    """Note what is done inside, before and after; figures go into the dict.

    An entry whose deed failed, or of which nobody knows how it ended, stays one that is not over.
    """
    entry, figures = record(request, action, what, is_over=False, **details), dict[str, Any]()
    yield figures
    add(entry.pk, **figures, is_over=True)


def add(entry_id: int, **details: Any) -> None:
    """Add figures to an entry, once they are known."""
    entry = LogEntry.objects.get(pk=entry_id)
    entry.change_message = _message(json.loads(entry.change_message) | details)
    entry.save(update_fields=["change_message"])


def history_of(job_id: str) -> list[dict[str, Any]]:
    """Return what was done to a job, the latest first: to it alone, or among selected ones."""
    about = Q(object_id=job_id) | Q(change_message__contains=f'"{job_id}"')
    return [_row(entry) for entry in _entries().filter(about)[:MAX_HISTORY]]


class AuditForm(forms.Form):
    """Which entries are listed."""

    actor = forms.CharField(required=False, max_length=150)
    action = forms.ChoiceField(required=False, choices=[("", "any"), *((action, action) for action in ACTIONS)])
    object = forms.CharField(required=False, max_length=200)
    since = forms.DateTimeField(required=False)
    until = forms.DateTimeField(required=False)
    before = forms.IntegerField(required=False, min_value=1)  # the page after the one that ended with this entry


def audit(request: HttpRequest) -> HttpResponse:
    """Show the actions, the latest first."""
    form = AuditForm(request.GET)
    found = list(_chosen(form.cleaned_data)[: PAGE + 1]) if form.is_valid() else []
    entries, more = found[:PAGE], found[PAGE:]
    given = {name: value for name, value in request.GET.dict().items() if value and name in form.fields}
    context = {
        "title": "Audit",
        "form": form,
        "given": given,
        "actions": ACTIONS,
        "rows": [_row(entry) for entry in entries],
        "next": urlencode(given | {"before": entries[-1].pk}) if more else "",
        "now": timezone.now(),
    }
    return page(request, "dashboard/audit.html", context, status=200 if form.is_valid() else 400)


def _chosen(given: Mapping[str, Any]) -> QuerySet[LogEntry]:
    about = given["object"]
    conditions = {
        "user__username": given["actor"],
        "change_message__startswith": f'{{"action": "{given["action"]}"' if given["action"] else "",
        "action_time__gte": given["since"],
        "action_time__lt": given["until"],
        "pk__lt": given["before"],
    }
    entries = _entries().filter(**{name: value for name, value in conditions.items() if value})
    return entries.filter(Q(object_id=about) | Q(object_repr__icontains=about)) if about else entries


def _entries() -> QuerySet[LogEntry]:
    return LogEntry.objects.filter(content_type=_content_type()).select_related("user").order_by("-pk")


def _content_type() -> ContentType:
    return ContentType.objects.get_for_model(Dashboard)


def _row(entry: LogEntry) -> dict[str, Any]:
    details = json.loads(entry.change_message)
    figures = [
        (name, details[name]) for name in ("done", "skipped", "failed", "jobs", "until", "format") if name in details
    ]
    return {
        "at": entry.action_time,
        "actor": entry.user.get_username(),
        "what": details.get("what", entry.object_repr),
        "job_id": entry.object_id if entry.object_id and "_" in entry.object_id else "",
        "queue": entry.object_id if entry.object_id and "_" not in entry.object_id else "",
        "action": details["action"],
        "reason": details.get("reason", ""),
        "is_over": details.get("is_over", True),
        "figures": figures,
    }


def _message(details: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in details.items() if value not in ("", None)}, ensure_ascii=False)


def _short(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return details for a log line: ids by their number."""
    return {name: len(value) if name == "ids" else value for name, value in details.items() if value not in ("", None)}
