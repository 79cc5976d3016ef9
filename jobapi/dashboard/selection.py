"""Which jobs a list, an export or an action is about: read from an address, put in words, looked for step by step."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import msgspec
from django import forms
from django.core import signing
from django.http import QueryDict

from jobapi.dashboard.masking import mask_text
from jobapi.dashboard.signatures import signature_of
from queueing import Filters, Job, JobNotFound, ListingMark, State
from queueing.conf import get_inspector, known_queues
from queueing.inspector import MAX_PAGE
from queueing.jobs import from_ms, to_ms

PAGE = 50  # jobs a page
REACH = 1_000  # jobs that a search of texts looks at in one step
REACH_BYTES = 16 * 1024 * 1024  # and of payloads
ENTIRE_AT_ONCE = 25  # jobs with payloads of 256 KiB, which come within the time that the database has for an answer
STEPS = 2  # a page of a list makes at most; each looks at 1,000 jobs of every queue, which takes the server 2 ms
MAX_TEXT_CHARS = 200
MAX_SIGNATURE_CHARS = 500

_HEX = re.compile(r"[0-9a-f]{32}")


class FilterForm(forms.Form):
    """What the address of a list says."""

    state = forms.ChoiceField(required=False, choices=[("", "any"), *((state.value, state.value) for state in State)])
    queue = forms.ChoiceField(required=False)
    kind = forms.CharField(required=False, max_length=100)
    tag = forms.CharField(required=False, max_length=64)
    created_from = forms.DateTimeField(required=False)
    created_until = forms.DateTimeField(required=False)
    finished_from = forms.DateTimeField(required=False)
    finished_until = forms.DateTimeField(required=False)
    error = forms.CharField(required=False, max_length=MAX_SIGNATURE_CHARS)
    q = forms.CharField(required=False, max_length=MAX_TEXT_CHARS)

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        queue = self.fields["queue"]
        assert isinstance(queue, forms.ChoiceField)  # noqa: S101 - for the type checker
        queue.choices = [("", "any"), *((name, name) for name in known_queues())]


class Selection(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Jobs that meet everything given. `error` is a signature; `text` is looked for in kind, tags and last error."""

    queue: str = ""
    states: tuple[State, ...] = ()  # all when empty
    kind: str = ""
    tag: str = ""
    error: str = ""
    text: str = ""
    in_payload: bool = False  # the text is looked for in the payload, too
    created_from_ms: int | None = None
    created_until_ms: int | None = None
    finished_from_ms: int | None = None
    finished_until_ms: int | None = None

    @classmethod
    def of(cls, form: FilterForm, *, in_payload: bool = False) -> Self:
        """Return what a valid form asks for; `in_payload` when the viewer may search payloads."""
        given = form.cleaned_data
        return cls(
            queue=given["queue"],
            states=(State(given["state"]),) if given["state"] else (),
            **{name: given[name] for name in ("kind", "tag", "error")},
            text=given["q"],
            in_payload=in_payload and bool(given["q"]),
            **_milliseconds(given),
        )

    @classmethod
    def of_query(cls, query: str, *, in_payload: bool = False) -> Self | None:
        """Return what a query string asks for, None when it is not valid."""
        form = FilterForm(QueryDict(query))
        return cls.of(form, in_payload=in_payload) if form.is_valid() else None

    @property
    def queues(self) -> list[str]:
        """The queues that are looked through."""
        return [self.queue] if self.queue else known_queues()

    @property
    def wanted(self) -> tuple[State, ...]:
        """The states that jobs may be in."""
        return self.states or tuple(State)

    @property
    def state(self) -> State | None:
        """The one state that jobs may be in, if it is one."""
        return self.states[0] if len(self.states) == 1 else None

    @property
    def is_search(self) -> bool:
        """Whether every job must be read to tell if it matches."""
        return bool(self.text or self.error)

    @property
    def is_plain(self) -> bool:
        """Whether all jobs of the queues in the states match, so that their number is known."""
        return self == Selection(queue=self.queue, states=self.states)

    def filters(self) -> Filters:
        """Return what the database itself can tell."""
        return Filters(
            kind=self.kind,
            tag=self.tag,
            **{f"{name}_ms": getattr(self, f"{name}_ms") for name in _TIMES},
        )

    def matches(self, job: Job) -> bool:
        """Whether a job that meets the filters meets the rest."""
        if self.error and not (job.error and signature_of(job.error) == self.error):
            return False
        return not self.text or self.text.casefold() in self._searched(job).casefold()

    def _searched(self, job: Job) -> str:
        error = job.error
        told = f"{error.type}: {error.message}" if error else ""
        if self.in_payload:
            return "\n".join([job.kind, *job.tags, told, job.payload.decode(errors="replace")])
        return "\n".join([job.kind, *job.tags, mask_text(told)])  # or what is masked could be guessed by searching

    def before(self, now_ms: int) -> Self:
        """Return the selection without what is submitted, or finishes, from now on."""
        names = ["created_until_ms"]
        if all(state.is_finished for state in self.wanted):
            names.append("finished_until_ms")
        return msgspec.structs.replace(self, **{name: min(now_ms, getattr(self, name) or now_ms) for name in names})

    def only(self, states: Collection[State]) -> Self:
        """Return the selection without jobs in other states."""
        return msgspec.structs.replace(self, states=tuple(state for state in self.wanted if state in states))

    def parameters(self) -> dict[str, str]:
        """Return the parameters of an address that leads to this selection."""
        times = {name: getattr(self, f"{name}_ms") for name in _TIMES}
        given = {
            "state": self.state or "",
            "queue": self.queue,
            **{name: getattr(self, name) for name in ("kind", "tag", "error")},
            **{name: from_ms(ms).isoformat() for name, ms in times.items() if ms is not None},
            "q": self.text,
        }
        return {name: str(value) for name, value in given.items() if value}

    def query(self, **changes: str) -> str:
        """Return the query string of this selection, with parameters changed; an empty one is left out."""
        return urlencode({name: value for name, value in (self.parameters() | changes).items() if value})

    def words(self) -> str:
        """Return the selection in words: "dead jobs of queue mail of kind email.send"."""
        parts = [" or ".join(self.states), "jobs", f"of queue {self.queue}" if self.queue else ""]
        parts += [f"of kind {self.kind}" if self.kind else "", f"with tag {self.tag}" if self.tag else ""]
        parts += [f"with error {self.error}" if self.error else "", f"that mention “{self.text}”" if self.text else ""]
        for name, text in _TIMES.items():
            ms = getattr(self, f"{name}_ms")
            parts.append("" if ms is None else f"{text} {from_ms(ms):%Y-%m-%d %H:%M:%S} UTC")
        return " ".join(filter(None, parts))


def _milliseconds(given: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_ms": to_ms(given[name]) if given[name] else None for name in _TIMES}


_TIMES = {
    "created_from": "submitted from",
    "created_until": "submitted before",
    "finished_from": "finished from",
    "finished_until": "finished before",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Jobs of a list, and where it goes on. `looked` is how many were read for them, None when no search was needed."""

    jobs: tuple[Job, ...]
    next: ListingMark | None
    looked: int | None = None


def find(selection: Selection, after: ListingMark | None, *, entire: bool = False) -> Found:
    """Return a page of a list. A search reads at most REACH jobs, so its page may be short, or empty, and go on."""
    if selection.is_search:
        return _search(selection, after)
    inspector = get_inspector()
    listing = inspector.listing(
        selection.queues,
        selection.wanted,
        limit=PAGE,
        after=after,
        filters=selection.filters(),
        entire=entire,
        steps=STEPS,
    )
    return Found(jobs=listing.jobs, next=listing.next)


def _search(selection: Selection, after: ListingMark | None, enough: int = PAGE) -> Found:
    found: list[Job] = []
    looked, size, mark = 0, 0, after
    for jobs, mark in walk(selection, after, whole=True):
        looked += len(jobs)
        size += sum(len(job.payload) for job in jobs)
        found += [job for job in jobs if _is_in(selection, job)]
        if mark is None or looked >= REACH or size >= REACH_BYTES or len(found) >= enough:
            break
    return Found(jobs=tuple(found), next=mark, looked=looked)


def walk(
    selection: Selection,
    after: ListingMark | None = None,
    *,
    limit: int = MAX_PAGE,
    whole: bool = False,
    entire: bool = False,
) -> Iterator[tuple[tuple[Job, ...], ListingMark | None]]:
    """Yield the jobs that meet the selection, `limit` at most at a time, each time with where the next ones begin.

    With `whole` all jobs of its queues, states and end times are yielded, whether they meet the rest or not: so they
    can be counted.
    """
    inspector, mark, is_over = get_inspector(), after, False
    ends = Filters(finished_from_ms=selection.finished_from_ms, finished_until_ms=selection.finished_until_ms)
    filters = ends if whole else selection.filters()
    entire = entire or selection.in_payload
    limit = min(limit, ENTIRE_AT_ONCE) if entire else limit
    while not is_over:
        listing = inspector.listing(
            selection.queues, selection.wanted, limit=limit, after=mark, filters=filters, entire=entire, steps=STEPS
        )
        mark = listing.next
        is_over = mark is None
        yield listing.jobs if whole else tuple(job for job in listing.jobs if selection.matches(job)), mark


def _is_in(selection: Selection, job: Job) -> bool:
    """Whether a job meets the filters as well, which the database was not asked about."""
    created, finished = to_ms(job.created_at), to_ms(job.finished_at) if job.finished_at else None
    return (
        selection.kind in ("", job.kind)
        and (not selection.tag or selection.tag in job.tags)
        and _lies(created, selection.created_from_ms, selection.created_until_ms)
        and _lies(finished, selection.finished_from_ms, selection.finished_until_ms)
        and selection.matches(job)
    )


def _lies(ms: int | None, first: int | None, until: int | None) -> bool:
    if first is None and until is None:
        return True
    return ms is not None and (first is None or ms >= first) and (until is None or ms < until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many jobs a selection has; unless `is_exact` there may be more, beyond those that were looked at."""

    number: int
    is_exact: bool


def count(selection: Selection) -> Count:
    """Return how many jobs a selection has, looking at REACH jobs at most."""
    if selection.is_plain:
        return Count(number=total(selection), is_exact=True)
    found = _search(selection, None, enough=REACH)
    return Count(number=len(found.jobs), is_exact=found.next is None)


def total(selection: Selection) -> int:
    """Return how many jobs the queues of a selection have in its states, whatever else they are."""
    return sum(
        stats.counts[state] for stats in get_inspector().stats_of(selection.queues) for state in selection.wanted
    )


def job_named(text: str) -> Job | None:
    """Return the job that a text is the id of, or the part of the id after its queue's name; None when it is no id."""
    names = [f"{queue}_{text}" for queue in known_queues()] if _HEX.fullmatch(text) else [text]
    for name in names:
        try:
            return get_inspector().job(name)
        except JobNotFound:
            continue
    return None


# Marks in addresses: where the next page begins


def seal_mark(selection: Selection, mark: ListingMark) -> str:
    """Return a mark as text, which only this server can make, for this selection alone."""
    return signing.dumps(msgspec.to_builtins(mark), salt=_salt(selection))


def open_mark(selection: Selection, text: str) -> ListingMark | None:
    """Return the mark; None, where the list begins, when it was made for another selection or by somebody else."""
    try:
        return msgspec.convert(signing.loads(text, salt=_salt(selection)), ListingMark)
    except (signing.BadSignature, msgspec.ValidationError):
        return None


def _salt(selection: Selection) -> str:
    return f"jobapi.dashboard.mark {hashlib.sha256(msgspec.json.encode(selection)).hexdigest()}"
