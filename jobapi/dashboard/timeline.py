"""The life of a job as a drawing: how long it waited, and how long each attempt ran."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from jobapi.dashboard import words
from queueing import Job, State

WIDTH = 600  # of the drawing, in its own units
LEAST = 6.0  # of a phase, so that it can be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in a job's life: it waits, or an attempt runs. `left` and `width` are of the drawing."""

    name: str  # waited, running, succeeded, failed, lost, cancelled, dead
    text: str
    left: float
    width: float


def phases_of(found: Job, now: datetime) -> list[Phase]:
    """Return the phases of a job in order. Widths grow with the logarithm of time: waits are longer than runs."""
    spans = [(name, text, math.log1p((seconds + 0.001) * 100)) for name, text, seconds in _spans(found, now)]
    scale = (WIDTH - LEAST * len(spans)) / sum(weight for *_, weight in spans) if spans else 0
    phases, left = [], 0.0
    for name, text, weight in spans:
        width = LEAST + weight * scale
        phases.append(Phase(name=name, text=text, left=round(left, 1), width=round(width, 1)))
        left += width
    return phases


def _spans(found: Job, now: datetime) -> list[tuple[str, str, float]]:
    spans: list[tuple[str, str, float]] = []
    since = found.created_at
    for attempt in found.attempts:
        waited = max((attempt.started_at - since).total_seconds(), 0)
        since = attempt.finished_at or now
        ran = max((since - attempt.started_at).total_seconds(), 0)
        spans.append(("waited", f"waited {lasted(waited)}", waited))
        spans.append(
            (attempt.outcome, f"attempt {attempt.number} {_OUTCOMES.get(attempt.outcome, 'ran')} {lasted(ran)}", ran)
        )
    end = found.finished_at or now
    rest = max((end - since).total_seconds(), 0)
    if found.state not in (State.RUNNING, State.SUCCEEDED, State.DEAD) and rest:
        waits = "waits" if not found.state.is_finished else "waited"
        spans.append(("waited", f"{waits} {lasted(rest)}", rest))
    return spans


_OUTCOMES = {
    "running": "has run for",
    "succeeded": "succeeded after",
    "failed": "failed after",
    "lost": "was lost after",
    "cancelled": "was cancelled after",
    "dead": "failed for good after",
}


def lasted(seconds: float) -> str:
    """Return a duration, in milliseconds when it is short."""
    return f"{max(seconds, 0) * 1000:.0f} ms" if seconds < 1 else words.age(seconds)
