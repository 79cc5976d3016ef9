"""Real processes: an authorization server of another make, our own exchange server, and the API that asks them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from redis import Redis

from tests.system.auth import issuer as program
from tests.system.http.server import Answer, ApiServer
from tests.system.processes import wait_until
from tests.system.test_up import free_port

AUDIENCE = "https://jobs.example.org"
QUEUES = "/api/v1/queues"


class Issuer:
    """The process of issuer.py, its keys, and the tokens signed with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa": ("RS256", rsa.generate_private_key(65537, 2048)),
            "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }
        self.publish(*self.keys)
        self.fail("ok")
        self.tell({})
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, program.__file__, str(self.folder), str(self.port)])
        wait_until(self._listens, 20)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def publish(self, *kids: str) -> None:
        """Let the key set have these keys."""
        listed = []
        for kid in kids:
            algorithm, key = self.keys[kid]
            as_jwk = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
            listed.append({**as_jwk, "kid": kid, "use": "sig"})
        (self.folder / "keys.json").write_text(json.dumps({"keys": listed}))

    def fail(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    def tell(self, tokens: dict[str, Any]) -> None:
        """Let introspection say this of tokens."""
        (self.folder / "tokens.json").write_text(json.dumps(tokens))

    def fetches(self, path: str = "/jwks") -> int:
        """Return how often something was asked for."""
        log = self.folder / "requests"
        return log.read_text().split().count(path) if log.exists() else 0

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "client_id": "alice", "jti": uuid.uuid4().hex,
            "iat": now, "exp": now + 600, "scope": "jobs:read jobs:write", **changes,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, kid: str = "rsa", header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token that is as it should be, but for the changes; None leaves a claim out."""
        algorithm, key = self.keys[kid]
        head = {"typ": "at+jwt", "kid": kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None or name == "typ"}
        return jwt.encode(self.claims(**changes), key, head.pop("alg", algorithm), head)

    def public_pem(self, kid: str = "rsa") -> bytes:
        pem: bytes = self.keys[kid][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem


class Api(ApiServer):
    """The API with authorization."""

    def call(self, token: str, path: str = QUEUES) -> Answer:
        return self.ask("GET", path, headers={"Authorization": f"Bearer {token}"})

    def timed(self, token: str) -> tuple[int, float]:
        """Return the status of an answer, and how many seconds it took."""
        began = time.monotonic()
        return self.call(token).status, time.monotonic() - began


StartApi = Callable[..., Api]


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    """Run an authorization server of another make."""
    folder = tmp_path / "issuer"
    folder.mkdir()
    running = Issuer(folder)
    yield running
    running.stop()


@pytest.fixture
def start_api(valkey: Redis, tmp_path: Path) -> Iterator[StartApi]:
    """Give a function that starts the API with some settings and authorization on."""
    running: list[Api] = []

    def start(**environment: Any) -> Api:
        api = Api(tmp_path / f"api-{len(running)}.log", **{"AUTH_MODE": "oauth2", **environment})
        running.append(api)
        api.wait_until_ready()
        return api

    yield start
    for api in running:
        api.close()


@pytest.fixture
def of_issuer(issuer: Issuer) -> dict[str, str]:
    """Return the settings by which the API takes the issuer's signed tokens."""
    return {"OAUTH_ISSUER": issuer.url, "OAUTH_AUDIENCE": AUDIENCE}


@pytest.fixture
def asking_issuer(issuer: Issuer) -> dict[str, str]:
    """Return the settings by which the API asks the issuer about tokens."""
    client_id, secret = program.CREDENTIALS
    return {
        "OAUTH_ISSUER": issuer.url,
        "OAUTH_INTROSPECTION_CLIENT_ID": client_id,
        "OAUTH_INTROSPECTION_CLIENT_SECRET": secret,
    }


@pytest.fixture
def database(tmp_path: Path) -> dict[str, str]:
    """Return the setting of a database for clients and tokens, made ready."""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'clients.sqlite3'}"}
    manage(environment, "migrate", "--verbosity", "0")
    return environment


def manage(environment: dict[str, str], *command: str) -> str:
    """Run a command of manage.py and return what it prints."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
