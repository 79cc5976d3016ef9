from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.system.auth.conftest import QUEUES, Issuer, StartApi, manage

pytestmark = pytest.mark.timeout(150)

LIMIT_SECONDS = 2.5


def said(**changes: Any) -> dict[str, Any]:
    return {"active": True, "client_id": "alice", "scope": "jobs:read", "exp": int(time.time()) + 600} | changes


UNFIT: dict[str, dict[str, Any]] = {
    "inactive": said(active=False),
    "active as a word": said(active="true"),
    "active, but ended": said(exp=1),
    "an end that is no number": said(exp="never"),
    "not yet": said(nbf=4e9),
    "another issuer": said(iss="https://evil.example"),
    "no client": {"active": True, "scope": "jobs:read"},
    "bound to its sender": said(cnf={"jkt": "x"}),
}


def test_the_issuer_is_asked_once_a_minute(issuer: Issuer, asking_issuer: dict[str, str], start_api: StartApi) -> None:
    issuer.tell({"good": said()})
    api = start_api(**asking_issuer)

    statuses = [api.call("good").status for _ in range(5)] + [api.call("bad").status for _ in range(5)]

    assert statuses == [200] * 5 + [401] * 5
    assert issuer.fetches("/introspect") == 2


@pytest.mark.parametrize("name", UNFIT)
def test_what_the_issuer_says_of_a_token_is_looked_at(
    issuer: Issuer, asking_issuer: dict[str, str], start_api: StartApi, name: str
) -> None:
    issuer.tell({"token": UNFIT[name]})

    assert start_api(**asking_issuer).call("token").status == 401
    assert issuer.fetches("/introspect") == 1


def test_a_token_is_never_good_past_its_end(issuer: Issuer, asking_issuer: dict[str, str], start_api: StartApi) -> None:
    api = start_api(**asking_issuer)
    end = int(time.time()) + 3
    issuer.tell({"short": said(exp=end)})
    first = api.call("short").status

    time.sleep(max(0.0, end - time.time()) + 0.05)

    assert (first, api.call("short").status) == (200, 401)


def test_the_audience_is_looked_at_when_it_is_named(
    issuer: Issuer, asking_issuer: dict[str, str], start_api: StartApi
) -> None:
    issuer.tell({"ours": said(aud=["x", "us"]), "theirs": said(aud="them"), "nobodys": said()})
    api = start_api(OAUTH_AUDIENCE="us", **asking_issuer)

    assert [api.call(token).status for token in ("ours", "theirs", "nobodys")] == [200, 401, 401]


@pytest.mark.parametrize("mode", ["slow", "drip", "garbage", "huge", "error", "redirect", "mute", "down"])
def test_an_issuer_that_fails_is_a_503_in_time_and_known_tokens_go_on(
    issuer: Issuer, asking_issuer: dict[str, str], start_api: StartApi, mode: str
) -> None:
    issuer.tell({"known": said(), **{f"new{n}": said() for n in range(40)}})
    api = start_api(**asking_issuer)
    assert api.call("known").status == 200

    issuer.stop() if mode == "down" else issuer.fail(mode)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda n: api.timed(f"new{n}"), range(20)))
    known = [api.timed("known") for _ in range(5)]

    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < LIMIT_SECONDS
    assert {status for status, _ in known} == {200}


def made(database: dict[str, str], name: str) -> tuple[str, str]:
    """Make a client and return its id and secret."""
    printed = json.loads(manage(database, "createclient", name, "--json", "--scope", "jobs:read"))
    return printed["client_id"], printed["client_secret"]


def test_our_own_exchange_server_on_another_port_is_an_issuer_too(
    start_api: StartApi, database: dict[str, str]
) -> None:
    ours = start_api(**database)
    client_id, secret = made(database, "the api")
    api = start_api(
        OAUTH_ISSUER=ours.url, OAUTH_INTROSPECTION_CLIENT_ID=client_id, OAUTH_INTROSPECTION_CLIENT_SECRET=secret
    )
    basic = base64.b64encode(":".join(made(database, "alice")).encode()).decode()
    form = urlencode({"grant_type": "client_credentials"}).encode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}

    token = json.loads(ours.ask("POST", "/oauth/token/", form, headers).body)["access_token"]

    assert [server.call(token).status for server in (api, ours)] == [200, 200]
    assert api.call(token, "/api/v1/workers").status == 403
    assert [server.call("x", QUEUES).status for server in (api, ours)] == [401, 401]
