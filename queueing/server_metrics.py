"""What Prometheus may know of the database server, as it tells of itself (INFO)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis.exceptions import RedisError

from queueing import scripts
from queueing.connections import Client, primaries


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


def families_of_store(servers: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield what is known of the database server; those of a cluster are told apart by the label `node`."""
    labels = [] if "" in servers else ["node"]
    for kind, figures in ((GaugeMetricFamily, STORE_GAUGES), (CounterMetricFamily, STORE_COUNTERS)):
        for figure in figures:
            family = kind(figure.name, figure.help, labels=labels)
            for name, info in servers.items():
                family.add_metric([name] if labels else [], figure.read(info))
            yield family


def replicas(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the server says of each replica that follows it: one that a snapshot is made for does not yet."""
    told = [info.get(f"slave{number}") for number in range(info.get("connected_slaves", 0))]
    return [replica for replica in told if replica and "lag" in replica and replica.get("state") == "online"]


def server_figures(client: Client) -> dict[str, dict[str, Any]]:
    """Return what each primary says of itself (INFO), by its name, `` unless it is one of a cluster.

    Raises StoreUnavailable.
    """
    try:
        return {name: dict(server.info()) for name, server in primaries(client).items()}
    except RedisError as error:
        raise scripts.translate(error) from error
