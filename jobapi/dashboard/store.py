"""The database server: its memory, its journal, its replicas, and what the doctor finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from jobapi.dashboard.charts import bar
from jobapi.dashboard.frame import live_page
from jobapi.dashboard.words import age, size
from queueing.audit import check_server
from queueing.conf import get_store
from queueing.server_metrics import server_figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How much of its memory a server uses; `share` is of 100, None when it has no limit."""

    used: str
    most: str
    share: float | None
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What one server says of itself; its name is `` unless it is one of a cluster."""

    name: str
    memory: Memory
    groups: list[tuple[str, list[tuple[str, str]]]]


def store(request: HttpRequest) -> HttpResponse:
    """Show what the server, or each primary of a cluster, says of itself."""
    client = get_store()
    context = {
        "title": "Store",
        "now": datetime.now(UTC),
        "findings": check_server(client, volatile_allowed=settings.ALLOW_VOLATILE),
        "servers": [
            Server(name=name, memory=memory_of(info), groups=groups_of(info))
            for name, info in server_figures(client).items()
        ],
    }
    return live_page(request, "dashboard/store.html", context)


def memory_of(info: Mapping[str, Any]) -> Memory:
    """Return how full the server is."""
    used, most = info["used_memory"], info["maxmemory"]
    share = round(100 * used / most, 1) if most else None
    return Memory(used=size(used), most=size(most) if most else "no limit", share=share, width=bar(used, most))


def groups_of(info: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the figures that people ask for, by what they are about."""
    return [
        ("Server", _server(info)),
        ("Journal and snapshots", _journal(info)),
        ("Replication", _replication(info)),
        ("Load", _load(info)),
    ]


def _server(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    name = "valkey" if "valkey_version" in info else "redis"
    return [
        ("Version", f"{name} {info[f'{name}_version']}"),
        ("Running for", age(info["uptime_in_seconds"])),
        ("Clients", f"{info['connected_clients']:,}"),
        ("Clients that wait", f"{info['blocked_clients']:,}"),
        ("Keys", f"{sum(value['keys'] for key, value in info.items() if key.startswith('db')):,}"),
    ]


def _journal(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    saved_at = datetime.fromtimestamp(info["rdb_last_save_time"], UTC)
    return [
        ("Journal", "on" if info["aof_enabled"] else "off"),
        ("Last write of the journal", info.get("aof_last_write_status", "-")),
        ("Size of the journal", size(info["aof_current_size"]) if "aof_current_size" in info else "-"),
        ("Last rewrite", info.get("aof_last_bgrewrite_status", "-")),
        ("Last snapshot", f"{saved_at:%Y-%m-%d %H:%M:%S %Z}, {info['rdb_last_bgsave_status']}"),
        ("Changes since", f"{info['rdb_changes_since_last_save']:,}"),
    ]


def _replication(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    replicas = [info[f"slave{n}"] for n in range(info["connected_slaves"]) if f"slave{n}" in info]
    behind = [info["master_repl_offset"] - replica["offset"] for replica in replicas]
    return [
        ("Role", "primary" if info["role"] == "master" else "replica"),
        ("Replicas", f"{info['connected_slaves']:,}"),
        *((f"Replica {n} is behind by", size(lag)) for n, lag in enumerate(behind, start=1)),
    ]


def _load(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Commands a second", f"{info['instantaneous_ops_per_sec']:,}"),
        ("Evicted keys", f"{info['evicted_keys']:,}"),
        ("Refused connections", f"{info['rejected_connections']:,}"),
        ("Memory policy", str(info["maxmemory_policy"])),
        ("Fragmentation of memory", f"{info['mem_fragmentation_ratio']}"),
    ]
