from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
from django.conf import LazySettings
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver

from jobapi.permissions import ACCESS, MONITORS, OPEN, STAFF_PAGES
from jobapi.tokens import MANAGE, READ, SCOPES, WRITE
from tests.jobapi.auth.conftest import ALL, Party

PATHS = {
    "job-list": "/api/v1/jobs",
    "job-bulk": "/api/v1/jobs/bulk",
    "job-detail": "/api/v1/jobs/default_019a9f3c5d6e7f008192a3b4c5d6e7f8",
    "job-cancel": "/api/v1/jobs/default_019a9f3c5d6e7f008192a3b4c5d6e7f8/cancel",
    "job-requeue": "/api/v1/jobs/default_019a9f3c5d6e7f008192a3b4c5d6e7f8/requeue",
    "queue-list": "/api/v1/queues",
    "queue-detail": "/api/v1/queues/default",
    "queue-pause": "/api/v1/queues/default/pause",
    "queue-resume": "/api/v1/queues/default/resume",
    "queue-purge": "/api/v1/queues/default/purge",
    "queue-requeue-dead": "/api/v1/queues/default/requeue-dead",
    "worker-list": "/api/v1/workers",
}
ROWS = [(name, method, scope) for name in PATHS for method, scope in ACCESS[name].items()]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def views(resolver: URLResolver, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Return the full name of every address, those of staff pages aside."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            yield ":".join([*names, pattern.name or f"(no name) {pattern.pattern}"])
        elif pattern.app_name not in STAFF_PAGES:
            yield from views(pattern, (*names, *([pattern.namespace] if pattern.namespace else [])))


def test_every_address_has_a_row_and_every_row_an_address() -> None:
    assert set(views(get_resolver())) == set(ACCESS)


def test_every_address_of_the_api_asks_for_a_scope() -> None:
    for name in PATHS:
        assert set(ACCESS[name].values()) <= SCOPES
    assert {name for name, methods in ACCESS.items() if SCOPES.intersection(methods.values())} == set(PATHS)
    assert {scope for methods in ACCESS.values() for scope in methods.values()} == SCOPES | {OPEN, MONITORS}


@pytest.mark.parametrize(("name", "method", "scope"), ROWS)
def test_a_call_needs_its_scope_and_no_other(
    party: Callable[[str, str], Party], name: str, method: str, scope: str
) -> None:
    has_it, has_the_others = party("one", scope), party("two", " ".join(SCOPES - {scope}))

    answers = [each.ask(method, PATHS[name], {}) for each in (has_it, has_the_others)]

    assert answers[0].status_code not in (401, 403, 405)
    assert answers[1].status_code == 403
    assert f'error="insufficient_scope", scope="{scope}"' in answers[1]["WWW-Authenticate"]


@pytest.mark.parametrize(("name", "method"), [*product(PATHS, [*METHODS, "HEAD", "OPTIONS", "TRACE", "X"])])
def test_nothing_is_done_for_one_without_a_token(api: Browser, name: str, method: str) -> None:
    answer = api.generic(method, PATHS[name])

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name, method in product(PATHS, METHODS) if method not in ACCESS[name]]
)
def test_a_method_without_a_row_is_answered_as_without_authorization(
    manager: Party, api: Browser, settings: LazySettings, name: str, method: str
) -> None:
    refused = manager.ask(method, PATHS[name])
    settings.AUTH_MODE = "none"
    without = api.generic(method, PATHS[name])

    assert refused.status_code == without.status_code == 405
    assert set(refused["Allow"].split(", ")) == set(without["Allow"].split(", "))
    assert refused.json()["detail"] == without.json()["detail"]  # type: ignore[attr-defined]


def test_an_address_without_a_row_is_refused_to_everybody(manager: Party, settings: LazySettings) -> None:
    settings.ROOT_URLCONF = "tests.jobapi.auth.forgotten"

    answer = manager.ask("GET", "/forgotten")

    assert answer.status_code == 403


def test_an_address_that_leads_nowhere_is_not_found(api: Browser) -> None:
    assert api.get("/api/v1/nothing").status_code == 404


@pytest.mark.parametrize("address", ["/livez", "/readyz", "/api/openapi.yaml", "/api/docs/", "/api/redoc/"])
def test_probes_and_the_contract_need_no_token(api: Browser, address: str) -> None:
    assert api.get(address).status_code == 200


def test_scopes_are_what_the_exchange_server_gives(settings: LazySettings) -> None:
    assert set(settings.OAUTH2_PROVIDER["SCOPES"]) == SCOPES == {READ, WRITE, MANAGE} == set(ALL.split())
