from __future__ import annotations

from datetime import timedelta
from time import monotonic

import pytest
from django.test import Client as Browser
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from jobapi import tokens
from tests.jobapi.auth.conftest import Party

QUEUES = "/api/v1/queues"
METADATA = 'resource_metadata="http://localhost/.well-known/oauth-protected-resource"'


def test_no_token_is_a_401_that_says_where_tokens_come_from(api: Browser) -> None:
    answer = api.get(QUEUES)

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
    assert answer["WWW-Authenticate"] == f"Bearer {METADATA}"
    assert answer.json()["code"] == "unauthenticated"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("header", ["Basic YTpi", "Digest x", "", "token abc", "Bearerabc x"])
def test_another_scheme_is_as_no_token(api: Browser, header: str) -> None:
    assert api.get(QUEUES, headers={"Authorization": header})["WWW-Authenticate"] == f"Bearer {METADATA}"


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,Bearer b", "Bearer ä", "Bearer a=b",
                                    'Bearer "x"', "bearer " + "a" * 8193])  # fmt: skip
def test_a_malformed_header_is_a_400_invalid_request(api: Browser, header: str) -> None:
    answer = api.get(QUEUES, headers={"Authorization": header})

    assert answer.status_code == 400
    assert answer["WWW-Authenticate"] == f'Bearer error="invalid_request", {METADATA}'


@pytest.mark.parametrize("token", ["x", "a" * 8192, "..", "eyJhbGciOiJub25lIn0.e30.", "-._~+/="])
def test_an_unknown_token_is_a_401_invalid_token(api: Browser, token: str) -> None:
    answer = api.get(QUEUES, headers={"Authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert answer["WWW-Authenticate"] == f'Bearer error="invalid_token", {METADATA}'


def test_a_missing_scope_is_a_403_that_names_it(bob: Party) -> None:
    answer = bob.ask("POST", "/api/v1/jobs", {"kind": "echo"})

    problem = answer.json()  # type: ignore[attr-defined]
    assert (answer.status_code, problem["code"]) == (403, "insufficient_scope")
    assert problem["type"] == "urn:problem-type:jobapi:insufficient_scope"
    assert answer["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="jobs:write", {METADATA}'


@pytest.mark.parametrize("name", ["access_token", "token", "Authorization"])
def test_a_token_in_the_query_or_the_body_is_no_token(alice: Party, api: Browser, name: str) -> None:
    in_query = api.get(f"{QUEUES}?{name}={alice.token}")
    in_body = api.post("/api/v1/jobs", {name: alice.token})

    assert (in_query.status_code, in_body.status_code) == (401, 401)


def test_the_scheme_is_of_any_case(alice: Party) -> None:
    assert alice.ask("GET", QUEUES, Authorization=f"bEARER  {alice.token}").status_code == 200


def test_an_expired_token_is_refused(alice: Party) -> None:
    get_access_token_model().objects.update(expires=timezone.now() - timedelta(seconds=1))

    assert alice.ask("GET", QUEUES).status_code == 401


def test_a_token_that_was_looked_at_is_good_no_longer_than_it_lasts(
    alice: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_access_token_model().objects.update(expires=timezone.now() + timedelta(seconds=30))
    assert alice.ask("GET", QUEUES).status_code == 200
    get_access_token_model().objects.all().delete()
    now = monotonic()

    monkeypatch.setattr(tokens, "monotonic", lambda: now + 29)
    within = alice.ask("GET", QUEUES).status_code
    monkeypatch.setattr(tokens, "monotonic", lambda: now + 31)

    assert (within, alice.ask("GET", QUEUES).status_code) == (200, 401)
