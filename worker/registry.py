"""Which handler runs which kind of job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import autodiscover_modules

from queueing import KIND_PATTERN

if TYPE_CHECKING:
    from worker.context import JobContext

Handler = Callable[[Any, "JobContext"], Any]


class DuplicateHandler(Exception):
    """Two handlers claim the same kind."""


class HandlerRegistry(Mapping[str, Handler]):
    """The handlers of this process, by kind."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def __getitem__(self, kind: str) -> Handler:
        return self._handlers[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def register(self, kind: str, function: Handler) -> None:
        """Let `function` run the jobs of `kind`; a kind has one handler."""
        if not re.fullmatch(KIND_PATTERN, kind):
            raise ValueError(f"kind {kind!r} does not match {KIND_PATTERN}")
        if self._handlers.get(kind, function) is not function:
            raise DuplicateHandler(f"kind {kind!r} has a handler already: {self._handlers[kind].__qualname__}")
        self._handlers[kind] = function


registry = HandlerRegistry()


def handler(kind: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of `kind`.

    The function is called with the decoded payload and the attempt's `JobContext`; what it returns is
    stored as the job's result, what it raises fails the attempt. Delivery is at least once: write
    handlers so that running twice does no harm, and pass `job.fence` on to what can refuse old writers.
    """

    def register(function: Handler) -> Handler:
        registry.register(kind, function)
        return function

    return register


def load_handlers() -> HandlerRegistry:
    """Import the `handlers` module of every installed app and return what they registered."""
    autodiscover_modules("handlers")
    return registry
