from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from jobapi.oauth.models import Client
from tests.jobapi.auth.conftest import TOKEN, Party

QUEUES = "/api/v1/queues"
RETURN = "http://localhost/api/docs/oauth2-redirect.html"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


# Clients


def test_a_client_trades_its_credentials_for_a_token(alice: Party) -> None:
    answer = alice.get_token()

    said = answer.json()
    assert (answer.status_code, said["token_type"], said["expires_in"]) == (200, "Bearer", 3600)
    assert said["scope"] == "jobs:read jobs:write"
    assert "refresh_token" not in said
    assert answer["Cache-Control"] == "no-store"


def test_a_client_may_ask_for_less_and_not_for_more(alice: Party) -> None:
    less, more = alice.get_token(scope="jobs:read"), alice.get_token(scope="jobs:read queues:manage")

    assert (less.status_code, less.json()["scope"]) == (200, "jobs:read")
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")


def test_a_wrong_secret_is_an_error_of_rfc_6749_and_no_problem_document(alice: Party) -> None:
    alice.secret = "wrong"

    answer = alice.get_token()

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("grant", ["password", "urn:ietf:params:oauth:grant-type:device_code", "implicit", "x", ""])
def test_no_other_grant_gives_a_token(alice: Party, grant: str) -> None:
    answer = alice.get_token(grant_type=grant, username="a", password="b", device_code="x")

    assert 400 <= answer.status_code < 500
    assert "access_token" not in answer.json()


def test_secrets_and_tokens_are_kept_as_hashes(alice: Party) -> None:
    stored = Client.objects.get(pk=alice.client.pk)
    token = get_access_token_model().objects.get()

    assert stored.client_secret.startswith("pbkdf2_sha256_client$")
    assert alice.secret not in stored.client_secret
    assert token.token == ""
    assert token.token_checksum == hashlib.sha256(alice.token.encode()).hexdigest()


def test_a_token_that_was_taken_back_is_refused_once_it_is_looked_at_again(
    alice: Party, settings: LazySettings
) -> None:
    settings.OAUTH_CACHE_SECONDS = 0.0
    before = alice.ask("GET", QUEUES).status_code

    taken = alice.browser.post("/oauth/revoke/", {"token": alice.token}, headers={"Authorization": alice.basic()})

    assert (before, taken.status_code, alice.ask("GET", QUEUES).status_code) == (200, 200, 401)


def test_a_client_that_lost_a_scope_or_is_gone_has_it_no_more(alice: Party, settings: LazySettings) -> None:
    settings.OAUTH_CACHE_SECONDS = 0.0
    Client.objects.update(scope="jobs:write")
    narrowed = alice.ask("GET", QUEUES).status_code

    Client.objects.all().delete()

    assert (narrowed, alice.ask("GET", QUEUES).status_code) == (403, 401)


def test_introspection_tells_a_client_what_a_token_is_good_for(alice: Party, bob: Party) -> None:
    def told(token: str) -> Any:
        form = {"token": token}
        return bob.browser.post("/oauth/introspect/", form, headers={"Authorization": bob.basic()}).json()

    said = told(alice.token)

    assert (said["active"], said["client_id"], said["scope"]) == (True, alice.id, "jobs:read jobs:write")
    assert said["exp"] == int(get_access_token_model().objects.get(application=alice.client).expires.timestamp())
    assert told("unknown") == {"active": False}


def test_introspection_is_for_clients_and_never_by_the_address(alice: Party) -> None:
    anonymous = alice.browser.post("/oauth/introspect/", {"token": alice.token})
    by_token = alice.ask("POST", f"/oauth/introspect/?token={alice.token}")
    by_address = alice.browser.get(f"/oauth/introspect/?token={alice.token}", headers={"Authorization": alice.basic()})

    assert (anonymous.status_code, by_token.status_code, by_address.status_code) == (401, 401, 401)


def test_the_metadata_says_where_everything_is_and_offers_nothing_outdated(api: Browser) -> None:
    server = api.get("/.well-known/oauth-authorization-server").json()
    resource = api.get("/.well-known/oauth-protected-resource").json()

    assert server["issuer"] == "http://localhost"
    assert server["token_endpoint"] == "http://localhost/oauth/token/"
    assert server["grant_types_supported"] == ["authorization_code", "client_credentials", "refresh_token"]
    assert (server["response_types_supported"], server["code_challenge_methods_supported"]) == (["code"], ["S256"])
    assert resource == {
        "resource": "http://localhost",
        "authorization_servers": ["http://localhost"],
        "scopes_supported": ["jobs:read", "jobs:write", "queues:manage"],
        "bearer_methods_supported": ["header"],
    }


def test_with_another_issuer_the_metadata_leads_to_it_and_ours_is_shut(
    api: Browser, alice: Party, settings: LazySettings
) -> None:
    settings.OAUTH_ISSUER, settings.OAUTH_AUDIENCE = "https://id.example.org", "https://jobs.example.org"

    said = api.get("/.well-known/oauth-protected-resource").json()

    assert said["authorization_servers"] == ["https://id.example.org"]
    assert said["resource"] == "https://jobs.example.org"
    assert api.get("/.well-known/oauth-authorization-server").status_code == 404
    assert alice.get_token().status_code == 404


@pytest.mark.parametrize(
    "address",
    ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource", "/oauth/authorize/"],
)
def test_without_authorization_there_is_no_exchange_server(api: Browser, settings: LazySettings, address: str) -> None:
    settings.AUTH_MODE = "none"

    assert api.get(address).status_code == 404
    assert api.post(TOKEN, {"grant_type": "client_credentials"}).status_code == 404


# People


@pytest.fixture
def for_people(authorization: None) -> Client:
    """Make a client that people use, such as the docs."""
    call_command("createclient", "docs", "--scope", "jobs:read", "--scope", "queues:manage", "--redirect-uri", RETURN)
    return Client.objects.get(name="docs")


def browser_of(user: User | None) -> Browser:
    browser = Browser(raise_request_exception=False, headers={"host": "localhost"})
    if user is not None:
        browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return browser


def request_of(client: Client, **changes: str) -> dict[str, str]:
    return {
        "client_id": client.client_id, "response_type": "code", "redirect_uri": RETURN, "state": "s",
        "scope": "jobs:read queues:manage", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **changes,
    }  # fmt: skip


def code_for(browser: Browser, client: Client) -> str:
    answer = browser.post("/oauth/authorize/", {**request_of(client), "allow": "on"})
    assert answer.status_code == 302, answer.content
    said = parse_qs(urlsplit(answer["Location"]).query)
    assert (said["state"], said["iss"]) == (["s"], ["http://localhost"])
    return said["code"][0]


def exchange(browser: Browser, client: Client, code: str, verifier: str = VERIFIER) -> Any:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": RETURN, "client_id": client.client_id}
    return browser.post(TOKEN, {**form, "code_verifier": verifier})


def test_a_member_of_staff_hands_a_right_to_a_client(for_people: Client) -> None:
    browser = browser_of(User.objects.create_superuser("root"))
    page = browser.get(f"/oauth/authorize/?{urlencode(request_of(for_people))}")

    said = exchange(browser, for_people, code_for(browser, for_people)).json()

    assert "Steer queues" in page.content.decode()
    assert said["scope"] == "jobs:read queues:manage"
    answer = browser.get("/api/v1/workers", headers={"Authorization": f"Bearer {said['access_token']}"})
    assert answer.status_code == 200


def test_a_code_is_worth_nothing_without_its_verifier_or_twice(for_people: Client) -> None:
    browser = browser_of(User.objects.create_superuser("root"))
    code = code_for(browser, for_people)

    answers = [exchange(browser, for_people, code, verifier) for verifier in ("w" * 64, VERIFIER, VERIFIER)]

    assert [answer.status_code for answer in answers] == [400, 200, 400]


@pytest.mark.parametrize(
    "changes",
    [{"code_challenge": ""}, {"code_challenge_method": "plain", "code_challenge": VERIFIER},
     {"response_type": "token"}, {"redirect_uri": "http://evil.example/"}, {"scope": "jobs:write"}],
)  # fmt: skip
def test_no_code_without_pkce_nor_to_elsewhere(for_people: Client, changes: dict[str, str]) -> None:
    browser = browser_of(User.objects.create_superuser("root"))

    answer = browser.post("/oauth/authorize/", {**request_of(for_people, **changes), "allow": "on"})

    assert "code=" not in answer.get("Location", "")
    assert not get_access_token_model().objects.exists()


def test_who_is_not_staff_has_no_right_to_hand_on(for_people: Client) -> None:
    address = f"/oauth/authorize/?{urlencode(request_of(for_people))}"

    anonymous = browser_of(None).get(address)
    customer = browser_of(User.objects.create_user("customer")).get(address)

    assert anonymous["Location"].startswith("/admin/login/?next=/oauth/authorize/")
    assert customer.status_code == 403


def test_only_a_superuser_hands_on_the_right_to_steer_queues(for_people: Client, settings: LazySettings) -> None:
    settings.OAUTH_CACHE_SECONDS = 0.0
    staff = User.objects.create_user("clerk", is_staff=True)
    browser = browser_of(staff)
    token = exchange(browser, for_people, code_for(browser, for_people)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}

    may = [browser.get(address, headers=bearer).status_code for address in (QUEUES, "/api/v1/workers")]
    User.objects.update(is_active=False)

    assert may == [200, 403]
    assert browser.get(QUEUES, headers=bearer).status_code == 401


def test_a_refresh_token_that_is_used_twice_ends_the_family(for_people: Client, settings: LazySettings) -> None:
    settings.OAUTH_CACHE_SECONDS = 0.0
    browser = browser_of(User.objects.create_superuser("root"))
    first = exchange(browser, for_people, code_for(browser, for_people)).json()
    form = {"grant_type": "refresh_token", "client_id": for_people.client_id, "refresh_token": first["refresh_token"]}

    second = browser.post(TOKEN, form).json()
    again = browser.post(TOKEN, form)

    assert again.status_code == 400
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    assert browser.get(QUEUES, headers=bearer).status_code == 401
    assert not get_refresh_token_model().objects.filter(revoked=None).exists()


# createclient


def test_createclient_prints_the_secret_once_and_it_works(authorization: None, capsys: Any) -> None:
    call_command("createclient", "reports", "--scope", "jobs:read", "--json")

    printed = json.loads(capsys.readouterr().out)
    stored = Client.objects.get(client_id=printed["client_id"])
    assert set(printed) == {"client_id", "client_secret"}
    assert (stored.name, stored.scope) == ("reports", "jobs:read")
    basic = base64.b64encode(f"{printed['client_id']}:{printed['client_secret']}".encode()).decode()
    answer = browser_of(None).post(
        TOKEN, {"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )
    assert answer.json()["scope"] == "jobs:read"


def test_createclient_prints_for_people_too(authorization: None, capsys: Any) -> None:
    call_command("createclient", "reports", "--scope", "jobs:read")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["client_id", "client_secret"]


@pytest.mark.parametrize("arguments", [[], ["--scope", "x"], ["--scope", "jobs:read", "--redirect-uri", "nothing"]])
def test_createclient_refuses_what_makes_no_sense(authorization: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("createclient", "reports", *arguments)
    assert not Client.objects.exists()


# The admin pages


def test_the_admin_pages_make_a_client_for_one_with_the_permission(authorization: None) -> None:
    browser = browser_of(User.objects.create_superuser("root"))
    page = browser.get("/admin/oauth/client/add/").content.decode()

    answer = browser.post("/admin/oauth/client/add/", {
        "name": "reports", "client_id": "reports", "client_secret": "s" * 40, "client_type": "confidential",
        "authorization_grant_type": "client-credentials", "scope": "jobs:read", "redirect_uris": "",
    })  # fmt: skip

    assert "password" not in page.partition('name="authorization_grant_type"')[2].partition("scope")[0]
    assert answer.status_code == 302, answer.content
    assert Client.objects.get().client_secret.startswith("pbkdf2_sha256_client$")


def test_the_admin_pages_refuse_an_unknown_scope(authorization: None) -> None:
    browser = browser_of(User.objects.create_superuser("root"))

    answer = browser.post("/admin/oauth/client/add/", {
        "name": "reports", "client_id": "reports", "client_secret": "s" * 40, "client_type": "confidential",
        "authorization_grant_type": "client-credentials", "scope": "jobs:everything", "redirect_uris": "",
    })  # fmt: skip

    assert "There is no scope jobs:everything." in answer.content.decode()
    assert not Client.objects.exists()


def test_the_admin_pages_of_clients_are_shut_to_staff_without_the_permission(authorization: None) -> None:
    browser = browser_of(User.objects.create_user("clerk", is_staff=True))

    assert browser.get("/admin/oauth/client/").status_code == 403


def test_the_docs_come_back_with_the_code(api: Browser) -> None:
    answer = api.get("/api/docs/oauth2-redirect.html?code=c&state=s")

    assert answer.status_code == 302
    assert answer["Location"].startswith("/static/")
    assert answer["Location"].endswith(".html?code=c&state=s")
    page = b"".join(api.get(answer["Location"]).streaming_content)  # type: ignore[attr-defined]
    assert b"oauth2-redirect.js" in page or b"swaggerUIRedirectOauth2" in page
