"""The handler `echo`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.registry import load_handlers


@pytest.mark.parametrize("payload", [None, True, 0, 1.5, "text", [], {}, {"a": [1, {"b": None}]}])
def test_echo_returns_the_payload(payload: Any) -> None:
    echo = load_handlers()["echo"]

    assert echo(payload, SimpleNamespace(id="default_1")) == payload


def test_the_shipped_handlers_are_registered_by_loading() -> None:
    assert {"echo", "sleep", "fail", "http.request", "email.send"} <= {*load_handlers()}
