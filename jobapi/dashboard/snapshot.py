"""What the pages show, read from the database once for all: one snapshot a second serves every open tab and user.

Whoever first asks after a snapshot has had its time takes the turn to make the next one; the others get the last one
meanwhile. The turn is a key that ends by itself, so one who dies with it holds nobody up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from django.core.cache import caches

from jobapi.schemas import is_live
from queueing import QueueHistory, QueueStats, Run, WaitingAges, WorkerRecord
from queueing.conf import get_inspector, known_queues

FRESH_MS = 1_000
HISTORY_FRESH_MS = 15_000  # a day of minutes is much to read, and shows no second
KEPT_MS = 10_000  # beyond its time, for those who come while the next one is made
LOOKS, LOOK_SECONDS = 20, 0.05  # for the first one, that somebody else is making
RECENT_MINUTES = 61  # one hour, and the minute that runs

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The figures of all queues at about one instant; `history` has the last hour."""

    at: datetime
    stats: tuple[QueueStats, ...]
    ages: tuple[WaitingAges, ...]
    history: tuple[QueueHistory, ...]
    runs: tuple[Run, ...]

    def live_workers(self, queue: str | None = None) -> list[WorkerRecord]:
        """Return the workers that gave a sign of life a short time ago, each once; of one queue or of all."""
        found = {
            worker.id: worker
            for stats in self.stats
            for worker in stats.workers
            if queue in (None, stats.queue) and is_live(worker, stats.at)
        }
        return [found[name] for name in sorted(found)]


def take() -> Snapshot:
    """Return the snapshot of this second; raises StoreUnavailable."""
    return shared("figures", Snapshot, _read, fresh_ms=FRESH_MS)


def history(minutes: int) -> list[QueueHistory]:
    """Return the history of all queues over more than an hour; raises StoreUnavailable."""
    return shared(
        f"history:{minutes}",
        list[QueueHistory],
        lambda: get_inspector().history(known_queues(), minutes),
        fresh_ms=HISTORY_FRESH_MS,
    )


def forget() -> None:
    """Let the next page show what was just changed."""
    _Slot("figures", FRESH_MS).end_turn()


def _read() -> Snapshot:
    inspector, queues = get_inspector(), known_queues()
    stats = inspector.stats_of(queues)
    return Snapshot(
        at=max((figures.at for figures in stats), default=datetime.now(UTC)),
        stats=tuple(stats),
        ages=tuple(inspector.ages(queues)),
        history=tuple(inspector.history(queues, RECENT_MINUTES)),
        runs=tuple(inspector.runs(queues)),
    )


def shared(name: str, kind: Any, read: Callable[[], T], *, fresh_ms: int) -> T:
    """Return what `read` gave to whoever had the turn last, or have the turn."""
    slot = _Slot(name, fresh_ms)
    for _ in range(LOOKS):
        has_turn, stored = slot.look()
        if has_turn:
            break
        found = _decode(stored, kind)
        if found is not None:
            return found  # type: ignore[no-any-return]
        time.sleep(LOOK_SECONDS)
    value = read()
    slot.keep(msgspec.json.encode(value))
    return value


def _decode(stored: bytes | None, kind: Any) -> Any:
    """Return what is stored; None when there is nothing, or another release has stored it in its own way."""
    try:
        return msgspec.json.decode(stored, type=kind) if stored else None
    except msgspec.MsgspecError:
        return None


class _Slot:
    """Where one snapshot is kept, and the turn to make the next. A cache that fails is as one that holds nothing."""

    def __init__(self, name: str, fresh_ms: int) -> None:
        cache: Any = caches["default"]
        self._key = cache.make_key(f"snapshot:{name}:{','.join(known_queues())}")
        self._client = cache.client
        self._fresh_ms = fresh_ms

    def look(self) -> tuple[bool, bytes | None]:
        """Return whether it is our turn now, and what is stored."""

        def ask(client: Any) -> tuple[bool, bytes | None]:
            pipeline = client.pipeline(transaction=False)
            taken, stored = pipeline.set(f"{self._key}:turn", 1, nx=True, px=self._fresh_ms).get(self._key).execute()
            return bool(taken), stored

        return self._try(ask) or (True, None)

    def keep(self, value: bytes) -> None:
        """Store a snapshot."""
        self._try(lambda client: client.set(self._key, value, px=self._fresh_ms + KEPT_MS))

    def end_turn(self) -> None:
        """Let the next one who looks have the turn."""
        self._try(lambda client: client.delete(f"{self._key}:turn"))

    def _try(self, ask: Callable[[Any], T]) -> T | None:
        try:
            return ask(self._client.get_client(write=True))
        except Exception:  # noqa: BLE001 - whatever hinders the sharing must not hinder the page
            return None
