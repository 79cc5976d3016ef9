"""Whose word on a request counts: that of proxies of ours, and of nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

from jobapi import checks
from jobapi.proxies import heed

OURS = ["10.0.0.0/24", "fd00::/64"]
SAID = {
    "HTTP_X_FORWARDED_FOR": "192.0.2.7",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "jobs.example.org",
}


def seen(address: str, networks: list[str] = OURS, **said: str) -> dict[str, Any]:
    """Return what is left of a request that came from `address`."""
    environ = {"REMOTE_ADDR": address, "HTTP_HOST": "api:8000", "wsgi.url_scheme": "http", **said}
    heed(environ, networks)
    return environ


def test_a_proxy_of_ours_tells_address_scheme_and_host_of_its_client() -> None:
    environ = seen("10.0.0.5", **SAID)

    assert environ == {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "jobs.example.org", "wsgi.url_scheme": "https"}


@pytest.mark.parametrize("networks", [[], OURS])
def test_nobody_else_does_and_nothing_of_what_they_said_is_left(networks: list[str]) -> None:
    environ = seen("192.0.2.66", networks, **SAID)

    assert environ == {"REMOTE_ADDR": "192.0.2.66", "HTTP_HOST": "api:8000", "wsgi.url_scheme": "http"}


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),  # the client made the first one up
        ("192.0.2.7, 10.0.0.9", "192.0.2.7"),  # through two of our proxies
        ("192.0.2.7,fd00::9 , 10.0.0.9", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.0.9", "10.0.0.5"),  # nobody but us
        ("203.0.113.9, unknown", "10.0.0.5"),  # what stands before may be made up
        ("203.0.113.9, 192.0.2.7:5000", "10.0.0.5"),
        ("", "10.0.0.5"),
    ],
)
def test_the_client_is_the_last_address_that_is_not_ours(said: str, client: str) -> None:
    assert seen("10.0.0.5", HTTP_X_FORWARDED_FOR=said)["REMOTE_ADDR"] == client


def test_a_proxy_of_ours_is_known_by_its_ipv4_address_on_a_socket_for_both() -> None:
    assert seen("::ffff:10.0.0.5", **SAID)["REMOTE_ADDR"] == "192.0.2.7"


@pytest.mark.parametrize("scheme", ["ftp", "https,http", ""])
def test_a_scheme_that_is_none_changes_nothing(scheme: str) -> None:
    assert seen("10.0.0.5", HTTP_X_FORWARDED_PROTO=scheme)["wsgi.url_scheme"] == "http"


def test_django_takes_a_request_that_came_to_the_proxy_over_tls_for_a_secure_one() -> None:
    environ = RequestFactory().get("/livez", REMOTE_ADDR="10.0.0.5", **SAID).environ
    heed(environ, OURS)

    request = get_wsgi_application().request_class(environ)

    assert request.is_secure()
    assert request.META["REMOTE_ADDR"] == "192.0.2.7"


def test_networks_that_are_none_keep_the_api_from_starting(settings: LazySettings) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.1/8"]

    assert checks.faults() == ["TRUSTED_PROXIES: 10.0.0.1/8 has host bits set"]
