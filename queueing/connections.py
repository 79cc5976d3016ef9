"""Clients of the database: bounded in time, and never sending a command twice by themselves.

A URL names one server (redis://, rediss://, unix://), the Sentinels that know which server is the primary
(redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB), or some servers of a cluster (redis+cluster://HOST:PORT,HOST:PORT).
With `rediss+...` all of them speak TLS. What follows a `?` is for redis-py: `ssl_ca_certs`, `ssl_certfile`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel

from queueing.cluster import Cluster, ClusterLink
from queueing.links import HeldLink, Link, PooledLink, nothing

CONNECT_TIMEOUT_SECONDS = 0.5
SOCKET_TIMEOUT_SECONDS = 1.0  # with the connect timeout below the 2 s in which the API must have answered
HELD_TIMEOUT_SECONDS = 2.0  # a worker whose connection is dead must claim within 5 s of the database being back
SENTINELS_SECONDS = 0.75  # to ask all Sentinels in turn, before each new connection, when none can be reached

Client = Redis | RedisCluster | Cluster
"""What a broker can work with; threads may share it."""

_PORTS = {"sentinel": 26379, "cluster": 6379}
_SCHEMES = ("redis", "rediss", "unix", *(f"{transport}+{kind}" for kind in _PORTS for transport in ("redis", "rediss")))


def plain() -> dict[str, Any]:
    """Return what keeps redis-py from doing more than it is told.

    Its own retries are off: it would send a command again whose reply was lost, and a job twice. So are three round
    trips of a new connection, each of which a slow server may draw out, and the notifications of maintenance, at
    which it would wait ten seconds for a reply.
    """
    return {
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def options(
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS, connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Return what every connection is made with."""
    return {
        "socket_connect_timeout": connect_timeout_seconds,
        "socket_timeout": socket_timeout_seconds,
        "decode_responses": False,
        **plain(),
    }


def connect(
    url: str,
    *,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> Redis:
    """Return a client with a pool of its own for the one server, or the primary behind Sentinels, of a URL.

    Raises ValueError for a URL that names something else, or nothing.
    """
    told = options(socket_timeout_seconds, connect_timeout_seconds)
    kind = kind_of(url)
    if kind == "sentinel":
        return _behind_sentinels(_Several.parse(url), told)
    if kind == "cluster":
        raise ValueError("a cluster is no single server")
    return Redis.from_url(url, **told)


def meet_cluster(
    url: str,
    *,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> Cluster:
    """Return the cluster of a redis+cluster:// URL, which need not be reachable yet; raises ValueError."""
    told = options(socket_timeout_seconds, connect_timeout_seconds)
    several = _Several.parse(url)
    if several.path not in ("", "/", "/0") or "db" in several.options:
        raise ValueError("a cluster has no databases to choose from, and no service")

    def meet(host: str, port: int) -> RedisCluster:
        node = ClusterNode(host, port)  # type: ignore[no-untyped-call]
        # Of a cluster that has lost a shard the others serve on
        return RedisCluster(startup_nodes=[node], require_full_coverage=False, **{**told, **several.options})

    return Cluster([partial(meet, *address) for address in several.addresses], meeting_seconds=socket_timeout_seconds)


def kind_of(url: str) -> str:
    """Return what a URL names: `sentinel`, `cluster`, or `` for one server. Raises ValueError."""
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES:
        raise ValueError(f"{scheme!r} is no scheme of a database URL, which are {', '.join(_SCHEMES)}")
    return scheme.partition("+")[2]


def link_to(client: Client) -> Link:
    """Return a link that threads may share."""
    if isinstance(client, Redis):
        return PooledLink(client)
    return ClusterLink(cluster_of(client), PooledLink)


def held_link_to(client: Client, socket_timeout_seconds: float, meanwhile: Callable[[], object] = nothing) -> Link:
    """Return a link for one thread, over a connection of its own to each server."""

    def link_to(server: Redis) -> Link:
        return HeldLink(server.connection_pool, socket_timeout_seconds, meanwhile)

    return link_to(client) if isinstance(client, Redis) else ClusterLink(cluster_of(client), link_to)


def cluster_of(client: RedisCluster | Cluster) -> Cluster:
    """Return the cluster of a client."""
    return client if isinstance(client, Cluster) else Cluster.of(client)


def primaries(client: Client) -> dict[str, Redis]:
    """Return a client of each primary by its name, `host:port`; of one server alone by ``.

    Raises redis-py's ConnectionError when it is not known which they are.
    """
    if isinstance(client, Redis):
        return {"": client}
    return cluster_of(client).primaries()


def server_of(client: Client, queue: str) -> Redis:
    """Return a client of the server that has a queue; raises redis-py's ConnectionError when that is not known."""
    return client if isinstance(client, Redis) else cluster_of(client).server_of(queue)[1]


def disconnect(client: Client) -> None:
    """Close the connections that nobody uses; the next calls make new ones."""
    try:
        servers = primaries(client).values()
    except RedisError:
        return
    for server in servers:
        server.connection_pool.disconnect()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Several:
    """A URL that names several servers, taken apart; `options` are those of a connection to any of the primaries."""

    addresses: Sequence[tuple[str, int]]
    path: str
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]

    @classmethod
    def parse(cls, url: str) -> _Several:
        """Take a URL apart; raises ValueError."""
        scheme, _, rest = url.partition("://")
        transport, _, kind = scheme.partition("+")
        parts = urlsplit(f"//{rest}")
        user, _, hosts = parts.netloc.rpartition("@")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        sentinel_user = {
            name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query
        }
        one_server = f"{transport}://{user}{'@' if user else ''}localhost/?{urlencode(query)}"
        found = {name: value for name, value in parse_url(one_server).items() if name != "host"}  # type: ignore[no-untyped-call]
        tls = {"ssl": True} if found.pop("connection_class", None) else {}
        of_tls = tls | {name: value for name, value in found.items() if name.startswith("ssl_")}
        return cls(
            addresses=[_address(host, _PORTS[kind]) for host in hosts.split(",")],
            path=parts.path,
            options=found | tls,
            sentinel_options=of_tls | sentinel_user,
        )


def _address(text: str, default_port: int) -> tuple[str, int]:
    parts: SplitResult = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a database URL must name a host, or several with commas between")
    return parts.hostname, parts.port or default_port


def _behind_sentinels(several: _Several, told: Mapping[str, Any]) -> Redis:
    """Return a client of the primary: each new connection asks the Sentinels which one that is."""
    service, _, database = several.path.strip("/").partition("/")
    if not service or not (database or "0").isdigit():
        raise ValueError("a URL of Sentinels must end in /SERVICE or /SERVICE/DB, as the Sentinels call the primary")
    each = SENTINELS_SECONDS / len(several.addresses)
    timeouts = options(each, each)
    sentinels = Sentinel(several.addresses, sentinel_kwargs={**timeouts, **several.sentinel_options})  # type: ignore[no-untyped-call]
    told = {**told, **several.options, "db": int(database or 0)}
    client: Redis = sentinels.master_for(service, **told)  # type: ignore[no-untyped-call]
    return client
