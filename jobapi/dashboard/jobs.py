"""The list of jobs, and one job: its attempts, its error, its payload, and why it is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from jobapi.dashboard import audit, selection, words
from jobapi.dashboard.bulk import APPLIES, Verb
from jobapi.dashboard.frame import live_page, page
from jobapi.dashboard.masking import Shown, mask_text, preview, shown
from jobapi.dashboard.selection import FilterForm, Found, Selection
from jobapi.dashboard.signatures import signature_of
from jobapi.dashboard.timeline import lasted, phases_of
from queueing import Job, QueueStats, State
from queueing.conf import get_inspector, known_queues

# The list


def jobs(request: HttpRequest) -> HttpResponseBase:
    """Show the jobs that the address asks for."""
    form = FilterForm(request.GET)
    if not form.is_valid():
        return page(request, "dashboard/jobs.html", _list_context(form) | {"is_refused": True}, status=400)
    named = selection.job_named(form.cleaned_data["q"]) if form.cleaned_data["q"] else None
    if named is not None:
        return redirect("admin:dashboard-job", named.id)
    chosen = Selection.of(form, in_payload=request.user.has_perm("dashboard.view_payload"))
    after = selection.open_mark(chosen, request.GET.get("after", ""))
    found = selection.find(chosen, after, entire=settings.PAYLOAD_PREVIEW)
    stats = get_inspector().stats_of(chosen.queues)
    context = _list_context(form) | {
        "chosen": chosen,
        "query": chosen.query(),
        "tabs": _tabs(chosen, stats),
        "rows": [_row(job) for job in found.jobs],
        "shows_payload": settings.PAYLOAD_PREVIEW and (chosen.in_payload or not chosen.is_search),
        "has_errors": any(_error_of(job) for job in found.jobs),
        "has_tags": any(job.tags for job in found.jobs),
        "reach": _reach(chosen, found, stats, is_first=after is None),
        "first": chosen.query() if after else "",
        "next": chosen.query(after=selection.seal_mark(chosen, found.next)) if found.next else "",
        "verbs": _verbs(request, chosen.wanted),
        "empty": _empty(chosen, found),
        "api": f"{reverse('job-list')}?{_api_query(chosen)}",
    }
    return live_page(request, "dashboard/jobs.html", context)


def _list_context(form: FilterForm) -> dict[str, Any]:
    return {
        "title": "Jobs",
        "form": form,
        "times": [
            (name, label, _local(form.cleaned_data.get(name)) if form.is_valid() else form[name].value() or "")
            for name, label in _TIMES.items()
        ],
        "has_more": any(form[name].value() for name in (*_TIMES, "error")),
        "queues": known_queues(),
        "now": timezone.now(),
    }


_TIMES = {
    "created_from": "Submitted from",
    "created_until": "Submitted before",
    "finished_from": "Finished from",
    "finished_until": "Finished before",
}


def _local(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}" if moment else ""


def _tabs(chosen: Selection, stats: Sequence[QueueStats]) -> list[dict[str, Any]]:
    """Return a tab for each state, with how many jobs of the queues are in it, whatever else is asked for."""
    counts = {state: sum(each.counts[state] for each in stats) for state in State}
    tabs = [("", sum(counts.values())), *((state.value, counts[state]) for state in _ORDER)]
    current = chosen.state or ""
    return [
        {"name": name, "count": count, "query": chosen.query(state=name), "is_current": name == current}
        for name, count in tabs
    ]


_ORDER = (
    State.READY,
    State.SCHEDULED,
    State.RUNNING,
    State.RETRYING,
    State.DEAD,
    State.SUCCEEDED,
    State.CANCELLED,
    State.EXPIRED,
)


def _row(job: Job) -> dict[str, Any]:
    return {
        "job": job,
        "short_id": job.id.rpartition("_")[2][-12:],
        "at": _moment(job),
        "error": _error_of(job),
        "payload": preview(job.payload) if settings.PAYLOAD_PREVIEW else None,
    }


def _error_of(job: Job) -> str:
    return mask_text(f"{job.error.type}: {job.error.message}")[:160] if job.error else ""


def _moment(job: Job) -> datetime:
    """Return since when, or until when, the job is in its state."""
    if job.state in (State.SCHEDULED, State.RETRYING):
        return job.run_at
    if job.state is State.RUNNING and job.started_at:
        return job.started_at
    return job.finished_at or job.created_at


def _reach(chosen: Selection, found: Found, stats: Sequence[QueueStats], *, is_first: bool) -> str:
    """Return how far a search has looked; empty when the page needs no such words."""
    every = sum(each.counts[state] for each in stats for state in chosen.wanted)
    if found.looked is not None:
        what = ("all " if not found.next else "the newest ") if is_first else "another "
        of = f" of {every:,}" if found.next or not is_first else ""
        where = "kind, tags, last error and payload" if chosen.in_payload else "kind, tags and last error"
        return f"Looked at {what}{found.looked:,}{of} jobs, in {where if chosen.text else 'the last error'}."
    if found.next and len(found.jobs) < selection.PAGE and not chosen.is_plain:
        return f"Few of the {every:,} jobs here match: the search goes on with older ones."
    return ""


def _empty(chosen: Selection, found: Found) -> str:
    if found.jobs:
        return ""
    if found.next:
        return "None of these matches. Older jobs may."
    if chosen.is_plain and chosen.state:
        return _NOTHING[chosen.state]
    return "No job matches." if not chosen.is_plain else "There are no jobs yet. Submit one: manage.py submit echo."


_NOTHING = {
    State.READY: "No job waits: workers have taken all of them.",
    State.SCHEDULED: "No job is due later.",
    State.RUNNING: "Nothing runs now.",
    State.RETRYING: "No job waits for another attempt.",
    State.DEAD: "No job is dead. Good.",
    State.SUCCEEDED: "No job has succeeded lately: they are kept for a while after their end.",
    State.CANCELLED: "No job was cancelled lately.",
    State.EXPIRED: "No job has expired lately.",
}


def _verbs(request: HttpRequest, states: Sequence[State]) -> list[dict[str, Any]]:
    """Return what the viewer may do to jobs in one of the states."""
    return [
        {"name": verb.value, "address": reverse(f"admin:dashboard-{verb}")}
        for verb in Verb
        if not APPLIES[verb].isdisjoint(states)
        and request.user.has_perm(f"dashboard.{verb}_job")
        and not settings.DASHBOARD_READ_ONLY
    ]


def _api_query(chosen: Selection) -> str:
    names = {"created_from": "created_after", "created_until": "created_before"}
    names |= {"finished_from": "finished_after", "finished_until": "finished_before"}
    given = chosen.parameters()
    return urlencode({names.get(name, name): given[name] for name in given if name not in ("q", "error")})


# One job


def job(request: HttpRequest, job_id: str) -> HttpResponse:
    """Show a job, its payload and result masked."""
    found = get_inspector().job(job_id)
    return live_page(request, "dashboard/job.html", _job_context(request, found))


def reveal(request: HttpRequest, job_id: str) -> HttpResponse:
    """Show a job with its payload and result as they are, which is noted."""
    found = get_inspector().job(job_id)
    audit.record(request, "reveal", f"job {job_id}", of=job_id, kind=found.kind)
    return page(request, "dashboard/reveal.html", _job_context(request, found, is_revealed=True))


def _job_context(request: HttpRequest, found: Job, *, is_revealed: bool = False) -> dict[str, Any]:
    error = found.error
    stats = get_inspector().stats(found.queue)
    return {
        "title": f"Job {found.id}",
        "now": stats.at,
        "job": found,
        "verbs": _verbs(request, [found.state]),
        "phases": phases_of(found, stats.at),
        "attempts": [_attempt(each, is_revealed) for each in reversed(found.attempts)],
        "waits": why_it_waits(found, stats),
        "payload": shown(found.payload, reveal=is_revealed),
        "result": _maybe(found.result, is_revealed),
        "progress": _maybe(found.progress, True),
        "is_revealed": is_revealed,
        "history": audit.history_of(found.id),
        "same_error": _same_error(found) if error else "",
        "log_link": log_link(found),
        "api": reverse("job-detail", args=[found.id]),
    }


def _maybe(document: bytes | None, is_revealed: bool) -> Shown | None:
    return None if document is None else shown(document, reveal=is_revealed)


def _attempt(attempt: Any, is_revealed: bool) -> dict[str, Any]:
    error, ends = attempt.error, attempt.finished_at
    hide = (lambda text: text) if is_revealed else mask_text
    return {
        "attempt": attempt,
        "ran": lasted((ends - attempt.started_at).total_seconds()) if ends else "",
        "type": error.type if error else "",
        "message": hide(error.message) if error else "",
        "traceback": hide(error.traceback) if error else "",
    }


def _same_error(found: Job) -> str:
    """Return the query of the jobs that failed like this one."""
    error = found.error
    if error is None or found.state not in (State.DEAD, State.RETRYING):
        return ""
    return Selection(states=(found.state,), kind=found.kind, error=signature_of(error)).query()


def log_link(found: Job) -> str:
    """Return where to find the job's log lines (setting LOG_LINK), empty when that is not known."""
    link = settings.LOG_LINK
    for name in ("job_id", "request_id", "queue", "kind"):
        value = found.id if name == "job_id" else getattr(found, name)
        link = link.replace(f"{{{name}}}", quote(value, safe=""))
    return str(link)


def why_it_waits(found: Job, stats: QueueStats) -> list[str]:
    """Return why a ready job is not running yet, in sentences; none for other jobs."""
    if found.state is not State.READY or found.position is None:
        return []
    ready, ahead = stats.counts[State.READY], found.position - 1
    sentences = [f"It is number {found.position:,} of {ready:,} that are ready in queue {found.queue}."]
    if stats.paused:
        sentences.append(f"The queue is paused{f' ({stats.paused_reason})' if stats.paused_reason else ''}.")
    if ahead:
        sentences.append(
            f"{words.many(ahead, 'job')} with a higher priority, or submitted later, will run before: the newest is "
            "served first, so an old one waits until nothing newer is left."
        )
    else:
        sentences.append("It is the next one to be served, unless a newer one comes.")
    if found.attempt:
        sentences.append("It keeps the place of its submission, so attempts do not bring it to the top.")
    if found.expires_at:
        sentences.append(f"It expires, wherever it stands, at {found.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    return sentences
