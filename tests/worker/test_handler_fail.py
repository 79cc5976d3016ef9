"""The handler `fail`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.errors import GiveUp
from worker.handlers.fail import FailedOnRequest, fail

JOB = SimpleNamespace(id="default_1")


def test_fail_raises_an_exception_with_the_message() -> None:
    with pytest.raises(FailedOnRequest, match=r"^no paper in tray 2$"):
        fail({"message": "no paper in tray 2"}, JOB)


def test_fail_gives_up_when_the_failure_is_permanent() -> None:
    with pytest.raises(GiveUp, match=r"^no such printer$"):
        fail({"message": "no such printer", "permanent": True}, JOB)


@pytest.mark.parametrize(
    "payload", [None, {}, "m", {"message": 1}, {"message": "m", "other": 1}, {"message": "m" * 5000}]
)
def test_fail_gives_up_on_a_bad_payload(payload: Any) -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        fail(payload, JOB)
