from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

CALLS = [
    ("POST", "/api/v1/jobs"),
    ("GET", "/api/v1/jobs/default_" + "0" * 32),
    ("POST", "/api/v1/jobs/default_" + "0" * 32 + "/cancel"),
    ("GET", "/api/v1/queues"),
    ("GET", "/api/v1/queues/default"),
    ("POST", "/api/v1/queues/default/pause"),
    ("GET", "/readyz"),
]


@pytest.fixture
def mute_server(tmp_path: Path) -> Iterator[str]:
    """Run a server that takes connections and never answers: a stopped process looks so."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "mute.sock"))
        server.listen(64)
        yield f"unix://{tmp_path}/mute.sock"


@pytest.fixture(params=["dead", "mute"])
def database(request: pytest.FixtureRequest, settings: LazySettings, mute_server: str, tmp_path: Path) -> None:
    """Let the API's database be one that refuses connections, or one that never answers."""
    url = mute_server if request.param == "mute" else f"unix://{tmp_path}/nobody.sock"
    settings.CACHES = {**settings.CACHES, "queue": {**settings.CACHES["queue"], "LOCATION": url}}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_the_database_the_answer_is_a_503_within_2_seconds(api: Client, method: str, path: str) -> None:
    body: dict[str, Any] = (
        {"data": b'{"kind":"echo"}', "content_type": "application/json"} if path == CALLS[0][1] else {}
    )
    start = time.monotonic()

    response = api.generic(method, path, **body)

    assert time.monotonic() - start < 2
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response["Retry-After"]) > 0
    assert ".sock" not in response.json()["detail"]


@pytest.mark.usefixtures("database")
def test_without_the_database_the_process_still_lives(api: Client) -> None:
    assert api.get("/livez").status_code == 200


def test_a_server_that_stops_answering_is_a_503_within_2_seconds_and_is_found_again(
    api: Client, valkey_server: Any
) -> None:
    assert api.get("/readyz").status_code == 200
    valkey_server.process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        response = api.get("/readyz")
        assert time.monotonic() - start < 2
    finally:
        valkey_server.process.send_signal(signal.SIGCONT)

    assert response.status_code == 503
    assert api.get("/readyz").status_code == 200
