"""What tests of authorization share: it is on, and there are clients of our own exchange server with tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.http import HttpResponse
from django.test import Client as Browser
from oauth2_provider.generators import generate_client_secret

from jobapi.oauth.models import Client

ALL = "jobs:read jobs:write queues:manage"
TOKEN = "/oauth/token/"


class Party:
    """A client of the API: its credentials, a token, and a way to call."""

    def __init__(self, name: str, scope: str) -> None:
        self.secret = generate_client_secret()
        self.client = Client.objects.create(
            name=name,
            client_secret=self.secret,
            client_type=Client.CLIENT_CONFIDENTIAL,
            authorization_grant_type=Client.GRANT_CLIENT_CREDENTIALS,
            scope=scope,
        )
        self.browser = Browser(raise_request_exception=False, headers={"host": "localhost"})
        self.token = self.get_token().json()["access_token"]

    @property
    def id(self) -> str:
        return str(self.client.client_id)

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()

    def get_token(self, **form: str) -> Any:
        form = {"grant_type": "client_credentials", **form}
        return self.browser.post(TOKEN, form, headers={"Authorization": self.basic()})

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        data = b"" if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {"Authorization": f"Bearer {self.token}"} | headers
        answer: HttpResponse = self.browser.generic(method, path, data, kind, headers=sent)
        return answer

    def submit(self, **job: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/api/v1/jobs", {"kind": "echo", **job})
        assert answer.status_code in (200, 201), answer.content
        found: dict[str, Any] = json.loads(answer.content)
        return found


@pytest.fixture(autouse=True)
def authorization(settings: LazySettings, db: None) -> None:
    settings.AUTH_MODE = "oauth2"


@pytest.fixture
def party(authorization: None) -> Callable[[str, str], Party]:
    return Party


@pytest.fixture
def alice(authorization: None) -> Party:
    return Party("alice", "jobs:read jobs:write")


@pytest.fixture
def bob(authorization: None) -> Party:
    return Party("bob", "jobs:read")


@pytest.fixture
def mallory(authorization: None) -> Party:
    return Party("mallory", "jobs:read jobs:write")


@pytest.fixture
def manager(authorization: None) -> Party:
    return Party("manager", ALL)
