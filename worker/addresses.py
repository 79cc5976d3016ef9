"""Which addresses a job may call.

The worker often stands where its clients cannot reach: beside databases, other services, a cloud's metadata
address. So a URL from a job is taken apart strictly, and its host is resolved once and judged whole.
Whoever connects must use the endpoints returned here and never ask the resolver again, or a name that
changes its answer gets in.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address

MAX_URL_LENGTH = 2048
MAX_HOST_LENGTH = 253  # RFC 1035, section 2.3.4, written out
PORTS_OF_UNLISTED_HOSTS = frozenset({443, 8443})

# Own tables, from IANA's special-purpose address registries (RFC 6890), whole blocks with the exceptions
# inside them: `is_private` and `is_global` change between Python's patch releases, and on 3.11.7 the latter
# is true for multicast, for site-local addresses and for 127.0.0.1 in its NAT64 and 6to4 forms.
NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # looks public, is the host of every Azure machine
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address and is withdrawn (RFC 7526)
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
# A connection to these goes to the IPv4 address in the last 32 bits. The name server of an IPv6-only
# network answers with the second form (RFC 6052) for every host that has only IPv4, so the inner address
# decides.
CARRIES_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
ISATAP_INTERFACES = frozenset({0x0000_5EFE, 0x0200_5EFE})  # RFC 5214, section 6.1; the IPv4 address follows

URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


class AddressRefused(Exception):
    """A job may not call this address, and asking again cannot help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL names. `is_listed` hosts may be any address; `is_literal` hosts need no resolver."""

    scheme: str
    host: str
    port: int
    path: str
    is_listed: bool
    is_literal: bool

    @property
    def authority(self) -> str:
        """Return host and port as a `Host` header writes them."""
        host = _bracketed(self.host)
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Return the part of the URL that may be shown: no path and no query, which can hold secrets."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One checked address, as `socket.connect` takes it."""

    family: int
    address: tuple[Any, ...]


def is_public(address: Address) -> bool:
    """Return whether `address` is a unicast address of the open internet, whatever form it is written in."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if any(address in network for network in CARRIES_V4):
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in GLOBAL_UNICAST_V6 or (int(address) >> 32) & 0xFFFF_FFFF in ISATAP_INTERFACES:
        return False
    return not any(address in network for network in NOT_PUBLIC_V6)


def parse_url(url: str, listed_hosts: Iterable[str] = ()) -> Target:
    """Return what `url` names, or raise `AddressRefused` with the rule it breaks.

    An entry of `listed_hosts` is `host` or `host:port`. An unlisted host must be a name, and the URL one of
    https on port 443 or 8443.
    """
    scheme, authority, path = _split(url)
    host, port = _host_and_port(authority, scheme)
    literal = _literal(host)
    if literal is None and not (len(host) <= MAX_HOST_LENGTH and NAME.fullmatch(host)):
        raise AddressRefused(f"{host[:MAX_HOST_LENGTH]!r} is not a host name")
    name = host if literal is None else str(literal)
    target = Target(
        scheme=scheme,
        host=name,
        port=port,
        path=path if path.startswith("/") else f"/{path}",
        is_listed=_is_listed(name, port, listed_hosts),
        is_literal=literal is not None,
    )
    return target if target.is_listed else _as_unlisted(target)


def resolve(target: Target, within_seconds: float) -> list[Endpoint]:
    """Return every address of the target's host, checked.

    Raise `AddressRefused` when the host is not listed and one of them is not public, `OSError` when the
    name has no address, and `TimeoutError` when the resolver takes too long.
    """
    answers = _ask_resolver(target) if target.is_literal else _ask_resolver_within(target, within_seconds)
    endpoints = [Endpoint(family=family, address=address) for family, _, _, _, address in answers]
    if not target.is_listed and not all(is_public(ip_address(endpoint.address[0])) for endpoint in endpoints):
        raise AddressRefused(f"{target.host} has an address that is not public")
    return endpoints


def _split(url: str) -> tuple[str, str, str]:
    if len(url) > MAX_URL_LENGTH:
        raise AddressRefused(f"the URL is longer than {MAX_URL_LENGTH} characters")
    if "\\" in url or not all("\x21" <= character <= "\x7e" for character in url):
        raise AddressRefused(
            "the URL may hold only visible ASCII, without backslash; write names as xn-- and encode the rest"
        )
    parts = URL.fullmatch(url)
    if parts is None:
        raise AddressRefused("the URL must be absolute and start with https:// (or http:// for listed hosts)")
    return parts[1].lower(), parts[2].lower(), parts[3]


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise AddressRefused("the URL may not carry a user name or a password; use a header")
    parts = AUTHORITY.fullmatch(authority)
    if parts is None:
        raise AddressRefused("the URL's host is not a name or an address in its plain form")
    port = int(parts[2]) if parts[2] else _default_port(scheme)
    if not 1 <= port <= 65535:
        raise AddressRefused(f"{port} is not a port")
    return parts[1], port


def _literal(host: str) -> Address | None:
    """Return the address a host spells, None for a name; refuse 127.1, 0x7f000001 and their like."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if ENDS_IN_A_NUMBER.fullmatch(host):
            return IPv4Address(host)
    except ValueError as error:
        raise AddressRefused(f"{host!r} is not an address in its plain form") from error
    return None


def _is_listed(host: str, port: int, listed_hosts: Iterable[str]) -> bool:
    spellings = {_bracketed(host), f"{_bracketed(host)}:{port}"}
    return any(entry.strip().lower() in spellings for entry in listed_hosts)


def _as_unlisted(target: Target) -> Target:
    if target.scheme != "https":
        raise AddressRefused(f"{target.host} is not a listed host, so the URL must start with https://")
    if target.is_literal:
        raise AddressRefused(f"{target.host} is an address and not a listed host; use a name")
    if target.port not in PORTS_OF_UNLISTED_HOSTS:
        raise AddressRefused(f"{target.host}:{target.port} is not a listed host, so the port must be 443 or 8443")
    return target


def _ask_resolver(target: Target) -> list[tuple[Any, ...]]:
    flags = socket.AI_NUMERICHOST if target.is_literal else 0
    return [*socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)]


def _ask_resolver_within(target: Target, within_seconds: float) -> list[tuple[Any, ...]]:
    """Ask in a thread that may outlive the question: getaddrinfo has no timeout."""
    answer: Future[list[tuple[Any, ...]]] = Future()

    def ask() -> None:
        try:
            answer.set_result(_ask_resolver(target))
        except OSError as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="resolve-host", daemon=True).start()
    try:
        return answer.result(within_seconds)
    except TimeoutError:
        raise TimeoutError("the resolver did not answer in time") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
