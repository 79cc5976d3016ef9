"""What a URL of the database may say, and what it is taken for."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis, SSLConnection
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from queueing import StoreUnavailable
from queueing.broker import Broker
from queueing.connections import SENTINELS_SECONDS, connect, kind_of, meet_cluster


def sentinels_of(client: Redis) -> list[dict[str, Any]]:
    """Return what each Sentinel of a client is asked with."""
    manager = client.connection_pool.sentinel_manager
    return [dict(sentinel.connection_pool.connection_kwargs) for sentinel in manager.sentinels]


def addresses_of(url: str) -> list[tuple[str, int]]:
    with connect(url) as client:
        return [(asked["host"], asked["port"]) for asked in sentinels_of(client)]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", ""),
        ("rediss://h", ""),
        ("unix:///a/b.sock", ""),
        ("redis+sentinel://h/jobs", "sentinel"),
        ("rediss+sentinel://h/jobs", "sentinel"),
        ("redis+cluster://h", "cluster"),
        ("rediss+cluster://h", "cluster"),
    ],
)
def test_the_scheme_says_what_a_url_names(url: str, kind: str) -> None:
    assert kind_of(url) == kind


@pytest.mark.parametrize("url", ["http://h", "redis+nonsense://h", "unix+cluster:///a", "h:6379", "", "redis+://h"])
def test_another_scheme_is_refused_and_those_that_are_known_are_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no scheme of a database URL, which are redis, rediss, unix, redis\+sent"):
        connect(url)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("redis+sentinel://a/jobs", [("a", 26379)]),
        ("redis+sentinel://a:1,b,c:3/jobs", [("a", 1), ("b", 26379), ("c", 3)]),
        ("redis+sentinel://[::1],[2001:db8::2]:7/jobs", [("::1", 26379), ("2001:db8::2", 7)]),
    ],
)
def test_sentinels_are_named_with_or_without_their_ports(url: str, addresses: list[tuple[str, int]]) -> None:
    assert addresses_of(url) == addresses


def test_user_and_password_are_of_the_primary_and_the_sentinels_have_their_own() -> None:
    url = "redis+sentinel://api:p%40ss@a,b/jobs/3?sentinel_username=watch&sentinel_password=s%2F1&client_name=c"

    with connect(url) as client:
        told, asked = client.connection_pool.connection_kwargs, sentinels_of(client)

    assert (told["username"], told["password"], told["db"], told["client_name"]) == ("api", "p@ss", 3, "c")
    assert [(each["username"], each["password"]) for each in asked] == [("watch", "s/1")] * 2
    assert client.connection_pool.service_name == "jobs"


def test_sentinels_without_a_user_of_their_own_are_not_told_that_of_the_primary() -> None:
    with connect("redis+sentinel://api:secret@a/jobs") as client:
        (asked,) = sentinels_of(client)

    assert (asked["username"], asked["password"]) == (None, None)


def test_tls_is_for_the_primary_and_for_the_sentinels() -> None:
    options = "ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key&ssl_check_hostname=True"

    with connect(f"rediss+sentinel://a/jobs?{options}") as client, connect("redis+sentinel://a/jobs") as plain:
        told, (asked,) = client.connection_pool.connection_kwargs, sentinels_of(client)
        sentinel = client.connection_pool.sentinel_manager.sentinels[0].connection_pool

    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
    assert client.connection_pool.connection_class is SentinelManagedSSLConnection
    assert plain.connection_pool.connection_class is SentinelManagedConnection
    assert sentinel.connection_class is SSLConnection
    assert [told[name] for name in names] == ["/ca.pem", "/me.pem", "/me.key", True]
    assert [asked[name] for name in names] == ["/ca.pem", "/me.pem", "/me.key", True]


def test_all_sentinels_together_take_no_longer_than_one_may() -> None:
    with connect("redis+sentinel://a,b,c,d,e/jobs") as client:
        asked = sentinels_of(client)

    assert sum(each["socket_connect_timeout"] for each in asked) == pytest.approx(SENTINELS_SECONDS)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+sentinel://a", "must end in /SERVICE"),
        ("redis+sentinel://a/jobs/x", "must end in /SERVICE"),
        ("redis+sentinel://a,,b/jobs", "must name a host"),
        ("redis+sentinel:///jobs", "must name a host"),
        ("redis+sentinel://a:x/jobs", "Port"),
        ("redis+sentinel://a:70000/jobs", "Port"),
        ("redis+cluster://a", "no single server"),
    ],
)
def test_a_url_of_sentinels_that_cannot_be_meant_is_refused(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        connect(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+cluster://a/1", "no databases"),
        ("redis+cluster://a/?db=1", "no databases"),
        ("redis+cluster://a,,b", "must name a host"),
        ("redis+cluster://", "must name a host"),
        ("redis+cluster://a:x", "Port"),
    ],
)
def test_a_url_of_a_cluster_that_cannot_be_meant_is_refused(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        meet_cluster(url)


def test_a_cluster_that_is_not_there_is_unavailable_and_says_why() -> None:
    broker = Broker(meet_cluster("redis+cluster://127.0.0.1:1,[::1]:1"))

    with pytest.raises(StoreUnavailable, match=r"no server of the cluster answers: .*Connection refused"):
        broker.ping(["default"])
