"""The server's clock, distrusted: leases end by it, so a jump of it must not end them all."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from queueing.broker import LONGEST_LEASE_MS

logger = logging.getLogger(__name__)

SLACK_MS = 2_000  # a jump by less is none, nor by less than a quarter of a lease: a live one has half of it left


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The leases that are over by the server's clock, by when they end, and the longest that a lease may have left."""

    from_ms: int
    to_ms: int
    longest_ms: int


@dataclass(slots=True)
class LeaseWatch:
    """Tells the leases of the dead from those that a jump of the server's clock has passed, for one queue.

    A lease is over when it ran out since the last look, by a clock that has not jumped for the time of a lease. Any
    other that seems to have run out may be of a worker that lives and will extend it; the jump may even lie before
    this process's first look. Such a lease is over when it stays as it is for the time of a lease by our own clock.
    After a jump back the leases of the dead end too late, and are cut to the length that a lease has here: the workers
    of a queue are to agree on it.
    """

    lease_ms: int
    _ahead_ms: tuple[int, int] | None = None  # bounds of how far the server's clock is ahead of ours
    _server_ms: int = 0
    _from_ms: int = 0
    _longest_ms: int = LONGEST_LEASE_MS
    _unchanged_since_ms: dict[float, int] = field(default_factory=dict)

    def look(self, server_ms: int, asked_ms: int, answered_ms: int) -> Window:
        """Note the server's clock, which was read between two moments of ours; returns what may be reaped by it."""
        before, now = self._ahead_ms, (server_ms - answered_ms, server_ms - asked_ms)
        slack_ms = min(SLACK_MS, self.lease_ms // 4)
        if before is None:
            self._from_ms = server_ms + self.lease_ms
        elif now[0] > before[1] + slack_ms or now[1] < before[0] - slack_ms:
            self._note_jump(server_ms, now[0] - before[0])
        self._ahead_ms, self._server_ms = now, server_ms
        return Window(from_ms=self._from_ms, to_ms=server_ms, longest_ms=self._longest_ms)

    def _note_jump(self, server_ms: int, by_ms: int) -> None:
        logger.warning("the database server's clock jumped by %+.1f s", by_ms / 1000, extra={"action": "clock_jump"})
        self._from_ms = server_ms + self.lease_ms
        self._longest_ms = self.lease_ms if by_ms < 0 else LONGEST_LEASE_MS

    def note_reaped(self, window: Window) -> None:
        """Note that nothing of the window is left: what ends in it from now on was put there by another clock."""
        self._from_ms = max(self._from_ms, window.to_ms + 1)
        self._longest_ms = LONGEST_LEASE_MS

    def over(self, ends_ms: Iterable[float], now_ms: int) -> list[float]:
        """Note the leases that end before the window, and return those that have not changed for long enough."""
        since = self._unchanged_since_ms
        self._unchanged_since_ms = {ends: since.get(ends, now_ms) for ends in ends_ms}
        return [ends for ends, at in self._unchanged_since_ms.items() if now_ms - at >= self.lease_ms]

    @property
    def is_waiting(self) -> bool:
        """Whether leases seem to have run out that may not be over."""
        return any(ends <= self._server_ms for ends in self._unchanged_since_ms)
