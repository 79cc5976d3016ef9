"""What people do to many jobs at once: batch by batch, its state in the hands of the page that asks for the next one.

Nothing is kept in a process. A batch that is sent twice finds its jobs in another state and passes them over.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Self, TypeVar

import msgspec
from django.core import signing

from jobapi.dashboard import selection
from jobapi.dashboard.selection import Selection
from queueing import Broker, JobNotFound, ListingMark, QueueingError, State, StoreUnavailable, WrongState
from queueing.conf import get_broker
from queueing.jobs import from_ms

BATCH_JOBS = 500  # a batch at most, and
BATCH_SECONDS = 2.0  # of a request, after which no more jobs are begun
STRIDE = 50  # jobs between two looks at the clock
MAX_AGE_SECONDS = 86_400  # a page left open for longer goes on with nothing


T = TypeVar("T", bound=msgspec.Struct)


class Verb(enum.StrEnum):
    """What is done to jobs."""

    REQUEUE = "requeue"
    CANCEL = "cancel"
    DELETE = "delete"


#: The states that a verb leads on from.
APPLIES: Mapping[Verb, frozenset[State]] = {
    Verb.REQUEUE: frozenset({State.DEAD}),
    Verb.CANCEL: frozenset({State.SCHEDULED, State.READY, State.RETRYING, State.RUNNING}),
    Verb.DELETE: frozenset(State) - {State.RUNNING},
}

_CALLS: Mapping[Verb, Callable[[Broker, str], State]] = {
    Verb.REQUEUE: Broker.requeue,
    Verb.CANCEL: Broker.cancel,
    Verb.DELETE: Broker.delete,
}


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What a person is about to do: to the jobs named, or else to all of a selection, which has an end in time."""

    verb: Verb
    ids: tuple[str, ...] = ()
    selection: Selection | None = None
    subject: str = ""  # the selection in words
    expected: int = 0
    is_exact: bool = True
    back: str = ""  # the query string of the list that it came from

    @property
    def is_bulk(self) -> bool:
        """Whether it is about more than one job."""
        return self.selection is not None or len(self.ids) > 1

    def words(self) -> str:
        """Return what it is about: "dead jobs of queue mail, as of …", "3 selected jobs", "job mail_01…"."""
        if self.selection:
            return self.subject
        return f"{len(self.ids)} selected jobs" if self.is_bulk else f"job {self.ids[0]}"


class Progress(msgspec.Struct, kw_only=True, frozen=True):
    """How far a plan has come. `skipped` jobs had left their state meanwhile; `failed` ones are damaged."""

    plan: Plan
    entry: int  # in the audit
    offset: int = 0  # in the plan's ids
    mark: ListingMark | None = None  # in its selection
    done: int = 0
    skipped: int = 0
    failed: int = 0
    is_over: bool = False
    is_stopped: bool = False  # the database went away: people say when to go on

    @property
    def handled(self) -> int:
        """How many jobs were met."""
        return self.done + self.skipped + self.failed

    def plus(self, done: int, skipped: int, failed: int) -> Self:
        """Return the progress with more jobs counted."""
        counts = {"done": self.done + done, "skipped": self.skipped + skipped, "failed": self.failed + failed}
        return msgspec.structs.replace(self, **counts)


def plan_for(verb: Verb, chosen: Selection, back: str) -> Plan | None:
    """Return a plan for all jobs of a selection that the verb applies to, and that are there now; None for no state."""
    fitting = chosen.only(APPLIES[verb])
    if not fitting.states:
        return None
    now_ms = max(get_broker().server_time_ms(queue) for queue in fitting.queues)
    counted = selection.count(fitting)
    return Plan(
        verb=verb,
        selection=fitting.before(now_ms),
        subject=f"{fitting.words()}, as of {from_ms(now_ms):%Y-%m-%d %H:%M:%S} UTC",
        expected=counted.number,
        is_exact=counted.is_exact,
        back=back,
    )


def run_batch(progress: Progress) -> Progress:
    """Do the next batch of a plan; the answer says whether it was the last."""
    ends, first = time.monotonic() + BATCH_SECONDS, progress.handled
    progress = msgspec.structs.replace(progress, is_stopped=False)
    try:
        while not progress.is_over and time.monotonic() < ends and progress.handled - first <= BATCH_JOBS - STRIDE:
            progress = _stride(progress)
    except StoreUnavailable:
        return msgspec.structs.replace(progress, is_stopped=True)
    return progress


def _stride(progress: Progress) -> Progress:
    """Do the next jobs, and move the place on when all of them are done."""
    plan = progress.plan
    if plan.selection is None:
        offset = progress.offset + STRIDE
        after = msgspec.structs.replace(progress, offset=offset, is_over=offset >= len(plan.ids))
        return after.plus(*act(plan.verb, plan.ids[progress.offset : offset]))
    jobs, mark = next(selection.walk(plan.selection, progress.mark, limit=STRIDE))
    after = msgspec.structs.replace(progress, mark=mark, is_over=mark is None)
    return after.plus(*act(plan.verb, [job.id for job in jobs]))


def act(verb: Verb, ids: Iterable[str]) -> tuple[int, int, int]:
    """Do it to each of the jobs; returns how many were done, skipped and failed. Raises StoreUnavailable."""
    broker, done, skipped, failed = get_broker(), 0, 0, 0
    for job_id in ids:
        try:
            _CALLS[verb](broker, job_id)
            done += 1
        except StoreUnavailable:
            raise
        except (JobNotFound, WrongState):
            skipped += 1
        except QueueingError:
            failed += 1
    return done, skipped, failed


# Plans and progress in forms: what only this server can make, for one person


def seal(document: Plan | Progress, user_id: int) -> str:
    """Return a plan or progress as text for a form of this person's."""
    return signing.dumps(msgspec.to_builtins(document), salt=_salt(type(document), user_id), compress=True)


def open_plan(text: str, user_id: int) -> Plan | None:
    """Return a plan from a form; None when it was not made for this person, or long ago."""
    return _open(text, Plan, user_id)


def open_progress(text: str, user_id: int) -> Progress | None:
    """Return progress from a form; None when it was not made for this person, or long ago."""
    return _open(text, Progress, user_id)


def _open(text: str, document: type[T], user_id: int) -> T | None:
    try:
        return msgspec.convert(signing.loads(text, salt=_salt(document, user_id), max_age=MAX_AGE_SECONDS), document)
    except (signing.BadSignature, msgspec.ValidationError):
        return None


def _salt(document: type, user_id: int) -> str:
    return f"jobapi.dashboard.{document.__name__} {user_id}"
