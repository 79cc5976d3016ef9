"""/metrics: what Prometheus may know of the queues, their database, and this API.

The middleware and the database backends of django-prometheus count in each process. When the API has several, they
count in files of one folder (`jobapi.launch` makes it), and whichever of them is asked gives the totals of all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.generic import View
from prometheus_client import REGISTRY, CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from jobapi import problems
from jobapi.afterwards import afterwards
from jobapi.counters import CALLS_LIMITED, SUBMISSIONS_REFUSED
from queueing.conf import get_store, known_queues
from queueing.exposition import CONTENT_TYPE, BuildInfo, Exposition, LogMirror
from queueing.metrics import QueueCollector

REFRESH_SECONDS = 1.0
LATEST = "process_start_time_seconds"  # of several processes; their other figures add up


class MetricsView(View):
    """Answer with every figure as Prometheus reads it."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - Django's signature
        """Give the text; it is there without the database, too."""
        afterwards.catch_up()
        return HttpResponse(exposition.text(), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def own_collector(logs: LogMirror) -> Collector:
    """Return what has the figures of this process, or else of all processes of the API that share a folder."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return REGISTRY
    shared = CollectorRegistry(auto_describe=False)
    shared.register(Processes(Path(folder)))
    MultiProcessCollector(shared, folder)  # type: ignore[no-untyped-call]
    PlatformCollector(registry=shared)
    threading.Thread(target=_keep_fresh, args=[logs], name="metrics", daemon=True).start()
    return shared


def _keep_fresh(logs: LogMirror) -> None:
    """Let the other processes, when they are asked, know the figures of this one."""
    while True:
        time.sleep(REFRESH_SECONDS)
        logs.refresh()


class Processes(Collector):
    """The figures of all processes of the API together: those that have a file in `folder` and live."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yield the families of `process_`, each with the total; the gauges of a process that is gone go with it."""
        found: dict[str, list[Metric]] = {}
        for pid in {path.stem.rpartition("_")[2] for path in self._folder.glob("*.db")}:
            families = list(ProcessCollector(pid=partial(str, pid), registry=None).collect())
            for family in families:
                found.setdefault(family.name, []).append(family)
            if not families:
                mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        for families in found.values():
            yield _together(families)


def _together(families: Sequence[Metric]) -> Metric:
    total = families[0]
    combine = max if total.name == LATEST else sum
    value = combine(sample.value for family in families for sample in family.samples)
    total.samples = [total.samples[0]._replace(value=value)]
    return total


for _kind in (*vars(problems).values(), *problems.UNFIT.values(), *problems.BY_STATUS.values()):
    if isinstance(_kind, problems.Kind):
        SUBMISSIONS_REFUSED.labels(_kind.code)
for _limit in settings.RATE_LIMITS:
    CALLS_LIMITED.labels(_limit)

logs = LogMirror(settings.LOG_FIGURES)
exposition = Exposition(
    QueueCollector(get_store, known_queues, lambda: settings.AGE_TARGET_SECONDS),
    BuildInfo(settings.VERSION),
    logs=logs,
    own=own_collector(logs),
)
