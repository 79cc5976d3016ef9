"""The pages of the dashboard: one table of every address, its view, and the rights that each method needs.

An address that is not here does not exist, and a method without a row is answered 405. A test walks the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from jobapi.dashboard import actions, audit, exports, failures, frame, jobs, overview, queues, snapshot, store, workers
from queueing import JobNotFound, StoreUnavailable

View = Callable[..., HttpResponseBase]

SEE = ("view_dashboard",)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An address below the dashboard's; `rights` has its methods, each with all the rights that it needs."""

    route: str
    name: str
    view: View
    rights: Mapping[str, tuple[str, ...]]
    tab: str = ""  # what the navigation calls it; a page without is reached from others

    @property
    def key(self) -> str:
        """The key that leads there, after g."""
        return self.tab[:1].lower()


def to(*rights: str) -> dict[str, tuple[str, ...]]:
    """Return the rights of an address that changes, or reveals, something: it answers POST alone."""
    return {"POST": (*SEE, *rights)}


PAGES = (
    Page(route="", name="dashboard", view=overview.overview, rights={"GET": SEE}, tab="Overview"),
    Page(route="jobs/", name="dashboard-jobs", view=jobs.jobs, rights={"GET": SEE}, tab="Jobs"),
    Page(route="jobs/requeue/", name="dashboard-requeue", view=actions.requeue, rights=to("requeue_job")),
    Page(route="jobs/cancel/", name="dashboard-cancel", view=actions.cancel, rights=to("cancel_job")),
    Page(route="jobs/delete/", name="dashboard-delete", view=actions.delete, rights=to("delete_job")),
    Page(route="jobs/export/", name="dashboard-export", view=exports.export, rights=to("export_jobs")),
    Page(route="jobs/<str:job_id>/", name="dashboard-job", view=jobs.job, rights={"GET": SEE}),
    Page(route="jobs/<str:job_id>/reveal/", name="dashboard-reveal", view=jobs.reveal, rights=to("view_payload")),
    Page(route="failures/", name="dashboard-failures", view=failures.failures, rights={"GET": SEE}, tab="Failures"),
    Page(route="queues/<str:queue>/", name="dashboard-queue", view=queues.queue, rights={"GET": SEE}),
    Page(route="queues/<str:queue>/pause/", name="dashboard-queue-pause", view=actions.pause, rights=to("pause_queue")),
    Page(
        route="queues/<str:queue>/resume/", name="dashboard-queue-resume", view=actions.resume, rights=to("pause_queue")
    ),
    Page(route="queues/<str:queue>/purge/", name="dashboard-queue-purge", view=actions.purge, rights=to("purge_queue")),
    Page(
        route="queues/<str:queue>/requeue-dead/",
        name="dashboard-queue-requeue",
        view=actions.requeue_dead,
        rights=to("requeue_job", "bulk_action"),
    ),
    Page(route="workers/", name="dashboard-workers", view=workers.workers, rights={"GET": SEE}, tab="Workers"),
    Page(route="store/", name="dashboard-store", view=store.store, rights={"GET": (*SEE, "view_store")}, tab="Store"),
    Page(route="audit/", name="dashboard-audit", view=audit.audit, rights={"GET": (*SEE, "view_audit")}, tab="Audit"),
)


def urls(wrap: Callable[[View], View]) -> list[URLPattern]:
    """Return the addresses of all pages; `wrap` is the admin site's own guard: who is not staff must log in."""
    return [path(page.route, wrap(guarded(page)), name=page.name) for page in PAGES]


def guarded(page: Page) -> View:
    """Return the page's view, which only those with its rights reach; what it raises becomes a page, too."""

    @wraps(page.view)
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _refusal(request, page) or _answer(request, page, args, kwargs)

    return view


def _refusal(request: HttpRequest, page: Page) -> HttpResponseBase | None:
    method = "GET" if request.method == "HEAD" else str(request.method)
    if method not in page.rights:
        return frame.wrong_method(request, ", ".join(page.rights))
    if method != "GET" and settings.DASHBOARD_READ_ONLY:
        return frame.refused(request, "The dashboard is set to read only: nothing can be changed here.")
    missing = missing_rights(request, page, method)
    if not missing:
        return None
    lacks = " and ".join(missing)
    extra = {"action": "right_refused", "actor": request.user.get_username(), "page": page.name}
    logger.info("%s lacks %s", request.user.get_username(), lacks, extra=extra)
    return frame.refused(request, f"You need the right {lacks} for this. An administrator can give it to you.")


def missing_rights(request: HttpRequest, page: Page, method: str) -> list[str]:
    """Return the rights that the viewer lacks for a method of a page."""
    return [right for right in page.rights[method] if not request.user.has_perm(f"dashboard.{right}")]


def _answer(request: HttpRequest, page: Page, args: Any, kwargs: Any) -> HttpResponseBase:
    try:
        return page.view(request, *args, **kwargs)
    except StoreUnavailable as error:
        logger.warning("%s", error, extra={"action": "dashboard_unavailable", "page": page.name})
        return frame.unavailable(request)
    except JobNotFound as error:
        return frame.not_found(request, f"There is no job {error.job_id} (any more).")
    except Http404 as error:
        return frame.not_found(request, str(error))
    finally:
        if request.method == "POST":
            snapshot.forget()
