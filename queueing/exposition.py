"""What a process shows Prometheus: the figures of the queues, and its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LOGS_SENT = Counter("jobapi_log_records_sent", "Log lines written, or sent as far as is known.", ["handler"])
LOGS_DROPPED = Counter("jobapi_log_records_dropped", "Log lines lost rather than waited for.", ["handler", "reason"])
LOGS_RECONNECTS = Counter("jobapi_log_reconnects", "Connections made anew to the log aggregator.", ["handler"])
LOGS_QUEUED = Gauge(
    "jobapi_log_queue_records", "Log lines that wait to be sent.", ["handler"], multiprocess_mode="livesum"
)
LOGS_QUEUED_BYTES = Gauge(
    "jobapi_log_queue_bytes", "What these lines take of the memory.", ["handler"], multiprocess_mode="livesum"
)
LOGS_CONNECTED = Gauge(
    "jobapi_log_connection_up",
    "1 if there is a connection to the log aggregator, in every process.",
    ["handler"],
    multiprocess_mode="livemin",
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter comes with a gauge of its birth


class LogFigures(Protocol):
    """What became of the lines of one log handler; `connected` is None where there is nothing to connect to."""

    @property
    def sent(self) -> int: ...
    @property
    def dropped(self) -> Mapping[str, int]: ...
    @property
    def queued(self) -> int: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def connected(self) -> bool | None: ...
    @property
    def reconnects(self) -> int: ...


class LogMirror:
    """Carries the figures of this process's log handlers, by their names, over to its own metrics."""

    def __init__(self, read: Callable[[], Mapping[str, LogFigures]]) -> None:
        self._read = read
        self._seen: dict[tuple[object, ...], int] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Bring the metrics up to date."""
        with self._lock:
            for handler, figures in self._read().items():
                self._count(LOGS_SENT, figures.sent, handler)
                for reason, number in figures.dropped.items():
                    self._count(LOGS_DROPPED, number, handler, reason)
                if figures.connected is not None:
                    self._count(LOGS_RECONNECTS, figures.reconnects, handler)
                    LOGS_QUEUED.labels(handler).set(figures.queued)
                    LOGS_QUEUED_BYTES.labels(handler).set(figures.queued_bytes)
                    LOGS_CONNECTED.labels(handler).set(figures.connected)

    def _count(self, counter: Counter, total: int, handler: str, *reason: str) -> None:
        key = (counter, handler, *reason)
        counter.labels(handler, *reason).inc(max(0, total - self._seen.get(key, 0)))
        self._seen[key] = total


class BuildInfo(Collector):
    """Says which version runs."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield the one family."""
        family = GaugeMetricFamily("jobapi_build_info", "Always 1; the label says what runs.", labels=["app_version"])
        family.add_metric([self._version], 1)
        yield family


class Exposition:
    """The figures of several collectors as one text, read anew each time; `own` has those of this process."""

    def __init__(self, *collectors: Collector, logs: LogMirror, own: Collector = REGISTRY) -> None:
        self._logs = logs
        self._registry = CollectorRegistry(auto_describe=False)  # to describe the families it would collect them
        for collector in (*collectors, own):
            self._registry.register(collector)

    def text(self) -> bytes:
        """Return the text, of CONTENT_TYPE."""
        self._logs.refresh()
        return generate_latest(self._registry)
