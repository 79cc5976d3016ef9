from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.system.auth import issuer as program
from tests.system.auth.conftest import Api, Issuer, StartApi, manage

pytestmark = pytest.mark.timeout(150)

CANARIES = {
    "SECRET_KEY": "canary-key-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789",
    "STAFF_PASSWORD": "canary-password",
    "MONITORING_TOKEN": "canary-monitoring",
    "LOG_LEVEL": "DEBUG",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Watch:
    """Looks at the command lines of all processes, as long as it is asked to."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            for line in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(line.read_text(errors="replace"))
                except OSError:
                    continue


def provoke(api: Api, token: str, said: list[str]) -> None:
    """Send a token where it belongs and where it does not, and keep all that is answered."""
    job = json.dumps({"kind": "echo", "payload": {"a": "canary-payload"}}).encode()
    for path in ("/api/v1/jobs", "/api/v1/queues", "/metrics", "/readyz", "/nothing", "/oauth/introspect/", "/admin/"):
        for method in ("GET", "POST", "PUT"):
            for query in ("", f"?access_token={token}", f"?token={token}&x=%0a{token}"):
                for header in (f"Bearer {token}", f"Bearer {token} {token}", f"Basic {token}", f"bearer {token[:-2]}"):
                    headers = {"Authorization": header, "Content-Type": "application/json"}
                    answer = api.ask(method, path + query, job if method == "POST" else None, headers)
                    answer.headers.pop("location", None)  # of the login page: it leads back to the very same address
                    said.append(f"{answer.headers} {answer.body.decode(errors='replace')}")


def logged_and_answered(api: Api, answers: list[str], watch: Watch) -> str:
    monitoring = {"Authorization": f"Bearer {CANARIES['MONITORING_TOKEN']}"}
    metrics = api.ask("GET", "/metrics", headers=monitoring)
    assert metrics.status == 200
    return "\n".join([*answers, metrics.body.decode(), api.log.read_text(), *watch.seen])


def assert_nothing_of(secrets: dict[str, str], text: str) -> None:
    """Fail for a secret, or a long enough part of one."""
    for name, secret in secrets.items():
        part = secret[:24] if len(secret) > 40 else secret
        at = text.find(part)
        assert at < 0, f"{name} is seen: ...{text[max(0, at - 200) : at]}<HERE>"


def test_no_secret_of_our_exchange_server_is_seen_anywhere(start_api: StartApi, database: dict[str, str]) -> None:
    environment = {**database, **CANARIES, "OAUTH_CACHE_SECONDS": "0"}
    watch, answers = Watch(), []
    with watch.watching():
        client = json.loads(manage(environment, "createclient", "alice", "--json", "--scope", "jobs:read"))
        api = start_api(**environment)
        basic = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()

        def post(path: str, headers: dict[str, str] | None = None, **form: str) -> Any:
            answer = api.ask("POST", path, urlencode(form).encode(), {**FORM, **(headers or {})})
            answers.append(f"{answer.headers}")
            return answer

        with_basic = {"Authorization": f"Basic {basic}"}
        answer = post("/oauth/token/", with_basic, grant_type="client_credentials")
        token = json.loads(answer.body)["access_token"]
        body = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        post("/oauth/token/", grant_type="client_credentials", scope="x", **body)
        post("/oauth/token/", grant_type="password", username="admin", **body, password=CANARIES["STAFF_PASSWORD"])
        post("/oauth/introspect/", with_basic, token=token)
        post("/admin/login/", username="admin", password=CANARIES["STAFF_PASSWORD"])
        provoke(api, token, answers)
        post("/oauth/revoke/", with_basic, token=token)

    secrets = {name: value for name, value in CANARIES.items() if value.startswith("canary")}
    secrets |= {"client secret": client["client_secret"], "basic": basic, "token": token, "payload": "canary-payload"}
    assert_nothing_of(secrets, logged_and_answered(api, answers, watch))
    assert "token_refused" in api.log.read_text()


@pytest.mark.parametrize("kind", ["signed", "opaque"])
def test_no_token_of_another_issuer_is_seen_anywhere(
    issuer: Issuer, of_issuer: dict[str, str], asking_issuer: dict[str, str], start_api: StartApi, kind: str
) -> None:
    watch, answers = Watch(), []
    token = issuer.token(exp=1) if kind == "signed" else "canary-opaque-token"
    with watch.watching():
        api = start_api(**(of_issuer if kind == "signed" else asking_issuer), **CANARIES, OAUTH_CACHE_SECONDS="0")
        provoke(api, token, answers)
        issuer.fail("error")
        provoke(api, token, answers)

    secrets = {name: value for name, value in CANARIES.items() if value.startswith("canary")}
    secrets |= {"token": token, "introspection": program.CREDENTIALS[1], "payload": "canary-payload"}
    text = logged_and_answered(api, answers, watch)
    assert_nothing_of(secrets, text)
    signature = token.rpartition(".")[2]
    assert signature not in text
