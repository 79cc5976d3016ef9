from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
import yaml
from django.conf import LazySettings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from redis import Redis

from jobapi import throttling
from jobapi.throttling import ThrottlingMiddleware, client_of
from queueing.embedded import EmbeddedServer
from settings.base import BASE_DIR
from tests.jobapi.conftest import Post

QUEUES = "/api/v1/queues"
PAUSE = "/api/v1/queues/default/pause"
ASK_ONCE = f"""
import django, json
django.setup()
from django.test import Client
response = Client(headers={{"host": "localhost"}}).get("{QUEUES}")
print(json.dumps([response.status_code, dict(response.headers)]))
"""

SetLimits = Callable[..., None]


@pytest.fixture
def set_limits(settings: LazySettings) -> SetLimits:
    """Give a function that sets the limits; clients made before may have asked already, and keep theirs."""

    def change(*, writes: tuple[int, int] | None = None, reads: tuple[int, int] | None = None) -> None:
        settings.RATE_LIMITS = {"writes": writes, "reads": reads}

    return change


def left(response: HttpResponse) -> int:
    """Return how many calls are left, as the answer says."""
    found = re.fullmatch(r'"(?:reads|writes)";r=(\d+);t=\d+', response["RateLimit"])
    assert found
    return int(found[1])


def windows(valkey: Redis) -> list[bytes]:
    return list(valkey.scan_iter("cache:*:calls:*"))


def end_windows(valkey: Redis) -> None:
    """Let the time pass until all windows have ended."""
    for window in windows(valkey):
        valkey.pexpire(window, 0)


def test_the_calls_that_are_left_count_down_to_a_429(api: Client, set_limits: SetLimits) -> None:
    set_limits(reads=(3, 60))

    answers = [api.get(QUEUES) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [left(answer) for answer in answers] == [2, 1, 0, 0, 0]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"reads";q=3;w=60'}


def test_the_429_is_a_problem_that_says_when_to_come_back(api: Client, set_limits: SetLimits) -> None:
    set_limits(reads=(1, 60))
    api.get(QUEUES)

    response = api.get(QUEUES)

    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["code"]) == (429, "rate_limited")
    assert problem["type"] == "urn:problem-type:jobapi:rate_limited"
    assert problem["request_id"] == response["X-Request-ID"]
    assert response["Cache-Control"] == "no-store"
    assert 59 <= int(response["Retry-After"]) <= 60
    assert response["RateLimit"] == f'"reads";r=0;t={response["Retry-After"]}'


def test_a_refused_call_does_nothing(post: Post, valkey: Redis, set_limits: SetLimits) -> None:
    set_limits(writes=(1, 60))

    answers = [post("/api/v1/jobs", {"kind": "echo"}).status_code for _ in range(3)]

    assert answers == [201, 429, 429]
    assert valkey.zcard("jobs:{default}:ready") == 1


def test_after_the_window_all_calls_are_free_again(api: Client, valkey: Redis, set_limits: SetLimits) -> None:
    set_limits(reads=(2, 60))
    statuses = [api.get(QUEUES).status_code for _ in range(3)]

    end_windows(valkey)

    assert statuses == [200, 200, 429]
    assert left(api.get(QUEUES)) == 1


def test_a_window_ends_so_long_after_its_first_call_however_many_follow(
    api: Client, valkey: Redis, set_limits: SetLimits
) -> None:
    set_limits(reads=(2, 60))
    api.get(QUEUES)
    (window,) = windows(valkey)
    whole = valkey.pttl(window)
    valkey.pexpire(window, 16_500)

    answers = [api.get(QUEUES), api.get(QUEUES)]

    assert 59_000 < whole <= 60_000
    assert [answer["RateLimit"] for answer in answers] == ['"reads";r=0;t=17'] * 2
    assert answers[1]["Retry-After"] == "17"
    assert valkey.pttl(window) <= 16_500


def test_an_answer_that_was_held_back_says_when_the_window_ends_from_then_on(
    valkey: Redis, set_limits: SetLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(request: HttpRequest) -> HttpResponse:
        monkeypatch.setattr(throttling, "monotonic", lambda: 1020.0)
        return HttpResponse()

    set_limits(reads=(9, 60))
    monkeypatch.setattr(throttling, "monotonic", lambda: 1000.0)

    response = ThrottlingMiddleware(hold)(RequestFactory().get(QUEUES))

    assert response.headers["RateLimit"] == '"reads";r=8;t=40'


def test_reads_and_writes_are_counted_apart(api: Client, post: Post, set_limits: SetLimits) -> None:
    set_limits(reads=(1, 60), writes=(2, 30))

    answers = [api.get(QUEUES), post(PAUSE, {}), api.head(QUEUES), post(PAUSE, {}), post(PAUSE, {})]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 429]
    assert answers[1]["RateLimit-Policy"] == '"writes";q=2;w=30'


def test_of_two_limits_one_may_be_off(api: Client, valkey: Redis, set_limits: SetLimits) -> None:
    set_limits(writes=(1, 60))

    answers = [api.get(QUEUES) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any("RateLimit" in answer for answer in answers)
    assert windows(valkey) == []


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("GET", "/api/v1/queues/nothing", {}, 404),
        ("PUT", QUEUES, {}, 405),
        ("OPTIONS", QUEUES, {}, 405),
        ("GET", QUEUES, {"accept": "text/html"}, 406),
        ("POST", "/api/v1/jobs", {"content-type": "text/plain"}, 415),
        ("GET", QUEUES, {"host": "evil.example"}, 400),
    ],
)
def test_an_answer_of_the_api_that_refuses_is_counted_too(
    api: Client, settings: LazySettings, set_limits: SetLimits,
    debug: bool, method: str, path: str, headers: dict[str, str], status: int,
) -> None:  # fmt: skip
    settings.DEBUG = debug
    set_limits(reads=(1, 60), writes=(1, 60))

    first, second = (api.generic(method, path, b"x", headers=headers) for _ in range(2))

    assert (first.status_code, left(first)) == (status, 0)
    assert (second.status_code, second["Content-Type"]) == (429, "application/problem+json")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/openapi.yaml", "/api/docs/", "/nothing"])
def test_only_the_api_is_limited(api: Client, valkey: Redis, set_limits: SetLimits, path: str) -> None:
    set_limits(reads=(1, 60))

    answers = [api.get(path), api.get(path)]

    assert answers[0].status_code == answers[1].status_code
    assert not any("RateLimit" in answer for answer in answers)
    assert windows(valkey) == []


def test_clients_do_not_share_a_limit(api: Client, set_limits: SetLimits) -> None:
    set_limits(reads=(1, 60))

    callers = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8:0:1::1"]
    answers = [api.get(QUEUES, REMOTE_ADDR=caller) for caller in callers]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 200]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_its_address_and_of_ipv6_its_site(address: str, client: str) -> None:
    assert client_of(RequestFactory().get(QUEUES, REMOTE_ADDR=address)) == client


def test_calls_at_once_are_all_counted(valkey: Redis, set_limits: SetLimits) -> None:
    set_limits(reads=(50, 60))
    api = ThrottlingMiddleware(lambda request: HttpResponse())

    def call(_: int) -> int:
        return api(RequestFactory().get(QUEUES)).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(call, range(120)))

    assert (statuses.count(200), statuses.count(429)) == (50, 70)
    assert valkey.get(windows(valkey)[0]) == b"120"


def test_processes_share_the_counts(api: Client, set_limits: SetLimits) -> None:
    set_limits(reads=(3, 60))

    here = left(api.get(QUEUES))
    status, headers = ask_in_another_process(RATE_LIMIT_READS="3/60")

    assert (here, status, headers["RateLimit-Policy"]) == (2, 200, '"reads";q=3;w=60')
    assert headers["RateLimit"].startswith('"reads";r=1;t=')
    assert left(api.get(QUEUES)) == 0


def ask_in_another_process(**environment: str) -> tuple[int, dict[str, str]]:
    """Return the status and the headers that a process with settings of its own gives."""
    found = subprocess.run(
        [sys.executable, "-c", ASK_ONCE], capture_output=True, check=True, timeout=30,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", **environment},
    )  # fmt: skip
    status, headers = json.loads(found.stdout.splitlines()[-1])
    return status, headers


def test_the_contract_has_the_headers_and_the_429_of_every_call_of_the_api() -> None:
    contract = yaml.safe_load((BASE_DIR / "openapi.yaml").read_text())

    for path, calls in contract["paths"].items():
        for call in calls.values():
            limited = path.startswith("/api/v1/")
            assert ("429" in call["responses"]) == limited
            for answer in call["responses"].values():
                assert ({"RateLimit", "RateLimit-Policy"} <= set(answer.get("headers", {}))) == limited


def test_an_answer_beyond_the_limit_is_as_the_contract_says(api: Client, set_limits: SetLimits) -> None:
    contract = yaml.safe_load((BASE_DIR / "openapi.yaml").read_text())
    refused = contract["paths"][QUEUES]["get"]["responses"]["429"]["content"]["application/problem+json"]
    set_limits(reads=(1, 60))

    _, response = api.get(QUEUES), api.get(QUEUES)

    jsonschema.validate(response.json(), {**refused["schema"], "components": contract["components"]})
    assert set(response.json()) == set(refused["examples"]["RateLimited"]["value"])
    for name, header in contract["components"]["headers"].items():
        assert re.search(header["schema"]["pattern"], response[name])
        assert re.search(header["schema"]["pattern"], header["example"])


def test_no_limit_is_set_by_default_and_none_costs_nothing(
    api: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(throttling, "count")

    response = api.get(QUEUES)

    assert settings.RATE_LIMITS == {"writes": None, "reads": None}
    with pytest.raises(MiddlewareNotUsed):
        ThrottlingMiddleware(lambda request: HttpResponse())
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("RateLimit")]


def test_calls_that_cannot_be_counted_are_served_and_said_to_be_once_a_minute(
    api: Client, settings: LazySettings, set_limits: SetLimits, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    nobody = {**settings.CACHES["default"], "LOCATION": "unix:///nonexistent/nobody.sock"}
    settings.CACHES = {**settings.CACHES, "default": nobody}
    set_limits(reads=(1, 60))

    warnings = []
    for now in (1000.0, 1001.0, 1059.9, 1060.0, 1061.0):
        monkeypatch.setattr(throttling, "monotonic", lambda now=now: now)
        response = api.get(QUEUES)
        warnings.append(len(caplog.records))
        assert (response.status_code, "RateLimit" in response) == (200, False)

    assert warnings == [1, 1, 1, 2, 2]
    assert {record.__dict__["action"] for record in caplog.records} == {"rate_limits_unavailable"}


@pytest.mark.parametrize(
    ("path", "body"), [(QUEUES, None), (PAUSE, {"reason": "none"}), ("/api/v1/jobs", {"kind": "echo"})]
)
def test_a_limit_does_not_keep_the_503_of_an_outage_beyond_2_seconds(
    post: Post, api: Client, valkey_server: EmbeddedServer, set_limits: SetLimits, path: str, body: Any
) -> None:
    set_limits(reads=(9, 60), writes=(9, 60))
    valkey_server.process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        response = post(path, body) if body else api.get(path)
        seconds = time.monotonic() - start
    finally:
        valkey_server.process.send_signal(signal.SIGCONT)

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert seconds < 2
    assert "RateLimit" in api.get(QUEUES)
