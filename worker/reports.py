"""Reports that travel while the next jobs begin."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from queueing import Begun, Broker, Claimed, QueueingError, StoreUnavailable
from worker.outcomes import Outcome


class Answer(msgspec.Struct, frozen=True):
    """What became of a report sent at `sent_at` (s since 1970).

    `held` says of each outcome whether its lease was; None: nobody knows.
    """

    sent_at: float
    outcomes: Sequence[Outcome]
    held: Sequence[bool] | None


class Reports:
    """Sends outcomes of attempts that succeeded, one batch at a time, over a connection of its own.

    A worker sends one behind its claim and asks what became of it with the next: the database then works on the report
    while the worker runs what was claimed.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._underway: tuple[float, Sequence[Outcome], Begun] | None = None

    @property
    def is_underway(self) -> bool:
        """Whether a report was sent whose answer was not heard yet."""
        return self._underway is not None

    def send(self, outcomes: Sequence[Outcome]) -> bool:
        """Report attempts of one queue, none being underway; returns False when that could not be sent."""
        step = self._broker.ack_step(outcomes[0].lease.job.queue, results_of(outcomes))
        try:
            self._underway = time.time(), outcomes, self._broker.begin(step)
        except QueueingError:  # the consumer's own call meets that as well, and says so
            return False
        return True

    def hear(self, *, wait: bool) -> Answer | None:
        """Return the answer to the report that is underway; None when there is none, or none yet and not to `wait`."""
        if self._underway is None:
            return None
        sent_at, outcomes, begun = self._underway
        if not (wait or begun.is_answered()):
            return None
        self._underway = None
        try:
            return Answer(sent_at, outcomes, begun.value())
        except StoreUnavailable:
            return Answer(sent_at, outcomes, None)
        except QueueingError:  # refused, as it would be again
            return Answer(sent_at, outcomes, [False] * len(outcomes))

    def give_up(self) -> Answer | None:
        """Wait for no answer any more: nobody knows whether the report that is underway arrived."""
        if self._underway is None:
            return None
        sent_at, outcomes, _begun = self._underway
        self.close()
        return Answer(sent_at, outcomes, None)

    def close(self) -> None:
        """Close the connection."""
        self._underway = None
        self._broker.close()


def results_of(outcomes: Sequence[Outcome]) -> list[tuple[Claimed, bytes | None]]:
    """Return what an ack says of outcomes."""
    return [(outcome.lease.job, outcome.result) for outcome in outcomes]
