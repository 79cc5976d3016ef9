"""Contestants in turn, round by round, each between two runs of the reference: what else a machine does meets all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.report import Progress

Figures = dict[str, float]


@dataclass(slots=True)
class Rounds:
    """What was measured, in the order in which it was."""

    reference: str
    log: list[tuple[str, Figures]] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the contestants, each once."""
        return list(dict.fromkeys(name for name, _ in self.log))

    def values(self, name: str, key: str) -> list[float]:
        """Return all figures of a contestant."""
        return [figures[key] for other, figures in self.log if other == name and key in figures]

    def median(self, name: str, key: str) -> float:
        """Return the median of a contestant's figures."""
        return statistics.median(self.values(name, key))

    def relative(self, name: str, key: str) -> list[float]:
        """Return a contestant's figures, each divided by the mean of the references just before and after it."""
        if name == self.reference:
            return [1.0 for _ in self.values(name, key)]
        return [
            figures[key] / statistics.fmean(self._neighbours(at, key))
            for at, (other, figures) in enumerate(self.log)
            if other == name and key in figures
        ]

    def ratio(self, name: str, against: str, key: str) -> float | None:
        """Return the median over the rounds of one contestant against another, both set off against the reference."""
        pairs = list(zip(self.relative(name, key), self.relative(against, key), strict=False))
        return statistics.median(mine / theirs for mine, theirs in pairs) if pairs else None

    def _neighbours(self, at: int, key: str) -> list[float]:
        before = [figures[key] for name, figures in self.log[:at] if name == self.reference]
        after = [figures[key] for name, figures in self.log[at:] if name == self.reference]
        return before[-1:] + after[:1]


def interleave(
    reference: str, others: Sequence[str], measure: Callable[[str], Figures], rounds: int, progress: Progress
) -> Rounds:
    """Measure all in turn, the order of a round being the opposite of the one before."""
    result = Rounds(reference)
    turns = rounds * (2 * len(others)) + 1
    for n in range(rounds):
        for name in others if n % 2 == 0 else reversed(others):
            for who in (reference, name):
                progress.show(len(result.log), turns, who)
                result.log.append((who, measure(who)))
    progress.show(turns - 1, turns, reference)
    result.log.append((reference, measure(reference)))
    progress.show(turns, turns, "")
    return result
