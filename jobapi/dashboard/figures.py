"""The figures of queues as the pages put them: windows of time, rates, waiting times, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobapi.dashboard import snapshot
from jobapi.dashboard.charts import Chart, Line, line_chart
from jobapi.dashboard.schedules import schedules_of
from jobapi.dashboard.snapshot import Snapshot
from jobapi.dashboard.words import age, many, short
from queueing import WAIT_BOUNDS_SECONDS, QueueHistory, QueueStats, State

WAITS = tuple(f"wait_{n}" for n in range(len(WAIT_BOUNDS_SECONDS) + 1))


@dataclass(frozen=True, slots=True)
class Window:
    """How far back charts go, and how many minutes one of their points stands for."""

    name: str
    words: str
    minutes: int
    step: int


WINDOWS = {
    window.name: window
    for window in (Window("1h", "hour", 60, 1), Window("6h", "6 hours", 360, 5), Window("24h", "24 hours", 1425, 15))
}
HOUR = WINDOWS["1h"]


def window_of(name: str | None) -> Window:
    """Return the window that an address asks for, an hour unless it names one."""
    return WINDOWS.get(name or "", HOUR)


class Past:
    """What some queues did in a window, all together; the minute that runs is left out."""

    def __init__(self, window: Window, histories: Sequence[QueueHistory]) -> None:
        self.window = window
        self._histories = histories

    @classmethod
    def of(cls, window: Window, snap: Snapshot, queue: str | None = None) -> Past:
        """Return the past of one queue or of all; that of the last hour is in the snapshot."""
        found = snap.history if window is HOUR else snapshot.history(min(window.minutes + 1, 1440))
        return cls(window, [each for each in found if queue in (None, each.queue)])

    def series(self, name: str) -> list[int]:
        """Return how often something happened in each step of the window."""
        size, step = self.window.minutes, self.window.step
        minutes = [sum(figures) for figures in zip(*(each.series[name] for each in self._histories), strict=True)]
        full = ([0] * size + minutes[:-1])[-size:]
        return [sum(full[start : start + step]) for start in range(0, size, step)]

    def total(self, name: str) -> int:
        """Return how often something happened in all of it."""
        return sum(self.series(name))

    def moments(self) -> list[datetime]:
        """Return when each step began."""
        window = self.window
        ends = [each.first_minute + len(each.series["started"]) - 1 for each in self._histories]
        first = (ends[0] if ends else 0) - window.minutes
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=first)
        return [start + timedelta(minutes=place) for place in range(0, window.minutes, window.step)]

    def waits(self, share: float) -> list[float | None]:
        """Return for each step within which time that share of the jobs were started; None where none was."""
        columns = zip(*(self.series(name) for name in WAITS), strict=True)
        return [quantile(column, WAIT_BOUNDS_SECONDS, share) for column in columns]

    def failed_share(self) -> float | None:
        """Return which share of the attempts failed, None when none ended."""
        failed = self.total("failed")
        ended = failed + self.total("succeeded")
        return failed / ended if ended else None


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Estimate a quantile from a histogram, evenly spread in each bucket; beyond the last bound it is that bound."""
    wanted, seen, low = share * sum(counts), 0, 0.0
    if not wanted:
        return None
    for count, high in zip(counts, bounds, strict=False):
        if count and seen + count >= wanted:
            return low + (high - low) * (wanted - seen) / count
        seen, low = seen + count, high
    return float(bounds[-1])


def throughput(past: Past) -> Chart:
    """Draw how many attempts succeeded and failed a minute."""
    step = past.window.step
    rates = {name: [count / step for count in past.series(name)] for name in ("succeeded", "failed")}
    lines = [Line(name=name, look=name, values=values) for name, values in rates.items()]
    summary = (
        f"In the last {past.window.words} {many(past.total('succeeded'), 'attempt')} succeeded and "
        f"{past.total('failed'):,} failed; the most in one minute were {short(max(rates['succeeded']))}."
    )
    return line_chart("Attempts a minute", past.moments(), lines, show=short, summary=summary)


def waiting(past: Past) -> Chart:
    """Draw how long jobs waited for their first attempt."""
    half, most = past.waits(0.5), past.waits(0.95)
    lines = [Line(name="95 % within", look="most", values=most), Line(name="half within", look="half", values=half)]
    started = past.total("started")
    longest = max((value for value in most if value is not None), default=0.0)
    summary = (
        f"In the last {past.window.words} {many(started, 'job')} began; "
        f"95 % of them waited {age(longest)} at most, in the slowest moment."
        if started
        else f"No job began in the last {past.window.words}."
    )
    return line_chart("Wait until the first attempt", past.moments(), lines, show=age, summary=summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that a person should do something about: `level` is bad or warn."""

    level: str
    queue: str
    text: str
    advice: str


BUSY_MINUTES = 5


def alarms(snap: Snapshot, target_seconds: float) -> list[Alarm]:
    """Return what is wrong with queues; one that is paused stands still on purpose."""
    found = []
    for stats, history in zip(snap.stats, snap.history, strict=True):
        if stats.counts[State.READY] and not stats.paused:
            late = (stats.oldest_ready_age_seconds or 0) > target_seconds
            alarm = _unserved(snap, stats) or (_starving(stats, history, target_seconds) if late else None)
            found += [alarm] if alarm else []
    return sorted(found, key=lambda alarm: alarm.level)


def _unserved(snap: Snapshot, stats: QueueStats) -> Alarm | None:
    """Return the alarm of a queue that nobody consumes, nor is going to as far as its past runs tell."""
    if snap.live_workers(stats.queue):
        return None
    schedules = [schedule for schedule in schedules_of(snap) if stats.queue in schedule.queues]
    if any(schedule.state == "on time" for schedule in schedules):
        return None
    return Alarm(
        level="bad",
        queue=stats.queue,
        text=f"Nothing consumes {stats.queue}: {many(stats.counts[State.READY], 'job')} ready.",
        advice="A run that was expected is missing; look at the timer or cron that starts it."
        if any(schedule.state == "missed" for schedule in schedules)
        else "See that a worker runs, serves this queue and uses this database.",
    )


def _starving(stats: QueueStats, history: QueueHistory, target_seconds: float) -> Alarm:
    """Return the alarm of a queue whose oldest job waits too long: newer ones overtake it, or none is begun at all."""
    begun = sum(history.series["started"][-BUSY_MINUTES:])
    oldest = age(stats.oldest_ready_age_seconds)
    overtaken = f"while {many(begun, 'newer job')} began in the last {BUSY_MINUTES} minutes (newest first)."
    return Alarm(
        level="warn",
        queue=stats.queue,
        text=f"The oldest job of {stats.queue} has waited {oldest}, the target is {age(target_seconds)}, "
        + (overtaken if begun else f"and none began in the last {BUSY_MINUTES} minutes."),
        advice="Add workers, or let each n-th claim take the oldest job (fair_every)."
        if begun
        else "Its workers are busy with long jobs or with other queues: see what they run.",
    )
