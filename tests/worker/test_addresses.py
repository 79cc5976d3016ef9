"""Which addresses a job may call."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.addresses import NOT_PUBLIC_V4, AddressRefused, is_public, parse_url, resolve

PUBLIC_ADDRESSES = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255
    128.0.0.1 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2001:200:: 2001:4860:4860::8888 2003:: 2606:4700:4700::1111 2a00:1450:4001:81b::200e
    ::ffff:8.8.8.8 64:ff9b::8.8.8.8 64:ff9b::101:101
"""

NOT_PUBLIC_ADDRESSES = """
    0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255
    127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 172.16.0.0
    172.31.255.255 192.0.0.0 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1
    192.52.193.1 192.88.99.1 192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0 198.19.255.255
    198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255
    :: ::1 ::2 ::7f00:1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    ::ffff:0.0.0.0 ::ffff:224.0.0.1 ::ffff:0:7f00:1 ::ffff:0:808:808 64:ff9b::127.0.0.1 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b::224.0.0.1 64:ff9b:1::7f00:1 64:ff9b:1::808:808 100::1
    100:0:0:1::1 2001::1 2001::7f00:1 2001:0:7f00:1:0:0:8080:fffe 2001:2::1 2001:3::1 2001:10::1
    2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:: 2002:7f00:1:: 2002:7f00:1::1 2002:a00:1::
    2002:a9fe:a9fe:: 2002:808:808:: 2620:4f:8000::1 2a00::5efe:7f00:1 2a00::200:5efe:a00:1 3fff::1
    3fff:fff:ffff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::5efe:a9fe:a9fe
    fe80::1%eth0 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC_ADDRESSES.split())
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


v4_addresses = st.one_of(
    st.ip_addresses(v=4),
    st.sampled_from(NOT_PUBLIC_V4).flatmap(lambda network: st.ip_addresses(v=4, network=network)),
)


def embeddings(inner: IPv4Address) -> dict[str, IPv6Address]:
    """Return every way known to carry an IPv4 address in one of IPv6."""
    v4 = int(inner)

    def under(prefix: str, shift: int = 0) -> IPv6Address:
        return IPv6Address(int(IPv6Address(prefix)) | v4 << shift)

    return {
        "mapped": under("::ffff:0:0"),
        "compatible": under("::"),
        "translated": under("::ffff:0:0:0"),
        "NAT64": under("64:ff9b::"),
        "NAT64 local": under("64:ff9b:1::"),
        "6to4": under("2002::", 80),
        "Teredo server": under("2001::", 64),
        "Teredo client": IPv6Address(int(IPv6Address("2001:0:4136:e378::")) | v4 ^ 0xFFFF_FFFF),
        "ISATAP": under("2a00:1450::5efe:0:0"),
        "ISATAP unique": under("2a00:1450::200:5efe:0:0"),
        "ISATAP link-local": under("fe80::5efe:0:0"),
    }


@given(v4_addresses)
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("169.254.169.254"))
def test_no_embedding_makes_an_ipv4_address_public_that_is_not(inner: IPv4Address) -> None:
    public = {name for name, address in embeddings(inner).items() if is_public(address)}

    assert public == ({"mapped", "NAT64"} if is_public(inner) else set())


@given(st.one_of(v4_addresses, st.ip_addresses(v=6, network="2000::/3")))
def test_whatever_is_public_is_public_for_the_standard_library_too(
    address: IPv4Address | IPv6Address,
) -> None:
    special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_unspecified

    assert not is_public(address) or (address.is_global and not special)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "files.example.com",
        "//files.example.com/",
        "/etc/passwd",
        "ftp://files.example.com/",
        "file:///etc/passwd",
        "gopher://files.example.com/",
        "http://files.example.com/",
        "https:files.example.com",
        "https:/files.example.com",
        "https:///files.example.com",
        "https://",
        "https://:443/",
        "https://.example.com/",
        "https://files..example.com/",
        "https://files.example.com./",
        "https://-files.example.com/",
        "https://files.example.com:/",
        "https://files.example.com:0/",
        "https://files.example.com:80/",
        "https://files.example.com:6379/",
        "https://files.example.com:65536/",
        "https://files.example.com:443:443/",
        "https://files.example.com:4٤3/",
        "https://user@files.example.com/",
        "https://user:password@files.example.com/",
        "https://@files.example.com/",
        "https://files.example.com@127.0.0.1/",
        "https://127.0.0.1#@files.example.com/",
        "https://127.0.0.1\\@files.example.com/",
        "https:\\\\files.example.com/",
        "https://files.example.com\\.evil.example/",
        "https://127.0.0.1/",
        "https://8.8.8.8/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://0X7F.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://127.0.0.0x1/",
        "https://256.256.256.256/",
        "https://1.2.3.4.5/",
        "https://example.123/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[2606:4700:4700::1111]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://::1/",
        "https://[files.example.com]/",
        "https://[127.0.0.1]/",
        "https://127%2e0%2e0%2e1/",
        "https://files.example.com%00.evil.example/",
        "https://files.example.com\x00/",
        "https://files.example.com/\r\nHost: evil.example",
        "https://files.example.com/a b",
        " https://files.example.com/",
        "https://files.example.com/\n",
        "https://fi\tles.example.com/",
        "https://１２７.0.0.1/",  # noqa: RUF001 - full-width digits are the point
        "https://127。0。0。1/",
        "https://ⓛocalhost/",
        "https://bücher.example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}example/",
        f"https://files.example.com/{'a' * 2048}",
    ],
)
def test_a_url_that_is_not_plainly_https_to_a_name_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://files.example.com", "files.example.com", 443, "/", "files.example.com"),
        ("HTTPS://Files.Example.COM/A?b=C", "files.example.com", 443, "/A?b=C", "files.example.com"),
        ("https://files.example.com?q=1", "files.example.com", 443, "/?q=1", "files.example.com"),
        ("https://files.example.com/a#fragment", "files.example.com", 443, "/a", "files.example.com"),
        ("https://files.example.com:443/", "files.example.com", 443, "/", "files.example.com"),
        ("https://files.example.com:8443/@a:b", "files.example.com", 8443, "/@a:b", "files.example.com:8443"),
        (
            "https://xn--bcher-kva.example/%C3%BC",
            "xn--bcher-kva.example",
            443,
            "/%C3%BC",
            "xn--bcher-kva.example",
        ),
        ("https://a_b.example/", "a_b.example", 443, "/", "a_b.example"),
        ("https://3com.example/", "3com.example", 443, "/", "3com.example"),
    ],
)
def test_a_plain_url_is_taken_apart(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_url(url)

    assert (target.scheme, target.host, target.port, target.path) == ("https", host, port, path)
    assert target.authority == authority


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://intranet/", "intranet"),
        ("http://intranet:8080/", "intranet"),
        ("http://intranet:8080/", "intranet:8080"),
        ("http://INTRANET/", " Intranet:80 "),
        ("https://intranet/", "intranet:443"),
        ("http://127.0.0.1:9/", "127.0.0.1"),
        ("http://[::1]:9/", "[::1]:9"),
        ("http://[0:0:0:0:0:0:0:1]/", "[::1]"),
        ("https://files.example.com:6379/", "files.example.com"),
    ],
)
def test_a_listed_host_may_be_any_address_over_http_too(url: str, entry: str) -> None:
    assert parse_url(url, ["other", entry]).is_listed


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://intranet:8081/", "intranet:8080"),
        ("http://evil.intranet/", "intranet"),
        ("http://intranet.evil.example/", "intranet"),
        ("http://intranet@evil.example/", "intranet"),
        ("http://127.0.0.2/", "127.0.0.1"),
        ("http://127.1/", "127.0.0.1"),
        ("http://intranet/", ""),
        ("http://intranet/", "*"),
    ],
)
def test_a_host_that_only_resembles_a_listed_one_is_refused(url: str, entry: str) -> None:
    with pytest.raises(AddressRefused):
        parse_url(url, [entry])


def answer_with(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        pairs = zip(families, addresses, strict=True)
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in pairs]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_resolves_to_all_its_addresses_in_the_order_of_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, "2606:4700:4700::1111", "1.1.1.1")

    endpoints = resolve(parse_url("https://files.example.com/"), 1)

    assert [endpoint.address for endpoint in endpoints] == [("2606:4700:4700::1111", 443), ("1.1.1.1", 443)]
    assert [endpoint.family for endpoint in endpoints] == [socket.AF_INET6, socket.AF_INET]


@pytest.mark.parametrize("private", ["127.0.0.1", "::1", "::ffff:10.0.0.1", "169.254.169.254", "fe80::1%eth0"])
def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch, private: str) -> None:
    answer_with(monkeypatch, "1.1.1.1", private, "8.8.8.8")

    with pytest.raises(AddressRefused, match="not public"):
        resolve(parse_url("https://files.example.com/"), 1)


def test_a_listed_name_may_resolve_to_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "10.0.0.1")

    endpoints = resolve(parse_url("http://intranet/", ["intranet"]), 1)

    assert endpoints[0].address == ("10.0.0.1", 80)


def test_localhost_resolves_to_loopback_and_is_refused_unless_listed() -> None:
    with pytest.raises(AddressRefused):
        resolve(parse_url("https://localhost/"), 5)

    assert resolve(parse_url("https://localhost/", ["localhost"]), 5)


def test_a_name_without_an_address_raises_the_resolvers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(socket.gaierror, match="not known"):
        resolve(parse_url("https://files.example.com/"), 1)


def test_a_resolver_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(TimeoutError, match="resolver"):
        resolve(parse_url("https://files.example.com/"), 0.05)
    released.set()
