from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import PermissionDenied
from django.test import Client

from jobapi import views

MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def explode(*_: Any) -> None:
    raise RuntimeError("a secret of /srv/app")


def forbid(*_: Any) -> None:
    raise PermissionDenied("a secret")


@pytest.fixture(params=[False, True], ids=["production", "DEBUG"])
def debug(request: pytest.FixtureRequest, settings: LazySettings) -> bool:
    settings.DEBUG = request.param
    return settings.DEBUG


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/api/v1/jobs/x", {}, 404, "job_not_found"),
        ("GET", "/api/v1/queues/x", {}, 404, "unknown_queue"),
        ("GET", "/api/v1/nothing", {}, 404, "not_found"),
        ("GET", "/nothing", {}, 404, "not_found"),
        ("POST", "/api/v1/jobs/", {}, 404, "not_found"),
        ("GET", "/api/v1/queues/", {}, 404, "not_found"),
        ("GET", "/livez/", {}, 404, "not_found"),
        ("GET", "/static/nothing.js", {}, 404, "not_found"),
        ("GET", "/api/v1/jobs/bulk", {}, 405, "method_not_allowed"),
        ("PUT", "/api/v1/jobs", {}, 405, "method_not_allowed"),
        ("OPTIONS", "/api/v1/jobs", {}, 405, "method_not_allowed"),
        ("TRACE", "/api/v1/queues", {}, 405, "method_not_allowed"),
        ("BREW", "/api/v1/queues", {}, 405, "method_not_allowed"),
        ("POST", "/livez", {}, 405, "method_not_allowed"),
        ("POST", "/api/openapi.yaml", {}, 405, "method_not_allowed"),
        ("POST", "/api/docs/", {}, 405, "method_not_allowed"),
        ("GET", "/api/v1/queues", {"accept": "text/html"}, 406, "not_acceptable"),
        ("GET", "/api/v1/queues", {"host": "evil.example"}, 400, "bad_request"),
        ("GET", "/livez", {"host": "a b"}, 400, "bad_request"),
    ],
)
def test_every_refusal_is_a_problem_document(
    api: Client, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    response = api.generic(method, path, headers=headers)

    problem = response.json()
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "no-store"
    assert set(problem) == MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:problem-type:jobapi:{code}"
    assert problem["request_id"] == response["X-Request-ID"]


@pytest.mark.usefixtures("debug")
def test_an_unforeseen_error_is_a_500_that_tells_nothing_of_the_inside(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "get_reader", explode)

    response = api.get("/api/v1/queues")

    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "internal"
    assert b"secret" not in response.content
    assert b"Traceback" not in response.content


def test_what_is_forbidden_is_a_403(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "get_reader", forbid)

    response = api.get("/api/v1/queues")

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert b"secret" not in response.content


def test_a_405_names_the_methods_that_are_known(api: Client) -> None:
    assert api.put("/api/v1/jobs")["Allow"] == "GET, HEAD, POST"
    assert api.delete("/livez")["Allow"] == "GET, HEAD"


def test_the_pages_of_people_keep_their_errors() -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", headers={"host": "localhost"})

    assert response.status_code == 403
    assert response["Content-Type"].startswith("text/html")


def test_an_answer_of_the_api_is_not_stored(api: Client) -> None:
    assert api.get("/api/v1/queues")["Cache-Control"] == "no-store"
    assert api.get("/readyz")["Cache-Control"] == "no-store"


@pytest.mark.parametrize("sent", ["abcdefgh", "01a1fc7e-2400-75b5", "A" * 64])
def test_a_fit_request_id_is_echoed(api: Client, sent: str) -> None:
    for path in ("/livez", "/api/v1/jobs/x"):
        assert api.get(path, headers={"x-request-id": sent})["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "short", "A" * 65, "with space", "abcdefgh\n", "a_underscore", "é" * 8])
def test_another_request_id_is_replaced(api: Client, sent: str) -> None:
    made = api.get("/livez", headers={"x-request-id": sent})["X-Request-ID"]

    assert made != sent
    assert len(made) == 32


def test_each_request_gets_an_id_of_its_own(api: Client) -> None:
    assert api.get("/livez")["X-Request-ID"] != api.get("/livez")["X-Request-ID"]
