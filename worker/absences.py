"""Queues that cannot be reached: since when, and when to try them again."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0  # claiming again well within 5 s of the database being back


@dataclass(slots=True)
class _Absence:
    since: float
    retry_at: float
    failures: int


class Absences:
    """What a consumer knows of queues it cannot reach. Where one server has all queues, all are away or none.

    Queues that are `apart`, on servers of a cluster, come and go one by one: those that are there do not wait for the
    others. Moments are monotonic seconds.
    """

    def __init__(self, queues: Sequence[str], *, apart: bool) -> None:
        self._queues = list(queues)
        self._apart = apart
        self._away: dict[str, _Absence] = {}
        self._noted: set[str] = set()

    def _place(self, queue: str) -> str:
        return queue if self._apart else ""

    def note(self, queue: str, took_seconds: float = 0.0) -> int:
        """Note that a queue cannot be reached; returns in how many turns running that was so, 0 once noted in this.

        Where others wait for the next try, it comes no sooner than after as long as this one took.
        """
        place = self._place(queue)
        if place in self._noted:
            return 0
        self._noted.add(place)
        now, before = time.monotonic(), self._away.get(place)
        failures = before.failures + 1 if before else 1
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures, 10))
        pause *= random.uniform(0.5, 1)  # noqa: S311 - jitter
        self._away[place] = _Absence(
            since=before.since if before else now,
            retry_at=now + (max(pause, took_seconds) if self._apart else pause),
            failures=failures,
        )
        return failures

    def clear(self, queue: str) -> None:
        """Note that a queue answers, unless it was noted in this turn that it does not."""
        if self._away and (place := self._place(queue)) not in self._noted:
            self._away.pop(place, None)

    def begin_turn(self) -> list[str]:
        """Return the queues to ask now, in their order: those within reach, and those to be tried again; never none."""
        self._noted.clear()
        if not self._away or not self._apart:
            return self._queues
        now = time.monotonic()
        due = [queue for queue in self._queues if queue not in self._away or self._away[queue].retry_at <= now]
        return due or [min(self._queues, key=lambda queue: self._away[queue].retry_at)]

    @property
    def are_all(self) -> bool:
        """Whether no queue can be reached."""
        return len(self._away) == (len(self._queues) if self._apart else 1)

    @property
    def since(self) -> float | None:
        """Since when a queue has been away, the first of those that are; None when none is."""
        return min((absence.since for absence in self._away.values()), default=None)

    def pause_seconds(self) -> float:
        """Return how long to wait for the next try; infinity when no queue is away."""
        next_try = min((absence.retry_at for absence in self._away.values()), default=float("inf"))
        return max(0.0, next_try - time.monotonic())
