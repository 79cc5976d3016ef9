"""Which handler runs which kind."""

from __future__ import annotations

from typing import Any

import pytest

from worker.context import JobContext
from worker.registry import DuplicateHandler, HandlerRegistry, handler, load_handlers, registry


def first(payload: Any, job: JobContext) -> None:
    """Do nothing."""


def second(payload: Any, job: JobContext) -> None:
    """Do nothing, differently."""


def test_a_registered_handler_is_found_by_its_kind() -> None:
    handlers = HandlerRegistry()

    handlers.register("report.make", first)

    assert handlers["report.make"] is first
    assert (list(handlers), len(handlers), "other" in handlers) == (["report.make"], 1, False)


def test_a_second_handler_for_a_kind_is_refused_naming_the_first() -> None:
    handlers = HandlerRegistry()
    handlers.register("report.make", first)

    with pytest.raises(DuplicateHandler, match=r"'report\.make' has a handler already: first"):
        handlers.register("report.make", second)
    assert handlers["report.make"] is first


def test_registering_the_same_function_again_changes_nothing() -> None:
    handlers = HandlerRegistry()

    handlers.register("report.make", first)
    handlers.register("report.make", first)

    assert len(handlers) == 1


@pytest.mark.parametrize("kind", ["", "with space", "a/b", "ä", "k" * 101, "line\n"])
def test_a_kind_that_no_job_can_have_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        HandlerRegistry().register(kind, first)


def test_the_decorator_registers_and_returns_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_handlers", {})

    decorated = handler("report.make")(first)

    assert decorated is first
    assert registry["report.make"] is first


def test_loading_finds_the_handlers_of_every_installed_app_and_may_be_repeated() -> None:
    assert load_handlers() is load_handlers() is registry
    assert {"echo", "sleep", "fail", "http.request", "email.send"} <= set(registry)
