"""What Prometheus may know of the queues and their database, read from the database at each scrape.

The scripts keep these figures, so jobs run by a worker that is long gone count too, and every process that is scraped
gives the same ones: take the `max` over processes, never the `sum`. Labels are the names of queues and words of ours,
never a job, a kind, a worker or a host. A scrape costs a few commands for each queue, however many jobs it holds.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, TypeVar

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from queueing.connections import Client
from queueing.errors import StoreUnavailable
from queueing.figures import Histogram, Run
from queueing.inspector import Inspector, QueueStats, WorkerRecord
from queueing.server_metrics import Figure, families_of_store, server_figures

LIVE_WORKER = timedelta(seconds=30)  # since the last sign of life; workers give one every 5 s

logger = logging.getLogger(__name__)

ERRORS = Counter("jobapi_collector_errors", "Scrapes that could not read the figures of the queues.", ["reason"])
for _reason in ("unavailable", "other"):
    ERRORS.labels(_reason)


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one scrape has read."""

    queues: Sequence[QueueStats]
    runs: Sequence[Run]
    servers: Mapping[str, Mapping[str, Any]]

    def live_workers(self) -> list[WorkerRecord]:
        """Return the workers that are alive, each once however many queues it serves."""
        found = {worker.id: worker for stats in self.queues for worker in live_workers(stats)}
        return list(found.values())


class QueueCollector(Collector):
    """Reads the figures of `queues` at each scrape; without the database it says so in `jobapi_store_up` alone."""

    def __init__(
        self, client: Callable[[], Client], queues: Callable[[], Sequence[str]], age_target_seconds: Callable[[], float]
    ) -> None:
        self._client = client
        self._queues = queues
        self._age_target_seconds = age_target_seconds

    def collect(self) -> Iterator[Metric]:
        """Yield every family; raises nothing."""
        began = time.monotonic()
        families = self._families()
        took = time.monotonic() - began
        yield GaugeMetricFamily("jobapi_store_up", STORE_UP, value=float(families is not None))
        yield GaugeMetricFamily("jobapi_collector_duration_seconds", COLLECTOR_DURATION, value=took)
        yield from families or ()

    def _families(self) -> list[Metric] | None:
        """Return what is known of the queues, None when it cannot be read now."""
        try:
            reading = self._read()
            return [
                *families_of_queues(reading.queues, self._age_target_seconds()),
                *families_of_workers(reading),
                *families_of_store(reading.servers),
            ]
        except StoreUnavailable:
            ERRORS.labels("unavailable").inc()
        except Exception:  # whatever is wrong there, the figures of this process are wanted all the more
            ERRORS.labels("other").inc()
            logger.exception("the figures of the queues cannot be read", extra={"action": "collect_failed"})
        return None

    def _read(self) -> Reading:
        client, queues = self._client(), self._queues()
        inspector = Inspector(client)
        return Reading(inspector.stats_of(queues), inspector.runs(queues), server_figures(client))


STORE_UP = "1 if the database answered this scrape. Without it there are no figures of queues."
COLLECTOR_DURATION = "How long this scrape took to read the figures of the queues."


# Of each queue


QUEUE_GAUGES = (
    Figure(
        "jobapi_queue_oldest_ready_age_seconds",
        "How long ago the oldest ready job was first due, 0 if none is ready.",
        lambda stats: stats.oldest_ready_age_seconds or 0.0,
    ),
    Figure(
        "jobapi_queue_newest_ready_age_seconds",
        "How long ago the newest ready job was first due, 0 if none is ready.",
        lambda stats: stats.newest_ready_age_seconds or 0.0,
    ),
    Figure("jobapi_queue_paused", "1 while the queue is paused.", lambda stats: float(stats.paused)),
    Figure(
        "jobapi_queue_consumers",
        "Workers alive that serve the queue.",
        lambda stats: len(live_workers(stats)),
    ),
    Figure(
        "jobapi_queue_capacity_jobs",
        "How many jobs may wait (max_depth), +Inf without a limit.",
        lambda stats: stats.limits.max_depth or math.inf,
    ),
    Figure(
        "jobapi_queue_lease_overdue_seconds",
        "How long the most overdue lease has been over without its job being taken back, 0 if none is.",
        lambda stats: stats.overdue_seconds,
    ),
    Figure(
        "jobapi_queue_generation",
        "A number drawn when the queue was first used: another one means that its jobs were lost.",
        lambda stats: int((stats.generation or "0")[:12], 16),
    ),
)

QUEUE_COUNTERS = (
    Figure("jobapi_jobs_submitted", "Jobs accepted.", lambda stats: stats.counters["submitted"]),
    Figure("jobapi_claims", "Attempts begun.", lambda stats: stats.counters["claimed"]),
    Figure(
        "jobapi_retries_scheduled",
        "Failed attempts after which another was scheduled.",
        lambda stats: stats.counters["retried"],
    ),
    Figure(
        "jobapi_jobs_dead",
        "Jobs that died: no attempt was left, or their handler gave up.",
        lambda stats: stats.counters["dead"],
    ),
    Figure("jobapi_jobs_cancelled", "Jobs cancelled.", lambda stats: stats.counters["cancelled"]),
    Figure("jobapi_jobs_expired", "Jobs whose time to live ended first.", lambda stats: stats.counters["expired"]),
    Figure(
        "jobapi_jobs_requeued",
        "Dead jobs made ready again by a person or a client.",
        lambda stats: stats.counters["requeued"],
    ),
    Figure(
        "jobapi_jobs_released",
        "Jobs given back uncounted by a worker that stopped.",
        lambda stats: stats.counters["released"],
    ),
    Figure("jobapi_jobs_purged", "Jobs dropped by a purge.", lambda stats: stats.counters["purged"]),
    Figure("jobapi_jobs_deleted", "Jobs deleted by a person or a client.", lambda stats: stats.counters["deleted"]),
    Figure(
        "jobapi_jobs_pruned", "Finished jobs deleted after their retention.", lambda stats: stats.counters["pruned"]
    ),
    Figure(
        "jobapi_leases_reaped",
        "Leases that ran out, because their worker died or was held up.",
        lambda stats: stats.counters["reaped"],
    ),
    Figure(
        "jobapi_stale_reports",
        "Reports of workers that had lost their lease; they changed nothing.",
        lambda stats: stats.counters["stale"],
    ),
)

#: How attempts end, and the counter of each.
OUTCOMES = {"succeeded": "succeeded", "failed": "failed", "cancelled": "stopped", "lost": "reaped"}


def families_of_queues(queues: Sequence[QueueStats], age_target_seconds: float) -> Iterator[Metric]:
    """Yield what is known of each queue."""
    yield _filled(
        GaugeMetricFamily("jobapi_queue_jobs", "Jobs in each state.", labels=["queue", "state"]), _sizes(queues)
    )
    for figure in QUEUE_GAUGES:
        yield _of_each_queue(GaugeMetricFamily, figure, queues)
    target = Figure("jobapi_queue_age_target_seconds", AGE_TARGET, lambda _: age_target_seconds)
    yield _of_each_queue(GaugeMetricFamily, target, queues)
    for figure in QUEUE_COUNTERS:
        yield _of_each_queue(CounterMetricFamily, figure, queues)
    attempts = CounterMetricFamily("jobapi_attempts", "Attempts that ended.", labels=["queue", "outcome"])
    yield _filled(attempts, _attempts(queues))
    yield _histograms("jobapi_job_wait_seconds", WAIT, [([stats.queue], stats.waits) for stats in queues])
    yield _histograms("jobapi_attempt_duration_seconds", RUN, [([stats.queue], stats.runs) for stats in queues])


AGE_TARGET = "No ready job should wait longer (AGE_TARGET_SECONDS)."
WAIT = "From when a job was first due to its first attempt; later attempts do not count."
RUN = "How long attempts ran that succeeded, failed or were cancelled."


def live_workers(stats: QueueStats) -> list[WorkerRecord]:
    """Return the workers of a queue that gave a sign of life a short time ago."""
    return [worker for worker in stats.workers if stats.at - worker.seen_at <= LIVE_WORKER]


def _sizes(queues: Iterable[QueueStats]) -> Iterator[tuple[list[str], float]]:
    for stats in queues:
        for state, count in stats.counts.items():
            yield [stats.queue, state.value], count


def _attempts(queues: Iterable[QueueStats]) -> Iterator[tuple[list[str], float]]:
    for stats in queues:
        for outcome, counter in OUTCOMES.items():
            yield [stats.queue, outcome], stats.counters[counter]


# Of workers


def families_of_workers(reading: Reading) -> Iterator[Metric]:
    """Yield what workers say of themselves, and when those that come and go were last here."""
    workers = reading.live_workers()
    running = [len(worker.about.get("running", ())) for worker in workers]
    states = [(["busy"], sum(jobs > 0 for jobs in running)), (["idle"], sum(jobs == 0 for jobs in running))]
    yield _filled(GaugeMetricFamily("jobapi_workers", WORKERS, labels=["state"]), states)
    slots = sum(worker.about.get("slots", 0) for worker in workers)
    yield GaugeMetricFamily("jobapi_worker_slots", "Jobs that the workers alive can run at once.", value=slots)
    yield GaugeMetricFamily("jobapi_worker_slots_busy", "Jobs that they run now.", value=sum(running))
    last_run = Figure(
        "jobapi_worker_last_run_timestamp_seconds", LAST_RUN, lambda stats: _last_seen(stats, reading.runs)
    )
    yield _of_each_queue(GaugeMetricFamily, last_run, reading.queues)
    found = [(stats.queue, run_interval_seconds(stats.queue, reading.runs)) for stats in reading.queues]
    intervals = [([queue], interval) for queue, interval in found if interval is not None]
    yield _filled(GaugeMetricFamily("jobapi_worker_run_interval_seconds", RUN_INTERVAL, labels=["queue"]), intervals)


WORKERS = "Workers alive, by whether they run a job."
LAST_RUN = "When a worker last ended a run or gave a sign of life for the queue, 0 if never."
RUN_INTERVAL = "From one start of a run (cron, systemd timer) to the next as a rule; only for queues served by runs."


def _last_seen(stats: QueueStats, runs: Iterable[Run]) -> float:
    ended = [run.ended_at for run in runs if stats.queue in run.queues]
    return max(map(datetime.timestamp, [*ended, *(worker.seen_at for worker in stats.workers)]), default=0.0)


def run_interval_seconds(queue: str, runs: Iterable[Run]) -> float | None:
    """Return the usual time between the starts of the runs that drained a queue and ended; None of less than two."""
    starts = sorted(run.started_at for run in runs if queue in run.queues and run.mode == "drain")
    if len(starts) < 2:
        return None
    return median((later - earlier).total_seconds() for earlier, later in itertools.pairwise(starts))


Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


def _filled(family: Family, samples: Iterable[tuple[list[str], float]]) -> Family:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _of_each_queue(kind: type[Family], figure: Figure, queues: Iterable[QueueStats]) -> Family:
    family = kind(figure.name, figure.help, labels=["queue"])
    return _filled(family, [([stats.queue], figure.read(stats)) for stats in queues])


def _histograms(name: str, text: str, samples: Iterable[tuple[list[str], Histogram]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=["queue"])
    for labels, histogram in samples:
        bounds = [*map(floatToGoString, histogram.bounds_seconds), "+Inf"]
        cumulative = itertools.accumulate(histogram.counts)
        family.add_metric(labels, list(zip(bounds, cumulative, strict=True)), sum_value=histogram.sum_seconds)
    return family
