"""What tests of the API share: a client, an emptied database behind it, and the broker to move jobs with."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pytest
from django.conf import LazySettings
from django.http import HttpResponse
from django.test import Client
from redis import Redis

from queueing import Broker
from queueing.conf import get_broker


class Post(Protocol):
    """Send a value as JSON, or bytes as they are."""

    def __call__(self, path: str, body: Any = None, **headers: Any) -> HttpResponse: ...


@pytest.fixture(autouse=True)
def queues(settings: LazySettings, valkey: Redis) -> list[str]:
    """Let the installation have two queues, both empty."""
    settings.QUEUES = ["default", "mail"]
    return ["default", "mail"]


@pytest.fixture
def api() -> Client:
    """Give a client that gets the answer of an unforeseen error, as clients do."""
    return Client(raise_request_exception=False, headers={"host": "localhost"})


@pytest.fixture
def post(api: Client) -> Post:
    """Give a function that sends a body."""

    def send(path: str, body: Any = None, **headers: Any) -> HttpResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content_type": "application/json", "CONTENT_LENGTH": str(len(data)), **headers}
        response: HttpResponse = api.post(path, data, **sent)
        return response

    return send


@pytest.fixture
def broker() -> Broker:
    """Give the broker that the API uses."""
    return get_broker()
