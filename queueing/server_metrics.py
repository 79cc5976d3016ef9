"""What Prometheus may know of the database server, as it tells of itself (INFO)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis import Redis
from redis.exceptions import RedisError

from queueing import scripts


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of a single value, or one a queue: its name, what it says, and how it is read from its source."""

    name: str
    help: str
    read: Callable[[Any], float]


STORE_GAUGES = (
    Figure("jobapi_store_memory_used_bytes", "Memory the server uses.", lambda info: info["used_memory"]),
    Figure("jobapi_store_memory_max_bytes", "Memory it may use, 0 without a limit.", lambda info: info["maxmemory"]),
    Figure("jobapi_store_clients", "Clients connected.", lambda info: info["connected_clients"]),
    Figure("jobapi_store_clients_blocked", "Clients that wait for something.", lambda info: info["blocked_clients"]),
    Figure("jobapi_store_journal_enabled", "1 if the journal is on.", lambda info: float(info["aof_enabled"])),
    Figure(
        "jobapi_store_journal_last_write_ok",
        "1 unless the last write of the journal failed.",
        lambda info: float(info.get("aof_last_write_status", "ok") == "ok"),
    ),
    Figure("jobapi_store_journal_bytes", "Size of the journal.", lambda info: info.get("aof_current_size", 0)),
    Figure(
        "jobapi_store_last_save_ok",
        "1 unless the last snapshot, or the last rewrite of the journal, failed.",
        lambda info: float(info["rdb_last_bgsave_status"] == info["aof_last_bgrewrite_status"] == "ok"),
    ),
    Figure(
        "jobapi_store_last_save_timestamp_seconds",
        "When the last snapshot was taken, or else the server started.",
        lambda info: info["rdb_last_save_time"],
    ),
    Figure("jobapi_store_primary", "1 if the server is a primary.", lambda info: float(info["role"] == "master")),
    Figure("jobapi_store_replicas", "Replicas connected.", lambda info: info.get("connected_slaves", 0)),
    Figure(
        "jobapi_store_replica_lag_seconds",
        "How long ago the replica that is furthest behind was last heard of, 0 without one.",
        lambda info: max((replica["lag"] for replica in replicas(info)), default=0),
    ),
    Figure(
        "jobapi_store_replica_lag_bytes",
        "How far the replica that is furthest behind is, 0 without one.",
        lambda info: max((info["master_repl_offset"] - replica["offset"] for replica in replicas(info)), default=0),
    ),
    Figure("jobapi_store_uptime_seconds", "How long the server has run.", lambda info: info["uptime_in_seconds"]),
)

STORE_COUNTERS = (
    Figure("jobapi_store_commands", "Commands the server ran.", lambda info: info["total_commands_processed"]),
    Figure("jobapi_store_evicted_keys", "Keys it dropped for lack of memory.", lambda info: info["evicted_keys"]),
    Figure(
        "jobapi_store_rejected_connections",
        "Clients it refused because there were too many.",
        lambda info: info["rejected_connections"],
    ),
    Figure(
        "jobapi_store_journal_delayed_fsyncs",
        "Writes of the journal that the disk held up.",
        lambda info: info.get("aof_delayed_fsync", 0),
    ),
)


def families_of_store(info: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what is known of the database server."""
    for figure in STORE_GAUGES:
        yield GaugeMetricFamily(figure.name, figure.help, value=figure.read(info))
    for figure in STORE_COUNTERS:
        yield CounterMetricFamily(figure.name, figure.help, value=figure.read(info))


def replicas(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the server says of each replica that keeps up with it."""
    told = [info.get(f"slave{number}") for number in range(info.get("connected_slaves", 0))]
    return [replica for replica in told if replica and "lag" in replica]


def server_figures(client: Redis) -> dict[str, Any]:
    """Return what the server says of itself (INFO); raises StoreUnavailable."""
    try:
        return dict(client.info())
    except RedisError as error:
        raise scripts.translate(error) from error
