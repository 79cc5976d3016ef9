from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pythonjsonlogger.json import JsonFormatter

from jobapi.middleware import FrontDoorMiddleware

Lines = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger("jobapi.tests")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Give a function that returns the lines that the configured handler has written since."""
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one.formatter, JsonFormatter)]
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    handler.setStream(before)


def sent(request_id: str) -> HttpRequest:
    return RequestFactory().get("/api/v1/queues", headers={"x-request-id": request_id})


def test_a_warning_of_a_request_carries_the_id_of_its_answer(api: Client, lines: Lines) -> None:
    response = api.get("/api/v1/nothing")

    (line,) = lines()
    assert (line["logger"], line["level"]) == ("django.request", "WARNING")
    assert line["request_id"] == response["X-Request-ID"]


def test_a_fit_id_of_the_client_is_in_the_log(api: Client, lines: Lines) -> None:
    api.get("/api/v1/nothing", headers={"x-request-id": "a-clients-own-id"})

    assert [line["request_id"] for line in lines()] == ["a-clients-own-id"]


@pytest.mark.parametrize("unfit", ["short", 'a"forged":"line', "A" * 65, "two\nlines-of-text"])
def test_an_unfit_id_of_the_client_is_not_in_the_log(api: Client, lines: Lines, unfit: str) -> None:
    response = api.get("/api/v1/nothing", headers={"x-request-id": unfit})

    assert [line["request_id"] for line in lines()] == [response["X-Request-ID"]]
    assert response["X-Request-ID"] != unfit


def test_what_is_logged_outside_a_request_carries_none(api: Client, lines: Lines) -> None:
    logger.warning("before")
    api.get("/livez")
    logger.warning("after, on the same thread")

    assert ["request_id" in line for line in lines()] == [False, False]


def test_a_request_that_ends_in_an_error_leaves_no_id_behind(lines: Lines) -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        logger.warning("inside")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        FrontDoorMiddleware(fail)(sent("an-id-of-this-test"))
    logger.warning("outside")

    assert [line.get("request_id") for line in lines()] == ["an-id-of-this-test", None]


def test_two_requests_at_once_do_not_mix_their_ids(lines: Lines) -> None:
    both = threading.Barrier(2)

    def serve(request: HttpRequest) -> HttpResponse:
        for _ in range(5):
            both.wait(10)
            logger.warning(request.headers["X-Request-ID"])
        return HttpResponse()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(FrontDoorMiddleware(serve), [sent("the-first-one"), sent("the-second-one")]))

    assert len(lines()) == 10
    assert all(line["request_id"] == line["message"] for line in lines())
