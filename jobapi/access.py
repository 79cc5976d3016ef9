"""The access log: one line for each request that is answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import uuid_utils
from django.conf import settings

from jobapi.afterwards import afterwards
from jobapi.request_ids import META_KEY, TRACEPARENT_KEY
from queueing.traces import trace_id_of

ROUTE_KEY = "jobapi.route"  # the pattern of the address, once it is known
MAX_PATH_CHARS = 1024
MAX_NAME_CHARS = 256  # of what a client calls itself, and of the host it asks for

logger = logging.getLogger(__name__)


def note(environ: Mapping[str, Any], *, status: int, length: int, seconds: float) -> None:
    """Write the line of a request that was answered with `length` bytes; of its address all but the query.

    The line is made afterwards, from what is kept of the request here: its body may be large.
    """
    path = environ["PATH_INFO"]  # as text: Django has put it there
    if path in settings.ACCESS_LOG_SKIP or not logger.isEnabledFor(logging.INFO):
        return
    path, method = path[:MAX_PATH_CHARS], environ["REQUEST_METHOD"][:MAX_NAME_CHARS]
    fields = {
        "action": "request",
        "method": method,
        "path": path,
        "route": environ.get(ROUTE_KEY, ""),
        "status": status,
        "duration_seconds": round(seconds, 6),
        "bytes": length,
        "client": environ["REMOTE_ADDR"],
        "host_asked": environ.get("HTTP_HOST", "")[:MAX_NAME_CHARS],
        "user_agent": environ.get("HTTP_USER_AGENT", "")[:MAX_NAME_CHARS],
        "request_id": environ.get(META_KEY) or uuid_utils.uuid7().hex,
        "trace_id": trace_id_of(environ.get(TRACEPARENT_KEY) or environ.get("HTTP_TRACEPARENT", "")),
    }
    afterwards.do(_write, time.time(), fields)


def _write(at: float, fields: dict[str, Any]) -> None:
    """Write a line as if it were `at` (s since 1970)."""
    said = (fields["method"], fields["path"], fields["status"])
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, "%s %s: %s", said, None, extra=fields)
    record.created, record.msecs = at, at % 1 * 1000
    logger.handle(record)
