"""/metrics: the figures of the queues, of their database, and of the process."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from jobapi import launch, metrics
from queueing import Broker, JobError, NewJob, Run
from queueing.exposition import LogMirror
from queueing.keys import queue_keys
from queueing.metrics import QueueCollector
from queueing.server_metrics import replicas
from tests.jobapi.conftest import Post
from tests.queueing.servers import free_ports

PROJECT = Path(__file__).parents[2]
ECHO = NewJob.of("echo")
ERROR = JobError(type="Boom", message="it failed")
WORKER = {"host": "h", "pid": 1, "queues": ["default", "mail"], "slots": 4}

Read = Callable[..., float]
Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page_of(api: Client) -> Page:
    """Return every sample of a scrape."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for one in families for sample in one.samples}


@pytest.fixture
def read(api: Client) -> Read:
    """Give a function that scrapes and returns one sample."""

    def sample(name: str, **labels: str) -> float:
        return page_of(api)[name, frozenset(labels.items())]

    return sample


def beat(broker: Broker, worker: str = "h:1:a", running: int = 0) -> None:
    about = {**WORKER, "running": [{"job_id": "x", "kind": "echo", "attempt": 1}] * running}
    for queue in ("default", "mail"):
        broker.beat(queue, worker, json.dumps(about).encode(), 30_000)


# Queues


def test_every_queue_has_every_state(broker: Broker, read: Read) -> None:
    broker.enqueue_many("mail", [ECHO] * 3)
    broker.enqueue("mail", NewJob.of("echo", delay_seconds=60))
    broker.claim("mail", "w")

    assert read("jobapi_queue_jobs", queue="mail", state="ready") == 2
    assert read("jobapi_queue_jobs", queue="mail", state="scheduled") == 1
    assert read("jobapi_queue_jobs", queue="mail", state="running") == 1
    assert read("jobapi_queue_jobs", queue="default", state="dead") == 0


def test_counters_are_there_before_anything_happens(read: Read) -> None:
    for outcome in ("succeeded", "failed", "cancelled", "lost"):
        assert read("jobapi_attempts_total", queue="mail", outcome=outcome) == 0
    assert read("jobapi_jobs_submitted_total", queue="mail") == 0
    assert read("jobapi_submissions_refused_total", reason="idempotency_key_reused") >= 0
    assert read("jobapi_collector_errors_total", reason="other") >= 0


def test_attempts_count_by_how_they_ended(broker: Broker, read: Read) -> None:
    broker.enqueue_many("default", [NewJob.of("echo", max_attempts=1)] * 5)
    acked, failed, stopped, lost, _running = broker.claim("default", "w", 5).jobs
    broker.ack(acked)
    broker.fail(failed, ERROR)
    broker.fail(stopped, ERROR, outcome="cancelled")
    broker.reap("default", 1, to_ms=broker.server_time_ms("default") + 60_000)

    assert read("jobapi_claims_total", queue="default") == 5
    ends = {outcome: read("jobapi_attempts_total", queue="default", outcome=outcome) for outcome in
            ("succeeded", "failed", "cancelled", "lost")}  # fmt: skip
    assert ends == {"succeeded": 1, "failed": 1, "cancelled": 1, "lost": 1}
    assert read("jobapi_jobs_dead_total", queue="default") == 2
    assert read("jobapi_leases_reaped_total", queue="default") == 1
    assert lost.id


def test_a_late_report_is_stale(broker: Broker, read: Read) -> None:
    broker.enqueue("default", ECHO)
    job = broker.claim("default", "w").jobs[0]
    broker.release(job)

    with pytest.raises(Exception, match=job.id):
        broker.ack(job)

    assert read("jobapi_stale_reports_total", queue="default") == 1
    assert read("jobapi_jobs_released_total", queue="default") == 1


def test_waits_and_runs_are_histograms(broker: Broker, read: Read) -> None:
    broker.enqueue_many("default", [ECHO] * 3)
    for job in broker.claim("default", "w", 3).jobs:
        broker.ack(job)

    for name in ("jobapi_job_wait_seconds", "jobapi_attempt_duration_seconds"):
        assert read(f"{name}_count", queue="default") == read(f"{name}_bucket", queue="default", le="+Inf") == 3
        assert 0 <= read(f"{name}_bucket", queue="default", le="0.1") <= 3
        assert read(f"{name}_sum", queue="default") < 60


def test_the_oldest_and_the_newest_ready_job_have_ages(broker: Broker, read: Read) -> None:
    assert read("jobapi_queue_oldest_ready_age_seconds", queue="default") == 0

    broker.enqueue("default", NewJob.of("echo", run_at=datetime.now(UTC) - timedelta(hours=1)))
    broker.enqueue("default", ECHO)

    newest, oldest = (
        read(f"jobapi_queue_{which}_ready_age_seconds", queue="default") for which in ("newest", "oldest")
    )
    assert 0 <= newest <= oldest


def test_a_queue_tells_its_limits_and_that_it_is_paused(broker: Broker, read: Read, settings: LazySettings) -> None:
    settings.AGE_TARGET_SECONDS = 120.0
    assert read("jobapi_queue_capacity_jobs", queue="default") == float("inf")

    broker.configure("default", max_depth=10)
    broker.pause("default")

    assert read("jobapi_queue_capacity_jobs", queue="default") == 10
    assert read("jobapi_queue_paused", queue="default") == 1
    assert read("jobapi_queue_age_target_seconds", queue="default") == 120


def test_an_emptied_database_begins_another_generation(broker: Broker, read: Read, valkey: Redis) -> None:
    broker.enqueue("default", ECHO)
    before = read("jobapi_queue_generation", queue="default")
    assert before > 0

    valkey.flushall()
    assert read("jobapi_queue_generation", queue="default") == 0
    broker.enqueue("default", ECHO)

    assert read("jobapi_queue_generation", queue="default") not in (0, before)


def test_a_lease_that_nobody_takes_back_is_overdue(broker: Broker, read: Read, valkey: Redis) -> None:
    broker.enqueue("default", ECHO)
    job = broker.claim("default", "w").jobs[0]
    assert read("jobapi_queue_lease_overdue_seconds", queue="default") == 0

    valkey.zadd(queue_keys("default").running, {job.id: broker.server_time_ms("default") - 90_000})

    assert 90 <= read("jobapi_queue_lease_overdue_seconds", queue="default") < 150


# Workers


def test_a_worker_of_two_queues_is_one_worker(broker: Broker, read: Read) -> None:
    beat(broker, "h:1:a", running=3)
    beat(broker, "h:2:b")

    assert (read("jobapi_workers", state="busy"), read("jobapi_workers", state="idle")) == (1, 1)
    assert (read("jobapi_worker_slots"), read("jobapi_worker_slots_busy")) == (8, 3)
    assert read("jobapi_queue_consumers", queue="default") == read("jobapi_queue_consumers", queue="mail") == 2


def test_a_worker_that_is_silent_for_long_is_no_consumer(broker: Broker, read: Read, valkey: Redis) -> None:
    about = json.dumps(WORKER)
    long_ago = broker.server_time_ms("default") - 40_000
    valkey.hset(queue_keys("default").workers, "h:1:a", f"{long_ago}|{about}")

    assert read("jobapi_queue_consumers", queue="default") == 0
    assert read("jobapi_workers", state="idle") == 0
    assert read("jobapi_worker_last_run_timestamp_seconds", queue="default") == pytest.approx(long_ago / 1000)


def test_runs_of_cron_leave_their_time_and_their_interval(broker: Broker, api: Client) -> None:
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    for minutes in (0, 10, 20, 35):
        started = began + timedelta(minutes=minutes)
        run = Run(
            worker="h:1:a", host="h", queues=("default",), mode="drain", interval_seconds=None, started_at=started,
            ended_at=started + timedelta(seconds=5), jobs=3, outcome="drained",
        )  # fmt: skip
        broker.note_run(run)

    page = page_of(api)

    default = frozenset({("queue", "default")})
    last = (began + timedelta(minutes=35, seconds=5)).timestamp()
    assert page["jobapi_worker_last_run_timestamp_seconds", default] == last
    assert page["jobapi_worker_run_interval_seconds", default] == 600
    assert ("jobapi_worker_run_interval_seconds", frozenset({("queue", "mail")})) not in page


# The database server


def test_the_server_tells_of_itself(read: Read, valkey: Redis) -> None:
    info = valkey.info()

    assert read("jobapi_store_up") == 1
    assert read("jobapi_store_memory_used_bytes") == pytest.approx(info["used_memory"], rel=0.5)
    assert read("jobapi_store_memory_max_bytes") == info["maxmemory"]
    assert read("jobapi_store_journal_enabled") == read("jobapi_store_journal_last_write_ok") == 1
    assert read("jobapi_store_commands_total") > info["total_commands_processed"]
    assert read("jobapi_store_primary") == 1
    assert read("jobapi_store_replica_lag_bytes") == 0


def test_the_replica_that_is_furthest_behind_counts() -> None:
    info = {
        "connected_slaves": 3,
        "slave0": {"state": "online", "offset": 90, "lag": 1},
        "slave1": {"state": "online", "offset": 70, "lag": 9},
        "slave2": {"state": "wait_bgsave", "offset": 0, "lag": 0},
    }

    assert [replica["lag"] for replica in replicas(info)] == [1, 9]


def test_without_the_database_the_process_still_answers(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Redis.from_url("unix:///nowhere/valkey.sock")
    collector = QueueCollector(lambda: away, lambda: ["default"], lambda: 300.0)
    monkeypatch.setattr(metrics, "exposition", metrics.Exposition(collector, logs=metrics.logs))

    page = page_of(api)

    assert page["jobapi_store_up", frozenset()] == 0
    assert page["process_resident_memory_bytes", frozenset()] > 0
    assert not [name for name, _ in page if name.startswith("jobapi_queue_")]


def test_a_key_that_is_damaged_is_counted_and_costs_the_figures_alone(api: Client, valkey: Redis, read: Read) -> None:
    before = read("jobapi_collector_errors_total", reason="other")
    valkey.set(queue_keys("default").ready, "no sorted set")

    page = page_of(api)

    assert page["jobapi_store_up", frozenset()] == 0
    assert page["jobapi_collector_errors_total", frozenset({("reason", "other")})] == before + 1


# The process


def test_a_refused_submission_counts_by_reason(post: Post, read: Read) -> None:
    before = {
        reason: read("jobapi_submissions_refused_total", reason=reason) for reason in ("unknown_queue", "invalid")
    }

    post("/api/v1/jobs", {"kind": "echo", "queue": "nowhere"})
    post("/api/v1/jobs/bulk", {"jobs": [{"kind": "echo"}, {"kind": "not a kind"}, {"kind": "echo", "queue": "no"}]})
    post("/api/v1/queues/nowhere/pause", {})

    assert read("jobapi_submissions_refused_total", reason="unknown_queue") == before["unknown_queue"] + 2
    assert read("jobapi_submissions_refused_total", reason="invalid") == before["invalid"] + 1


def test_requests_and_statements_are_counted(api: Client, read: Read) -> None:
    labels = {"status": "404", "view": "job-detail", "method": "GET"}
    api.get(f"/api/v1/jobs/default_{0:032x}")
    before = read("django_http_responses_total_by_status_view_method_total", **labels)

    api.get(f"/api/v1/jobs/default_{0:032x}")

    assert read("django_http_responses_total_by_status_view_method_total", **labels) == before + 1


@pytest.mark.django_db
def test_statements_to_the_sql_database_are_counted(read: Read, django_user_model: type) -> None:
    django_user_model.objects.count()
    before = read("django_db_execute_total", alias="default", vendor="sqlite")

    django_user_model.objects.count()

    assert read("django_db_execute_total", alias="default", vendor="sqlite") == before + 1


def test_log_lines_are_counted_by_handler(read: Read, settings: LazySettings) -> None:
    logging.getLogger(__name__).warning("a line")
    lines = settings.LOG_FIGURES()["stdout"].sent

    assert read("jobapi_log_records_sent_total", handler="stdout") >= lines > 0
    assert read("jobapi_log_records_dropped_total", handler="stdout", reason="write_error") == 0


def test_the_build_is_told(read: Read, settings: LazySettings) -> None:
    assert read("jobapi_build_info", app_version=settings.VERSION) == 1
    assert f'\nversion = "{settings.VERSION}"\n' in (PROJECT / "pyproject.toml").read_text()


# The whole page


def test_labels_are_of_the_configuration_whatever_clients_send(api: Client, post: Post) -> None:
    for n in range(3):
        api.get(f"/api/v1/queues/queue-{n}")  # the first of each kind of request makes its series
        api.generic("BREW", f"/nowhere/{n}")
        post("/api/v1/jobs", {"kind": f"kind-{n}", "queue": f"queue-{n}"})
        post("/api/v1/jobs", {"kind": f"kind-{n}"})
    page_of(api)
    before = set(page_of(api))

    for n in range(20):
        api.get(f"/api/v1/queues/some-{n}")
        api.generic(f"BREW{n}", f"/other/{n}")
        post("/api/v1/jobs", {"kind": f"other-{n}", "queue": f"some-{n}"})
        post("/api/v1/jobs", {"kind": f"other-{n}"})

    assert [sample for sample in page_of(api) if sample not in before] == []


def test_no_label_is_one_that_datadog_keeps_for_itself(api: Client) -> None:
    reserved = {"cluster", "cluster_name", "cluster_id", "clusterid", "env", "host", "host_name", "service", "version"}

    labels = {label for name, pairs in page_of(api) if name != "python_info" for label, _ in pairs}

    assert not labels & reserved


def test_no_counter_comes_with_the_time_of_its_birth(api: Client) -> None:
    assert not [name for name, _ in page_of(api) if name.endswith("_created")]


def test_only_reading_is_allowed(api: Client) -> None:
    assert api.head("/metrics").status_code == 200
    assert [getattr(api, method)("/metrics").status_code for method in ("post", "put", "delete")] == [405] * 3


@pytest.mark.parametrize("count", [1, 5])
def test_a_scrape_makes_as_many_calls_as_there_are_queues(
    api: Client, valkey: Redis, broker: Broker, settings: LazySettings, count: int
) -> None:
    settings.QUEUES = [f"queue-{n}" for n in range(count)]
    for queue in settings.QUEUES:
        broker.enqueue_many(queue, [ECHO] * 100)
    page_of(api)
    valkey.config_resetstat()

    page_of(api)

    calls = {name: about["calls"] for name, about in valkey.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 2 * count  # figures, and runs
    assert calls["cmdstat_info"] == 1
    assert sum(calls.values()) <= 30 * count + 5
    assert not {"cmdstat_scan", "cmdstat_keys", "cmdstat_zscan", "cmdstat_hscan"} & set(calls)


def test_the_documentation_names_every_family(api: Client) -> None:
    text = (PROJECT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(jobapi_\w+)` \| (\w+) \| ([^|]*) \|", text, re.MULTILINE)
    documented = {name: kind for name, kind, _ in rows}

    told = dict(re.findall(r"^# TYPE (jobapi_\w+) (\w+)$", api.get("/metrics").content.decode(), re.MULTILINE))

    assert documented == told
    assert len(rows) == len(documented)


# Several processes


def test_the_folder_of_several_processes_is_emptied_and_handed_to_granian(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.VAR_DIR, settings.PORT, settings.API_PROCESSES = tmp_path, free_ports(1)[0], 3
    folder = tmp_path / f"metrics-{settings.HOST}-{settings.PORT}"
    folder.mkdir()
    (folder / "counter_1.db").write_text("of a former run")

    command = launch.api_command()

    assert f"PROMETHEUS_MULTIPROC_DIR={folder}" in command
    assert command[command.index("--workers") + 1] == "3"
    assert list(folder.iterdir()) == []


def test_the_folder_of_an_api_that_runs_is_left_alone(settings: LazySettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.VAR_DIR, settings.PORT, settings.API_PROCESSES = tmp_path, listener.getsockname()[1], 2
        folder = tmp_path / f"metrics-{settings.HOST}-{settings.PORT}"
        folder.mkdir()
        (folder / "counter_1.db").write_text("of an API that runs")

        with pytest.raises(launch.LaunchError, match="is it running already"):
            launch.api_command()

        assert (folder / "counter_1.db").exists()


def test_one_process_needs_no_folder(settings: LazySettings) -> None:
    assert not [word for word in launch.api_command() if word.startswith("PROMETHEUS_MULTIPROC_DIR")]


def test_the_figures_of_processes_add_up_and_those_of_a_dead_one_go(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"counter_{os.getpid()}.db", f"counter_{os.getppid()}.db", f"counter_{dead.pid}.db"):
        (tmp_path / name).touch()
    gauge = tmp_path / f"gauge_livesum_{dead.pid}.db"
    gauge.touch()

    found = {family.name: family.samples for family in metrics.Processes(tmp_path).collect()}

    own, parent = (
        {one.name: one.samples[0].value for one in ProcessCollector(pid=partial(str, pid), registry=None).collect()}
        for pid in (os.getpid(), os.getppid())
    )
    total = {name: samples[0].value for name, samples in found.items()}
    assert total["process_max_fds"] == own["process_max_fds"] + parent["process_max_fds"]
    assert total["process_start_time_seconds"] == max(
        parent["process_start_time_seconds"], own["process_start_time_seconds"]
    )
    assert [len(samples) for samples in found.values()] == [1] * len(found)
    assert not gauge.exists()
    assert (tmp_path / f"counter_{dead.pid}.db").exists()


# Log shipping


@dataclass
class Told:
    """Figures of a log handler."""

    sent: int
    dropped: dict[str, int]
    queued: int = 0
    queued_bytes: int = 0
    connected: bool | None = None
    reconnects: int = 0


def test_figures_of_log_shipping_are_carried_over_and_never_fall(read: Read) -> None:
    told = {"ship": Told(sent=5, dropped={"queue_full": 2}, queued=7, queued_bytes=700, connected=True, reconnects=1)}
    mirror = LogMirror(lambda: told)
    mirror.refresh()
    mirror.refresh()

    assert read("jobapi_log_records_sent_total", handler="ship") == 5
    assert read("jobapi_log_records_dropped_total", handler="ship", reason="queue_full") == 2
    assert read("jobapi_log_queue_records", handler="ship") == 7
    assert read("jobapi_log_queue_bytes", handler="ship") == 700
    assert read("jobapi_log_connection_up", handler="ship") == 1

    told["ship"] = Told(sent=1, dropped={"queue_full": 0}, connected=False)  # in a process that was forked
    mirror.refresh()

    assert read("jobapi_log_records_sent_total", handler="ship") == 5
    assert read("jobapi_log_connection_up", handler="ship") == 0
    assert read("jobapi_log_queue_records", handler="ship") == 0
