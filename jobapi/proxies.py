"""Who really calls: what a proxy says of the client it serves counts when the proxy is one of ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

Environ = dict[str, Any]
EVERYWHERE = ("0.0.0.0/0", "::/0")
SAID = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


def heed(environ: Environ, networks: Sequence[str]) -> None:
    """Put the client's address, scheme and host in place of the proxy's if it is in `networks`; forget what was said.

    Of the addresses the last one counts that is no proxy of ours: what stands before it the client may have made up.
    """
    addresses, scheme, host = (environ.pop(name, "") for name in SAID)
    if not networks or not is_in(environ["REMOTE_ADDR"], networks):
        return
    hops = [hop.strip() for hop in reversed(addresses.split(","))]
    client = next((hop for hop in hops if not is_in(hop, networks)), "")
    if is_in(client, EVERYWHERE):
        environ["REMOTE_ADDR"] = client
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    if host:
        environ["HTTP_HOST"] = host


def is_in(address: str, networks: Sequence[str]) -> bool:
    """Whether an address is in one of `networks`; an IPv4 address that came over a socket for both is IPv4."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in ipaddress.ip_network(network) for network in networks)
