"""Jobs of a selection as a file: CSV for spreadsheets, or JSON lines. Masked, bounded, and noted in the audit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from jobapi.dashboard import audit, frame, selection
from jobapi.dashboard.masking import NO_JSON, mask_text, masked, read, write
from jobapi.dashboard.selection import Selection
from queueing import Job, StoreUnavailable

MAX_BYTES = 256 * 1024 * 1024
COLUMNS = (
    "id", "kind", "queue", "state", "priority", "attempt", "max_attempts", "created_at", "run_at", "started_at",
    "finished_at", "expires_at", "error_type", "error_message", "tags", "owner", "request_id", "payload", "result",
)  # fmt: skip
FORMATS: dict[str, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}

Row = dict[str, Any]

_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are the first ones in full width


def export(request: HttpRequest) -> HttpResponseBase:
    """Send the jobs that the form asks for as a file."""
    name, reveal = request.POST.get("format", "csv"), request.user.has_perm("dashboard.view_payload")
    chosen = Selection.of_query(request.POST.get("back", ""), in_payload=reveal)
    if chosen is None or name not in FORMATS:
        return frame.page(request, "dashboard/message.html", _REFUSAL, status=400)
    selection.total(chosen)  # when the database is away that is said on a page, not in a file
    entry = audit.record(request, "export", chosen.words(), of=chosen.queue, format=name, unmasked=reveal)
    response = StreamingHttpResponse(_file(chosen, name, reveal, entry.pk), content_type=FORMATS[name])
    stamp = timezone.now().strftime("%Y%m%d-%H%M%S")
    response.headers["Content-Disposition"] = f'attachment; filename="jobs-{stamp}.{name}"'
    return response


_REFUSAL = {"title": "No export", "text": "This is no list of jobs that can be exported.", "status": 400}


def _file(chosen: Selection, name: str, reveal: bool, entry: int) -> Iterator[bytes]:
    """Yield the file line by line; its last line says so when it is not all."""
    line, size, number, reason = _WRITERS[name], 0, 0, ""
    if name == "csv":
        yield csv_line(dict.fromkeys(COLUMNS, ""), head=True)
    try:
        for job in _jobs(chosen):
            if number == settings.EXPORT_MAX_JOBS or size > MAX_BYTES:
                reason = f"This is not all: an export ends after {number} jobs."
                break
            text = line(row_of(job, reveal=reveal))
            number, size = number + 1, size + len(text)
            yield text
    except StoreUnavailable:
        reason = f"This is not all: the database went away after {number} jobs."
    if reason:
        yield line({"id": reason})
    audit.add(entry, jobs=number)


def _jobs(chosen: Selection) -> Iterator[Job]:
    for jobs, _ in selection.walk(chosen, entire=True):
        yield from jobs


def row_of(job: Job, *, reveal: bool) -> Row:
    """Return what an export says of a job; numbers of payload and result stay as they are written."""
    error = job.error
    return {
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "state": job.state.value,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        **{name: _instant(getattr(job, name)) for name in ("created_at", "run_at", "started_at", "finished_at")},
        "expires_at": _instant(job.expires_at),
        "error_type": error.type if error else None,
        "error_message": _text(error.message, reveal) if error else None,
        "tags": list(job.tags),
        "owner": job.owner,
        "request_id": job.request_id,
        "payload": _document(job.payload, reveal),
        "result": _document(job.result, reveal) if job.result else None,
    }


def csv_line(row: Row, *, head: bool = False) -> bytes:
    """Return a line of CSV (RFC 4180), or that of the names; no cell is a formula."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(COLUMNS if head else [_cell(row.get(name)) for name in COLUMNS])
    return file.getvalue().encode()


def _json_line(row: Row) -> bytes:
    return write(row).encode() + b"\n"


_WRITERS: dict[str, Callable[[Row], bytes]] = {"csv": csv_line, "jsonl": _json_line}


def _cell(value: Any) -> str:
    """Return a value as a spreadsheet may read it: what it would take for a formula begins with an apostrophe."""
    text = "" if value is None else value if isinstance(value, str) else write(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULAS) else text


def _instant(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _text(text: str, reveal: bool) -> str:
    return text if reveal else mask_text(text)


def _document(document: bytes, reveal: bool) -> Any:
    try:
        value = read(document)
        return value if reveal else masked(value)
    except (ValueError, RecursionError):
        return NO_JSON
