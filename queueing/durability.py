"""How safely a job is stored before its submission is answered."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from queueing import scripts
from queueing.errors import DurabilityNotMet, StoreFull
from queueing.links import Link

MEMORY_SHARE = 0.8  # of maxmemory, beyond which nothing new is accepted: the rest is for finishing what is there
CHECK_SECONDS = 1.0  # how old a reading of the server may be
WAIT_MS = 500  # for replicas; with the other limits below the 2 s in which the API must have answered


class Durability(enum.StrEnum):
    """What a stored job survives."""

    # A killed server, unless an fsync was running: meanwhile it holds back what it writes, up to 2 s, and answers. A
    # power cut but for the last second or two (appendfsync everysec)
    ACCEPTED = "accepted"
    FSYNCED = "fsynced"  # a power cut (appendfsync always)
    REPLICATED = "replicated"  # the loss of the primary, if a replica that has it takes over


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    read_at: float
    used_share: float
    fsync: str


class ServerReadings:
    """What submissions need to know of the server that has their queue, read at most once a second."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._readings: dict[str, _Reading] = {}  # by server

    def refuse_when_full(self, queue: str) -> None:
        """Raise StoreFull while more than MEMORY_SHARE of the server's memory limit is used."""
        share = self._reading(queue).used_share
        if share > MEMORY_SHARE:
            raise StoreFull(f"{share:.0%} of the database's memory is used")

    def require_fsync(self, queue: str) -> None:
        """Raise DurabilityNotMet unless the server writes its journal to the disk before it answers.

        WAITAOF is no proof: Valkey 9.1 answers it before the write under `appendfsync everysec`.
        """
        fsync = self._reading(queue).fsync
        if fsync != "always":
            raise DurabilityNotMet(Durability.FSYNCED, f"the server's appendfsync is {fsync or 'not readable'}")

    def _reading(self, queue: str) -> _Reading:
        try:
            server = self._link.server_of(queue)
            known = self._readings.get(server)
            if known is not None and time.monotonic() - known.read_at < CHECK_SECONDS:
                return known
            asked = [("INFO", "memory"), ("CONFIG", "GET", "appendfsync")]
            info, config = self._link.execute_many(asked, [queue] * 2)
        except RedisError as error:
            raise scripts.translate(error) from error
        reading = _Reading(read_at=time.monotonic(), used_share=_used_share(info), fsync=_value_of(config))
        self._readings[server] = reading
        return reading


def _used_share(info: Any) -> float:
    """Return the used share of maxmemory, 0 where there is no limit or no permission to ask."""
    fields = dict(info) if isinstance(info, dict) else _lines(info)
    used, limit = int(fields.get("used_memory", 0)), int(fields.get("maxmemory", 0))
    return used / limit if limit else 0.0


def _lines(text: Any) -> dict[str, str]:
    if not isinstance(text, bytes):
        return {}
    pairs = (line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _value_of(config: Any) -> str:
    """Return the value in the reply to CONFIG GET, '' where the user may not ask."""
    if isinstance(config, dict):
        values = list(config.values())
    else:
        values = list(config[1:2]) if isinstance(config, list) else []
    return (values[0].decode() if isinstance(values[0], bytes) else str(values[0])) if values else ""
