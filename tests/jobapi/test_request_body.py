from __future__ import annotations

import gzip
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from django.test.client import FakePayload
from redis import Redis

from jobapi.bodies import MAX_BODY_BYTES

BODY = b'{"kind":"echo"}'


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json; charset=latin-1", ""],
)
def test_another_content_type_is_415(post: Any, valkey: Redis, content_type: str) -> None:
    response = post("/api/v1/jobs", BODY, content_type=content_type)

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert valkey.dbsize() == 0


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
def test_json_in_utf_8_is_read(post: Any, content_type: str) -> None:
    assert post("/api/v1/jobs", BODY, content_type=content_type).status_code == 201


def test_a_content_encoding_is_415(post: Any, valkey: Redis) -> None:
    response = post("/api/v1/jobs", gzip.compress(BODY, mtime=0), headers={"content-encoding": "gzip"})

    assert response.status_code == 415
    assert valkey.dbsize() == 0


def test_a_body_beyond_the_limit_is_413(post: Any, valkey: Redis) -> None:
    response = post("/api/v1/jobs", BODY + b" " * MAX_BODY_BYTES)

    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert valkey.dbsize() == 0


@pytest.mark.parametrize(
    ("meta", "status"),
    [
        ({"CONTENT_LENGTH": ""}, 411),
        ({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}, 411),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "+15"}, 400),
        ({"CONTENT_LENGTH": "1" * 30}, 413),
        ({"CONTENT_LENGTH": "16", "wsgi.input": BytesIO(BODY)}, 400),
        ({"CONTENT_LENGTH": "14"}, 400),
    ],
)
def test_a_length_that_is_missing_or_wrong_is_refused(
    post: Any, valkey: Redis, meta: dict[str, Any], status: int
) -> None:
    response = post("/api/v1/jobs", BODY, **{"wsgi.input": FakePayload(BODY), **meta})

    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert valkey.dbsize() == 0


@pytest.mark.parametrize("path", ["pause", "resume"])
def test_a_call_without_arguments_needs_no_body(api: Client, path: str) -> None:
    assert api.generic("POST", f"/api/v1/queues/mail/{path}").status_code == 200


@pytest.mark.parametrize("path", ["pause", "resume"])
def test_an_empty_body_of_any_type_is_no_body(api: Client, path: str) -> None:
    response = api.post(f"/api/v1/queues/mail/{path}", b"", content_type="application/x-www-form-urlencoded")

    assert response.status_code == 200


def test_bytes_that_come_without_a_length_are_not_taken_for_no_body(api: Client, valkey: Redis) -> None:
    meta = {"CONTENT_LENGTH": "", "wsgi.input": BytesIO(b'{"reason":"x"}'), "wsgi.input_terminated": True}

    response = api.generic("POST", "/api/v1/queues/mail/pause", **meta)

    assert response.status_code == 411
    assert valkey.dbsize() == 0


def test_a_call_without_arguments_refuses_one(post: Any) -> None:
    response = post("/api/v1/queues/mail/resume", {"force": True})

    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": "/force", "detail": "is not a known field"}]
