from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.system.auth.conftest import AUDIENCE, Issuer, StartApi
from tests.system.processes import wait_until

pytestmark = pytest.mark.timeout(150)

LIMIT_SECONDS = 2.5
EVIL = rsa.generate_private_key(65537, 2048)


def encoded(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def unsigned(issuer: Issuer, algorithm: str, signature: bytes = b"") -> str:
    return ".".join([
        encoded({"alg": algorithm, "typ": "at+jwt", "kid": "rsa"}), encoded(issuer.claims()), encoded(signature),
    ])  # fmt: skip


def signed_with_the_public_key(issuer: Issuer, algorithm: str = "HS256") -> str:
    """Return a token whose HMAC has the public key, which everybody has, as its secret."""
    head = unsigned(issuer, algorithm).rpartition(".")[0]
    return f"{head}.{encoded(hmac.new(issuer.public_pem(), head.encode(), hashlib.sha256).digest())}"


def by_evil(issuer: Issuer, **header: Any) -> str:
    return jwt.encode(issuer.claims(), EVIL, "RS256", {"typ": "at+jwt", "kid": "rsa", **header})


def own_key() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(EVIL.public_key()))
    return found


def with_other_payload(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{encoded(issuer.claims(scope='queues:manage'))}.{signature}"


NOW = int(time.time())
MUTATIONS: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda issuer: unsigned(issuer, "none"),
    "alg None": lambda issuer: unsigned(issuer, "None"),
    "alg nOnE with a signature": lambda issuer: unsigned(issuer, "nOnE", b"x" * 256),
    "no signature": lambda issuer: unsigned(issuer, "RS256"),
    "another's signature": by_evil,
    "HS256 with the public key": signed_with_the_public_key,
    "an ID token by its typ": lambda issuer: issuer.token(header={"typ": "JWT"}, nonce="n"),
    "no typ": lambda issuer: issuer.token(header={"typ": None}),
    "an ID token by its audience": lambda issuer: issuer.token(aud="alice"),
    "another audience": lambda issuer: issuer.token(aud=["https://other.example.org"]),
    "an audience that begins alike": lambda issuer: issuer.token(aud=f"{AUDIENCE}.evil.example"),
    "no audience": lambda issuer: issuer.token(aud=None),
    "another issuer": lambda issuer: issuer.token(iss="https://evil.example"),
    "an issuer with a slash": lambda issuer: issuer.token(iss=f"{issuer.url}/"),
    "no issuer": lambda issuer: issuer.token(iss=None),
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 11),
    "no end": lambda issuer: issuer.token(exp=None),
    "an end that is no number": lambda issuer: issuer.token(exp="tomorrow"),
    "an end that is no finite number": lambda issuer: issuer.token(exp=float("inf")),
    "not yet": lambda issuer: issuer.token(nbf=int(time.time()) + 60),
    "made in the future": lambda issuer: issuer.token(iat=int(time.time()) + 60),
    "no client": lambda issuer: issuer.token(client_id=None),
    "a client that is no name": lambda issuer: issuer.token(client_id={"a": 1}),
    "a client with a space": lambda issuer: issuer.token(client_id="alice /api/v1/jobs k"),
    "no subject": lambda issuer: issuer.token(sub=None),
    "no id": lambda issuer: issuer.token(jti=None),
    "scopes that are no names": lambda issuer: issuer.token(scope={"jobs:read": True}),
    "bound to its sender": lambda issuer: issuer.token(cnf={"jkt": "x"}),
    "jku": lambda issuer: by_evil(issuer, jku="https://evil.example/jwks", kid="evil"),
    "jku and a good signature": lambda issuer: issuer.token(header={"jku": f"{issuer.url}/jwks"}),
    "x5u": lambda issuer: by_evil(issuer, x5u="https://evil.example/cert"),
    "x5c": lambda issuer: by_evil(issuer, x5c=["MIIB"]),
    "jwk": lambda issuer: by_evil(issuer, jwk=own_key()),
    "crit": lambda issuer: issuer.token(header={"crit": ["exp"]}),
    "a path in kid": lambda issuer: by_evil(issuer, kid="../../../../dev/null"),
    "SQL in kid": lambda issuer: by_evil(issuer, kid="' UNION SELECT 'x"),
    "a kid of 5 kB": lambda issuer: by_evil(issuer, kid="k" * 5000),
    "the wrong key of its kid": lambda issuer: issuer.token(kid="rsa", header={"kid": "ec"}),
    "no kid": lambda issuer: issuer.token(header={"kid": None}),
    "another algorithm": lambda issuer: issuer.token(header={"alg": "RS512"}),
    "another payload": with_other_payload,
    "claims that are a list": lambda issuer: f"{encoded({'alg': 'RS256', 'typ': 'at+jwt', 'kid': 'rsa'})}.W10.x",
    "two parts": lambda issuer: issuer.token().rpartition(".")[0],
    "four parts": lambda issuer: issuer.token() + ".x",
    "deep": lambda issuer: f"{encoded(b'[' * 4000)}.e30.x",
}  # fmt: skip


def test_mutated_tokens_all_get_a_401_and_good_ones_do_not(
    issuer: Issuer, of_issuer: dict[str, str], start_api: StartApi
) -> None:
    api = start_api(**of_issuer)

    good = {kid: api.call(issuer.token(kid=kid)).status for kid in issuer.keys}
    good["PS256"] = api.call(issuer.token(header={"alg": "PS256"})).status
    good["a list of audiences"] = api.call(issuer.token(aud=["x", AUDIENCE])).status
    good["the long name of its type"] = api.call(issuer.token(header={"typ": "application/AT+JWT"})).status
    answers = {name: api.call(mutated(issuer)) for name, mutated in MUTATIONS.items()}

    assert set(good.values()) == {200}, good
    assert len(MUTATIONS) >= 30
    assert {name: answer.status for name, answer in answers.items() if answer.status != 401} == {}
    assert {answer.headers["www-authenticate"].split(",")[0] for answer in answers.values()} == {
        'Bearer error="invalid_token"'
    }


def test_made_up_key_ids_cause_one_fetch(issuer: Issuer, of_issuer: dict[str, str], start_api: StartApi) -> None:
    api = start_api(**of_issuer)

    with ThreadPoolExecutor(8) as threads:
        statuses = set(threads.map(lambda _: api.call(by_evil(issuer, kid=secrets.token_hex(8))).status, range(1000)))

    assert statuses == {401}
    assert issuer.fetches() == 1
    assert api.call(issuer.token()).status == 200


@pytest.mark.parametrize("mode", ["slow", "drip", "garbage", "huge", "error", "redirect", "mute", "down"])
def test_an_issuer_that_fails_is_a_503_in_time_and_known_tokens_go_on(
    issuer: Issuer, of_issuer: dict[str, str], start_api: StartApi, mode: str
) -> None:
    good, fresh = start_api(**of_issuer), start_api(**of_issuer)
    known = issuer.token()
    assert good.call(known).status == 200

    issuer.stop() if mode == "down" else issuer.fail(mode)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: fresh.timed(issuer.token()), range(8)))

    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < LIMIT_SECONDS
    assert good.call(known).status == 200
    assert good.call(issuer.token()).status == 200  # its keys are known
    assert fresh.timed("x")[0] == 401


def test_it_serves_again_soon_after_the_issuer_is_back(
    issuer: Issuer, of_issuer: dict[str, str], start_api: StartApi
) -> None:
    issuer.fail("error")
    api = start_api(**of_issuer)
    assert api.call(issuer.token()).status == 503

    issuer.fail("ok")

    wait_until(lambda: api.call(issuer.token()).status == 200, 10)
