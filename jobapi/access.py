"""The access log: one line for each request that is answered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import uuid_utils
from django.conf import settings

from jobapi.request_ids import META_KEY, TRACEPARENT_KEY
from queueing.traces import trace_id_of

ROUTE_KEY = "jobapi.route"  # the pattern of the address, once it is known
MAX_PATH_CHARS = 1024
MAX_NAME_CHARS = 256  # of what a client calls itself, and of the host it asks for

logger = logging.getLogger(__name__)


def note(environ: Mapping[str, Any], *, status: int, length: int, seconds: float) -> None:
    """Write the line of a request that was answered with `length` bytes; of its address all but the query."""
    path = environ["PATH_INFO"]  # as text: Django has put it there
    if path in settings.ACCESS_LOG_SKIP:
        return
    path, method = path[:MAX_PATH_CHARS], environ["REQUEST_METHOD"][:MAX_NAME_CHARS]
    logger.info(
        "%s %s: %s",
        method,
        path,
        status,
        extra={
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
        },
    )
