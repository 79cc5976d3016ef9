"""Lists of jobs, page by page: what is asked for, and the cursor that goes on where a page ended."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.http import HttpRequest
from msgspec import Meta

from jobapi import schemas
from jobapi.problems import invalid_parameter
from jobapi.tokens import MANAGE, Caller
from queueing import Filters, ListingMark, PageMark, State
from queueing.conf import get_reader, known_queues
from queueing.inspector import MAX_PAGE
from queueing.jobs import to_ms
from queueing.replicas import Seen

DEFAULT_PAGE = 50

Moment = Annotated[datetime, Meta(tz=True)]


class JobQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs to list. Every filter that is given must be met."""

    queue: Annotated[str, Meta(description="Jobs of this queue; of all when left out.")] | None = None
    state: Annotated[State, Meta(description="Jobs in this state.")] | None = None
    kind: Annotated[schemas.Kind, Meta(description="Jobs of this kind.")] | None = None
    tag: Annotated[schemas.Tag, Meta(description="Jobs with this tag.")] | None = None
    created_after: Annotated[Moment, Meta(description="Jobs submitted then or later (RFC 3339).")] | None = None
    created_before: Annotated[Moment, Meta(description="Jobs submitted before (RFC 3339).")] | None = None
    finished_after: Annotated[Moment, Meta(description="Jobs that finished then or later (RFC 3339).")] | None = None
    finished_before: Annotated[Moment, Meta(description="Jobs that finished before (RFC 3339).")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many jobs at most.")] = DEFAULT_PAGE
    cursor: (
        Annotated[str, Meta(max_length=1000, description="`next_cursor` of the page before, with the same filters.")]
        | None
    ) = None

    def filters(self, caller: Caller) -> Filters:
        """Return what a job must be to be listed to a caller."""
        return Filters(
            owner="" if MANAGE in caller.scopes else caller.client_id,
            kind=self.kind or "",
            tag=self.tag or "",
            created_from_ms=_ms(self.created_after),
            created_until_ms=_ms(self.created_before),
            finished_from_ms=_ms(self.finished_after),
            finished_until_ms=_ms(self.finished_before),
        )

    def fingerprint(self, caller: Caller) -> str:
        """Return what binds a cursor to the filters, and the caller, that it was made for."""
        filters = msgspec.json.encode(msgspec.structs.replace(self, cursor=None, limit=DEFAULT_PAGE))
        return hashlib.sha256(filters + self.filters(caller).owner.encode()).hexdigest()[:16]


def page_of(query: JobQuery, queues: list[str], caller: Caller) -> Seen[schemas.JobPage]:
    """Return the page that a query asks for, of the caller's jobs of `queues`; a replica may know it."""
    states = set(State) if query.state is None else {query.state}
    mark = _read_cursor(query, caller) if query.cursor is not None else None
    seen = get_reader().read(
        lambda inspector: inspector.listing(
            queues, states, limit=query.limit, after=mark, filters=query.filters(caller)
        )
    )
    page = schemas.JobPage(
        items=[schemas.JobSummary.of(job) for job in seen.value.jobs],
        next_cursor=_cursor(query, caller, seen.value.next) if seen.value.next else None,
    )
    return Seen(value=page, age_seconds=seen.age_seconds)


def link_to_next(request: HttpRequest, page: schemas.JobPage) -> dict[str, str]:
    """Return the Link header (RFC 8288) that leads to the next page, if there is one."""
    if page.next_cursor is None:
        return {}
    query = urlencode({**request.GET.dict(), "cursor": page.next_cursor})
    return {"Link": f'<{request.path}?{query}>; rel="next"'}


def queues_of(query: JobQuery) -> list[str]:
    """Return the queues a query asks for; a name that is none is refused as a parameter."""
    names = known_queues()
    if query.queue is not None and query.queue not in names:
        raise invalid_parameter("queue", f"is not one of the known queues: {', '.join(names)}")
    return names if query.queue is None else [query.queue]


def _box() -> MultiFernet:
    """Return what seals cursors: a page may end at a job of another client, whose id is nobody's business."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = [hashlib.sha256(f"jobapi.listing {key}".encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


def _cursor(query: JobQuery, caller: Caller, mark: ListingMark) -> str:
    after = (mark.after.score, mark.after.id) if mark.after else None
    return _box().encrypt(msgspec.json.encode([query.fingerprint(caller), mark.group, after])).decode()


def _read_cursor(query: JobQuery, caller: Caller) -> ListingMark:
    try:
        fingerprint, group, after = msgspec.json.decode(_box().decrypt(query.cursor or ""))
    except (InvalidToken, ValueError):
        raise invalid_parameter("cursor", "was not made by this server") from None
    if fingerprint != query.fingerprint(caller):
        raise invalid_parameter("cursor", "belongs to a listing with other filters")
    return ListingMark(group=group, after=PageMark(score=after[0], id=after[1]) if after else None)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)
