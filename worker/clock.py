"""The server's clock, distrusted: leases end by it, so a jump of it must not end them all."""

from __future__ import annotations

from dataclasses import dataclass

SLACK_MS = 2_000  # what a slow round trip or a busy machine may add without being a jump
DRIFT = 0.05


@dataclass(slots=True)
class ClockGuard:
    """Compares the server's clock with this process's monotonic one.

    After a jump, forward or back, nothing is reaped for the time of a lease: every live worker extends its leases
    meanwhile, and so puts them on the new clock. A dead worker's jobs wait that much longer.
    """

    hold_ms: int
    _server_ms: int | None = None
    _monotonic_ms: int = 0
    _held_until_ms: int = 0

    def latest_ms(self, server_ms: int, monotonic_ms: int) -> int | None:
        """Note both clocks, read together, and return the latest server time at which reaping is safe now.

        None while reaping is held after a jump.
        """
        if self._server_ms is not None:
            passed = monotonic_ms - self._monotonic_ms
            jump = abs(server_ms - self._server_ms - passed)
            if jump > max(SLACK_MS, passed * DRIFT):
                self._held_until_ms = monotonic_ms + self.hold_ms
        self._server_ms, self._monotonic_ms = server_ms, monotonic_ms
        return None if monotonic_ms < self._held_until_ms else server_ms + SLACK_MS
