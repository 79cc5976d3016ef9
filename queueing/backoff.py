"""How long a failed job waits for its next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with full jitter.

    The delay before attempt n + 1 is drawn evenly from [0, min(max_ms, base_ms * 2**(n - 1))]: jobs that failed
    together do not come back together (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    base_ms: int = 2_000
    max_ms: int = 3_600_000

    def __post_init__(self) -> None:
        if not 0 <= self.base_ms <= self.max_ms:
            raise ValueError("backoff needs 0 <= base_ms <= max_ms")

    def ceiling_ms(self, attempt: int) -> int:
        """Return the longest delay after the failure of `attempt` (counted from 1)."""
        doublings = min(max(attempt, 1) - 1, 64)
        return min(self.max_ms, self.base_ms << doublings)

    def delay_ms(self, attempt: int, source: random.Random | None = None) -> int:
        """Draw the delay after the failure of `attempt` (counted from 1)."""
        draw = source.randint if source else random.randint
        return draw(0, self.ceiling_ms(attempt))
