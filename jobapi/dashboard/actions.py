"""What staff do to jobs and queues: a page that asks first, then the deed, noted with who and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from jobapi.dashboard import audit, bulk, frame
from jobapi.dashboard.bulk import Plan, Progress, Verb
from jobapi.dashboard.selection import Selection
from queueing import State
from queueing.conf import get_broker, get_inspector, known_queues
from queueing.jobs import queue_of

MAX_SELECTED = 500
MAX_REASON_CHARS = 300
LONGEST_PAUSE = timedelta(days=366)

PAST = {Verb.REQUEUE: "Requeued", Verb.CANCEL: "Cancelled", Verb.DELETE: "Deleted"}
EFFECTS = {
    Verb.REQUEUE: "They become ready at their old place, with as many attempts as they had at first.",
    Verb.CANCEL: "Those that wait are cancelled at once; a running one learns of it within a third of its lease.",
    Verb.DELETE: "Nothing is left of them: no payload, no result, no history. This cannot be undone.",
}


# Jobs


def requeue(request: HttpRequest) -> HttpResponseBase:
    """Make dead jobs ready again."""
    return _change_jobs(request, Verb.REQUEUE)


def cancel(request: HttpRequest) -> HttpResponseBase:
    """Cancel jobs."""
    return _change_jobs(request, Verb.CANCEL)


def delete(request: HttpRequest) -> HttpResponseBase:
    """Delete jobs."""
    return _change_jobs(request, Verb.DELETE)


def _change_jobs(request: HttpRequest, verb: Verb) -> HttpResponseBase:
    """Ask first; then do it batch by batch, as far as the form that comes with the request says."""
    if "progress" in request.POST:
        progress = bulk.open_progress(request.POST["progress"], _user_id(request))
        return _refused_form(request) if progress is None else _go_on(request, verb, progress)
    if "plan" in request.POST:
        plan = bulk.open_plan(request.POST["plan"], _user_id(request))
        return _refused_form(request) if plan is None else _begin(request, verb, plan)
    return _ask(request, _asked_for(request, verb))


def requeue_dead(request: HttpRequest, queue: str) -> HttpResponseBase:
    """Ask whether all dead jobs of a queue are to be made ready again."""
    _require(queue)
    chosen = Selection(queue=queue, states=(State.DEAD,))
    return _ask(request, bulk.plan_for(Verb.REQUEUE, chosen, chosen.query()))


def _ask(request: HttpRequest, plan: Plan | None) -> HttpResponse:
    if plan is None:
        return _nothing(request, "No job was chosen to which this applies.")
    return _lacking(request, plan) or _confirm_jobs(request, plan)


def _asked_for(request: HttpRequest, verb: Verb) -> Plan | None:
    """Return the plan that a list's or a job's form asks for; None when it names no job."""
    query = request.POST.get("jobs")
    back = request.POST.get("back", query or "")
    if query is not None:
        chosen = Selection.of_query(query, in_payload=_may(request, "view_payload"))
        return None if chosen is None else bulk.plan_for(verb, chosen, back)
    ids = tuple(dict.fromkeys(job_id for job_id in request.POST.getlist("id") if queue_of(job_id)))[:MAX_SELECTED]
    return Plan(verb=verb, ids=ids, expected=len(ids), back=back) if ids else None


def _confirm_jobs(request: HttpRequest, plan: Plan, error: str = "") -> HttpResponse:
    number = f"{plan.expected:,}" if plan.is_exact else f"at least {plan.expected:,}"
    what = "this job" if not plan.is_bulk else f"{number} job{'s' * (plan.expected != 1)}"
    context = {
        "title": f"{plan.verb.capitalize()} {what}?",
        "subject": plan.words(),
        "effect": EFFECTS[plan.verb] if plan.is_bulk else "",
        "ids": plan.ids,
        "plan": bulk.seal(plan, _user_id(request)),
        "action": reverse(f"admin:dashboard-{plan.verb}"),
        "button": f"{plan.verb.capitalize()} {what}",
        "is_destructive": plan.verb is Verb.DELETE,
        "needs_reason": plan.is_bulk,
        "is_empty": plan.expected == 0 and plan.is_exact,
        "note": "" if plan.is_exact else "Only the newest of them were counted; all that match are changed.",
        "back": _back(plan),
        "error": error,
    }
    return frame.page(request, "dashboard/confirm.html", context, status=400 if error else 200)


def _begin(request: HttpRequest, verb: Verb, plan: Plan) -> HttpResponseBase:
    if plan.verb is not verb:
        return _refused_form(request)
    missing, reason = _lacking(request, plan), _reason(request)
    if missing:
        return missing
    if plan.is_bulk and not reason:
        return _confirm_jobs(request, plan, "Say why: others will read it in the audit.")
    if plan.is_bulk:
        queue = plan.selection.queue if plan.selection else ""
        details = {"reason": reason, "ids": list(plan.ids) or None, "expected": plan.expected, "is_over": False}
        entry = audit.record(request, verb, plan.words(), of=queue, **details)
        return _go_on(request, verb, Progress(plan=plan, entry=entry.pk))
    return _do_one(request, plan, reason)


def _do_one(request: HttpRequest, plan: Plan, reason: str) -> HttpResponseBase:
    job_id = plan.ids[0]
    job = get_inspector().job(job_id)
    with audit.noted(request, plan.verb, f"job {job_id}", of=job_id, reason=reason, kind=job.kind) as figures:
        done, skipped, failed = bulk.act(plan.verb, [job_id])
        figures |= {"done": done, "skipped": skipped, "failed": failed}
    if done:
        messages.success(request, f"{PAST[plan.verb]} job {job_id}.")
    else:
        messages.warning(request, f"Job {job_id} was left as it is: it is no longer in a state for that.")
    if done and plan.verb is Verb.DELETE:
        return redirect(_list_address(plan.back))
    return redirect("admin:dashboard-job", job_id)


def _go_on(request: HttpRequest, verb: Verb, progress: Progress) -> HttpResponseBase:
    """Do one batch, and answer with a page that asks for the next one."""
    if progress.plan.verb is not verb:
        return _refused_form(request)
    missing = _lacking(request, progress.plan)
    if missing:
        return missing
    progress = bulk.run_batch(progress)
    counts = {"done": progress.done, "skipped": progress.skipped, "failed": progress.failed}
    audit.add(progress.entry, **counts, is_over=progress.is_over)
    plan = progress.plan
    context = {
        "title": f"{PAST[verb]} {progress.done:,} jobs" if progress.is_over else f"{verb.capitalize()} jobs",
        "subject": plan.words(),
        "progress": progress,
        "sealed": bulk.seal(progress, _user_id(request)),
        "action": request.path,
        "past": PAST[verb],
        "back": _back(plan),
    }
    return frame.page(request, "dashboard/progress.html", context)


def _lacking(request: HttpRequest, plan: Plan) -> HttpResponse | None:
    """Return the refusal of a plan for many jobs, unless the person may act on many."""
    if not plan.is_bulk or _may(request, "bulk_action"):
        return None
    return frame.refused(request, "You need the right bulk_action to act on more than one job at a time.")


def _back(plan: Plan) -> str:
    if plan.ids and not plan.is_bulk:
        return reverse("admin:dashboard-job", args=[plan.ids[0]])
    return _list_address(plan.back)


def _list_address(query: str) -> str:
    return reverse("admin:dashboard-jobs") + (f"?{query}" if query else "")


# Queues


class PauseForm(forms.Form):
    """Why a queue is to stop, and until when."""

    reason = forms.CharField(
        max_length=MAX_REASON_CHARS, error_messages={"required": "Say why: everybody will see it."}
    )
    until = forms.DateTimeField(required=False)

    def clean_until(self) -> datetime | None:
        """Refuse an end that is over, or so far away that it must be a slip."""
        until: datetime | None = self.cleaned_data["until"]
        now = datetime.now(UTC)
        if until and not now < until <= now + LONGEST_PAUSE:
            raise forms.ValidationError("The end must lie ahead, by a year at most.")
        return until


def pause(request: HttpRequest, queue: str) -> HttpResponseBase:
    """Stop claims of a queue, for a reason that everybody sees."""
    _require(queue)
    if "confirmed" not in request.POST:
        return _confirm_queue(request, "pause", queue)
    form = PauseForm(request.POST)
    if not form.is_valid():
        return _confirm_queue(request, "pause", queue, _first_error(form))
    reason, until = form.cleaned_data["reason"], form.cleaned_data["until"]
    ends = until.isoformat(timespec="minutes") if until else None
    with audit.noted(request, "pause", f"queue {queue}", of=queue, reason=reason, until=ends):
        get_broker().pause(queue, reason=reason, until=until)
    messages.success(request, f"Queue {queue} is paused.")
    return redirect("admin:dashboard-queue", queue)


def resume(request: HttpRequest, queue: str) -> HttpResponseBase:
    """Let claims of a queue go on."""
    _require(queue)
    if "confirmed" not in request.POST:
        return _confirm_queue(request, "resume", queue)
    with audit.noted(request, "resume", f"queue {queue}", of=queue, reason=_reason(request)):
        was_paused = get_broker().resume(queue)
    messages.success(request, f"Queue {queue} goes on." if was_paused else f"Queue {queue} was not paused.")
    return redirect("admin:dashboard-queue", queue)


PURGE_AT_MOST = 100_000  # jobs a time, which takes the server about a second


def purge(request: HttpRequest, queue: str) -> HttpResponseBase:
    """Drop the ready jobs of a queue, once its name was typed."""
    _require(queue)
    if "confirmed" not in request.POST:
        return _confirm_queue(request, "purge", queue)
    reason = _reason(request)
    if request.POST.get("name", "").strip() != queue:
        return _confirm_queue(request, "purge", queue, f"Type the name of the queue, {queue}, to purge it.")
    if not reason:
        return _confirm_queue(request, "purge", queue, "Say why: others will read it in the audit.")
    with audit.noted(request, "purge", f"queue {queue}", of=queue, reason=reason) as figures:
        figures["done"] = purged = get_broker().purge(queue, limit=PURGE_AT_MOST)
    more = " There are more: purge again." if purged == PURGE_AT_MOST else ""
    messages.success(request, f"Dropped {purged:,} ready jobs of queue {queue}.{more}")
    return redirect("admin:dashboard-queue", queue)


QUEUE_EFFECTS = {
    "pause": "Workers claim none of its jobs until it is resumed. Jobs are still accepted, and what runs goes on.",
    "resume": "Workers claim its jobs again, the newest first.",
    "purge": "All jobs that are ready now are dropped: nothing is left of them, and nothing brings them back.",
}


def _confirm_queue(request: HttpRequest, verb: str, queue: str, error: str = "") -> HttpResponse:
    stats = get_inspector().stats(queue)
    ready = stats.counts[State.READY]
    what = f"queue {queue}" if verb != "purge" else f"{ready:,} ready jobs of queue {queue}"
    context = {
        "title": f"{verb.capitalize()} {what}?",
        "effect": QUEUE_EFFECTS[verb],
        "action": request.path,
        "button": f"{verb.capitalize()} {what}",
        "is_destructive": verb == "purge",
        "needs_reason": verb != "resume",
        "asks_until": verb == "pause",
        "typed": queue if verb == "purge" else "",
        "back": reverse("admin:dashboard-queue", args=[queue]),
        "given": request.POST,
        "error": error,
    }
    return frame.page(request, "dashboard/confirm.html", context, status=400 if error else 200)


def _require(queue: str) -> None:
    if queue not in known_queues():
        raise Http404(f"There is no queue {queue}.")


def _first_error(form: forms.Form) -> str:
    return next(str(error) for errors in form.errors.values() for error in errors)


# All


def _reason(request: HttpRequest) -> str:
    return " ".join(request.POST.get("reason", "").split())[:MAX_REASON_CHARS]


def _may(request: HttpRequest, right: str) -> bool:
    return request.user.has_perm(f"dashboard.{right}")


def _user_id(request: HttpRequest) -> int:
    return cast(int, request.user.pk)


def _refused_form(request: HttpRequest) -> HttpResponse:
    return _nothing(request, "This form is too old, or was made for somebody else. Begin again from the list.")


def _nothing(request: HttpRequest, text: str) -> HttpResponse:
    context: dict[str, Any] = {"title": "Nothing was changed", "text": text, "status": 400}
    return frame.page(request, "dashboard/message.html", context, status=400)
