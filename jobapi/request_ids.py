"""The id of a request: what a client, a log line and a problem call it by."""

from __future__ import annotations

import re

import uuid_utils
from django.http import HttpRequest

HEADER = "X-Request-ID"
PATTERN = re.compile(r"[A-Za-z0-9-]{8,64}")

_META_KEY = "jobapi.request_id"


def request_id_of(request: HttpRequest) -> str:
    """Return the id of a request: the client's own where it sent a fit one, else one that is made at the first call."""
    found: str | None = request.META.get(_META_KEY)
    if found is None:
        sent = request.headers.get(HEADER, "")
        found = sent if PATTERN.fullmatch(sent) else uuid_utils.uuid7().hex
        request.META[_META_KEY] = found
    return found
