"""Reports that travel while the next jobs begin."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import msgspec

from queueing import Begun, Broker, Claimed, QueueingError, StoreUnavailable
from worker.outcomes import Outcome

ANSWER_SECONDS = 1.0  # a lease must not end while nobody knows
UNFIT_SECONDS = 1.0


class Answer(msgspec.Struct, frozen=True):
    """What became of a report sent at `sent_at` (s since 1970).

    `held` says of each outcome whether its lease was; None: nobody knows.
    """

    sent_at: float
    outcomes: Sequence[Outcome]
    held: Sequence[bool] | None


class _Underway(msgspec.Struct, frozen=True):
    sent_at: float  # s since 1970
    until: float  # monotonic
    outcomes: Sequence[Outcome]
    begun: Begun


class Reports:
    """Sends outcomes of attempts that succeeded, one batch at a time, over a connection of its own.

    A worker sends one behind its claim and asks what became of it with the next: the database then works on the report
    while the worker runs what was claimed. Where they do not `travel`, what is to be reported had better go with the
    claim: in a cluster, whose link waits for each reply at once, and for a moment after a failure.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker.dedicated(socket_timeout_seconds=ANSWER_SECONDS)
        self._underway: _Underway | None = None
        self._never_travel = broker.queues_are_apart
        self._failed_at = -math.inf

    @property
    def is_underway(self) -> bool:
        """Whether a report was sent whose answer was not heard yet."""
        return self._underway is not None

    @property
    def travel(self) -> bool:
        """Whether a report may go behind a claim now."""
        return not self._never_travel and time.monotonic() - self._failed_at > UNFIT_SECONDS

    def send(self, outcomes: Sequence[Outcome]) -> bool:
        """Report attempts of one queue, none being underway; returns False when that could not be sent."""
        step = self._broker.ack_step(outcomes[0].lease.job.queue, results_of(outcomes))
        try:
            begun = self._broker.begin(step)
        except QueueingError:  # where nothing can be reached, the claim says so
            self._failed_at = time.monotonic()
            return False
        self._underway = _Underway(time.time(), time.monotonic() + ANSWER_SECONDS, outcomes, begun)
        return True

    def hear(self, *, wait: bool) -> Answer | None:
        """Return the answer to the report that is underway; None when there is none, or none yet and not to `wait`.

        One that does not come within ANSWER_SECONDS is given up, whether somebody waits for it or not.
        """
        underway = self._underway
        if underway is None:
            return None
        if not wait and not underway.begun.is_answered():
            return self.give_up() if time.monotonic() > underway.until else None
        try:
            held = underway.begun.value()
        except StoreUnavailable:
            return self.give_up()
        except QueueingError:  # refused, as it would be again
            held = [False] * len(underway.outcomes)
        self._underway = None
        return Answer(underway.sent_at, underway.outcomes, held)

    def give_up(self) -> Answer | None:
        """Wait for no answer any more, over this connection; nobody knows whether a report that is underway arrived."""
        underway = self._underway
        self.close()
        if underway is None:
            return None
        self._failed_at = time.monotonic()
        return Answer(underway.sent_at, underway.outcomes, None)

    def close(self) -> None:
        """Close the connection."""
        self._underway = None
        self._broker.close()


def results_of(outcomes: Sequence[Outcome]) -> list[tuple[Claimed, bytes | None]]:
    """Return what an ack says of outcomes."""
    return [(outcome.lease.job, outcome.result) for outcome in outcomes]
