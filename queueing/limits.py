"""What a queue allows and assumes: set by `Broker.configure`, kept with the queue, applied by the scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from queueing.errors import InvalidLimit
from queueing.jobs import DEFAULT_MAX_ATTEMPTS, FINISHED_STATES, MAX_ATTEMPTS, MAX_TIMEOUT_SECONDS, State

OVERFLOWS = ("reject", "drop_oldest")

MAX_FAIR_EVERY = 1_000_000
MAX_MAX_DEPTH = 1_000_000_000
MAX_KEEP_MS = 10 * 366 * 86_400_000
MAX_KEEP_COUNT = 1_000_000_000

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished jobs of a state are kept, and how many of them at most."""

    keep_ms: int
    keep_count: int


DEFAULT_RETENTION: Mapping[State, Retention] = MappingProxyType(
    {
        State.SUCCEEDED: Retention(keep_ms=_DAY_MS, keep_count=10_000),
        State.DEAD: Retention(keep_ms=14 * _DAY_MS, keep_count=100_000),
        State.CANCELLED: Retention(keep_ms=_DAY_MS, keep_count=10_000),
        State.EXPIRED: Retention(keep_ms=_DAY_MS, keep_count=10_000),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one queue.

    Each `fair_every`-th claim takes the oldest job (0, the default, is strict LIFO). At most `max_depth` jobs wait,
    ready, scheduled and retrying together (0, the default, is any number); when they do, `overflow` `reject` (the
    default) refuses a new one, `drop_oldest` expires the oldest ready one. `max_attempts` and `timeout_ms` (0: none)
    hold for jobs that name none. `retention` has the finished states.
    """

    fair_every: int = 0
    max_depth: int = 0
    overflow: str = "reject"
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    timeout_ms: int = 0
    retention: Mapping[State, Retention] = field(default_factory=lambda: dict(DEFAULT_RETENTION))

    @classmethod
    def from_meta(cls, meta: Mapping[str, str]) -> Limits:
        """Read what a queue keeps of its limits; what it does not name has the default."""
        numbers = {name: int(meta[name]) for name in _RANGES if name in meta}
        return cls(**numbers, overflow=meta.get("overflow", "reject"), retention=_retention_from(meta))


_RANGES = {
    "fair_every": (0, MAX_FAIR_EVERY),
    "max_depth": (0, MAX_MAX_DEPTH),
    "max_attempts": (1, MAX_ATTEMPTS),
    "timeout_ms": (0, MAX_TIMEOUT_SECONDS * 1000),
}


def limits_to_meta(
    numbers: Mapping[str, int | None], overflow: str | None, retention: Mapping[State, Retention]
) -> dict[str, str | int]:
    """Return the limits that are given as the queue keeps them; raises InvalidLimit."""
    pairs: dict[str, str | int] = {name: number for name, number in numbers.items() if number is not None}
    for name, number in pairs.items():
        _check(name, int(number), *_RANGES[name])
    if overflow is not None:
        if overflow not in OVERFLOWS:
            raise InvalidLimit("overflow", f"must be one of {', '.join(OVERFLOWS)}")
        pairs["overflow"] = overflow
    return pairs | dict(_retention_to_meta(retention))


def _retention_to_meta(retention: Mapping[State, Retention]) -> Iterator[tuple[str, int]]:
    for state, kept in retention.items():
        if state not in FINISHED_STATES:
            raise InvalidLimit("retention", f"{state} is no finished state")
        _check(f"retention.{state}.keep_ms", kept.keep_ms, 0, MAX_KEEP_MS)
        _check(f"retention.{state}.keep_count", kept.keep_count, 0, MAX_KEEP_COUNT)
        yield f"keep_{state}_ms", kept.keep_ms
        yield f"keep_{state}_count", kept.keep_count


def _retention_from(meta: Mapping[str, str]) -> dict[State, Retention]:
    return {
        state: Retention(
            keep_ms=int(meta.get(f"keep_{state}_ms", usual.keep_ms)),
            keep_count=int(meta.get(f"keep_{state}_count", usual.keep_count)),
        )
        for state, usual in DEFAULT_RETENTION.items()
    }


def _check(name: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise InvalidLimit(name, f"must lie between {least:,} and {most:,}")
