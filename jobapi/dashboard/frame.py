"""What all pages of the dashboard share: the admin's frame around them, and the pages that say no."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from jobapi.dashboard.models import RIGHTS
from jobapi.problems import RETRY_AFTER_SECONDS

LOOKING = frozenset(right for right in RIGHTS if right.startswith("view_"))


def page(request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    """Return a page of the dashboard; `title` of the context is its heading."""
    return render(request, template, _context(request, context), status=status)


def live_page(request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
    """Return a page with a region that renews itself: to htmx the region alone, or 204 when it is as it was.

    `template` is the page and includes its region, which is in a file of its own: a.html has a_region.html.
    """
    whole = _context(request, context)
    region = render_to_string(template.replace(".html", "_region.html"), whole, request)
    etag = f'"{hashlib.sha256(region.encode()).hexdigest()[:16]}"'
    if request.headers.get("HX-Request") != "true":
        return render(request, template, whole | {"region": region, "etag": etag})
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=204, headers={"ETag": etag})
    return HttpResponse(region, headers={"ETag": etag})


def _context(request: HttpRequest, context: Mapping[str, Any]) -> dict[str, Any]:
    return {**admin.site.each_context(request), "may": usable_rights(request), **context}


def usable_rights(request: HttpRequest) -> dict[str, bool]:
    """Return for each right whether the viewer has it, and the dashboard lets it be used now."""
    writable = not settings.DASHBOARD_READ_ONLY
    return {right: (writable or right in LOOKING) and request.user.has_perm(f"dashboard.{right}") for right in RIGHTS}


# Pages that say no


def refused(request: HttpRequest, reason: str) -> HttpResponse:
    """Return a page that says why something is not allowed."""
    return _message(request, 403, "Not allowed", reason)


def not_found(request: HttpRequest, reason: str) -> HttpResponse:
    """Return a page that says what is not there."""
    return _message(request, 404, "Not found", reason)


def wrong_method(request: HttpRequest, allowed: str) -> HttpResponse:
    """Return a page that says that this address is not for such a request."""
    response = _message(request, 405, "Not so", f"This address does not answer {request.method}.")
    response.headers["Allow"] = allowed
    return response


def unavailable(request: HttpRequest) -> HttpResponse:
    """Return a page that says that the database is away."""
    text = (
        "The database of the queues does not answer now. Jobs that it accepted are kept, and shown as soon as it does."
    )
    response = _message(request, 503, "The database is away", text)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _message(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    context = {"title": title, "text": text, "status": status}
    return page(request, "dashboard/message.html", context, status=status)
