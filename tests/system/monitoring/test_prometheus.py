"""A real Prometheus scrapes an API of two processes and two workers, one of which is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from queueing import Inspector, State
from tests.queueing.servers import free_ports
from tests.system.http.server import ApiServer
from tests.system.monitoring.programs import Prometheus, promtool
from tests.system.processes import RunWorker, wait_until

JOBS, FAILING, ONE_BY_ONE = 1_000, 37, 40
ECHO = {"kind": "echo"}
FAIL = {"kind": "fail", "payload": {"message": "as told"}, "max_attempts": 1}
SLEEP = {"kind": "sleep", "payload": {"seconds": 2}}
HTTP = 'django_http_responses_total_by_status_view_method_total{method="POST",status="%s",view="%s"}'
REQUESTS = "django_http_requests_before_middlewares_total"
TOTALS = {
    "jobapi_jobs_submitted_total": JOBS,
    "jobapi_claims_total": JOBS + 1,
    "jobapi_jobs_dead_total": FAILING,
    "jobapi_leases_reaped_total": 1,
    "jobapi_retries_scheduled_total": 0,
    "jobapi_stale_reports_total": 0,
    "jobapi_job_wait_seconds_count": JOBS,
    "jobapi_attempt_duration_seconds_count": JOBS,
    "jobapi_store_up": 1,
}

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def api(valkey: Redis, tmp_path: Path) -> Iterator[ApiServer]:
    """Serve the API by two processes."""
    server = ApiServer(tmp_path / "api.log", API_PROCESSES=2)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


def submit(api: ApiServer, *jobs: dict[str, object]) -> list[str]:
    """Submit jobs in one bulk and return their ids."""
    body = json.dumps({"jobs": jobs}).encode()
    answer = api.ask("POST", "/api/v1/jobs/bulk", body, {"Content-Type": "application/json"})
    assert answer.status == 200
    results = json.loads(answer.body)["results"]
    assert {result["status"] for result in results} == {201}
    return [result["id"] for result in results]


def submit_one(api: ApiServer) -> None:
    body = json.dumps(ECHO).encode()
    assert api.ask("POST", "/api/v1/jobs", body, {"Content-Type": "application/json"}).status == 201


def samples_of(page: str) -> dict[str, float]:
    """Return the value of every series, written with its labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def page_of(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def kill_the_holder(job_id: str, workers: dict[int, RunWorker], inspector: Inspector) -> int:
    """Kill the worker that runs a job once it does, and return the port it had."""
    wait_until(lambda: inspector.job(job_id).state is State.RUNNING)
    pid = int(inspector.job(job_id).attempts[-1].worker.split(":")[1])
    port = next(port for port, worker in workers.items() if worker.pid == pid)
    workers[port].kill()
    return port


def counted_by_process(api: ApiServer) -> list[float]:
    """Return how many requests each process of the API has counted, from the files that they share."""
    folder = settings.VAR_DIR / f"metrics-127.0.0.1-{api.port}"
    counts = []
    for pid in api.pids():
        found = MultiProcessCollector.merge([str(folder / f"counter_{pid}.db")])
        counts += [sample.value for one in found for sample in one.samples if sample.name == REQUESTS]
    return counts


def test_after_a_thousand_jobs_the_series_say_what_happened(
    api: ApiServer, run_worker: Callable[..., RunWorker], inspector: Inspector, tmp_path: Path
) -> None:
    ports = free_ports(2)
    workers = {port: run_worker("--metrics-port", str(port), "--concurrency", "4", LEASE_SECONDS=1) for port in ports}
    wait_until(lambda: len(inspector.stats("default").workers) == 2)
    with Prometheus(tmp_path, {"jobapi-api": [api.port], "jobapi-worker": ports}) as prometheus:
        wait_until(lambda: prometheus.value("queue:jobapi_queue_consumers:max") == 2)
        wait_until(lambda: prometheus.value("count(up == 1)") == 3)

        dead = kill_the_holder(submit(api, SLEEP)[0], workers, inspector)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: submit_one(api), range(ONE_BY_ONE)))
        for _ in range(FAILING):
            submit(api, *[ECHO] * 20, FAIL)
        submit(api, *[ECHO] * (JOBS - 1 - ONE_BY_ONE - FAILING * 21))
        wait_until(lambda: prometheus.value('min(jobapi_attempts_total{outcome="succeeded"})') == JOBS - FAILING)
        done_at = time.time()
        wait_until(lambda: (prometheus.value("min(timestamp(jobapi_store_up))") or 0) > done_at + 1)

        for way in ("min", "max"):  # every process that is left says the same
            assert prometheus.query(f"{way} by (outcome) (jobapi_attempts_total)") == {
                ("cancelled",): 0, ("failed",): FAILING, ("lost",): 1, ("succeeded",): JOBS - FAILING,
            }  # fmt: skip
            assert prometheus.query(f"{way} by (state) (jobapi_queue_jobs) > 0") == {
                ("dead",): FAILING, ("succeeded",): JOBS - FAILING,
            }  # fmt: skip
            for name, value in TOTALS.items():
                assert prometheus.value(f"{way} ({name})") == value, name
        assert prometheus.query("count by (job) (jobapi_store_up == 1)") == {("jobapi-api",): 1, ("jobapi-worker",): 1}
        assert prometheus.query("up == 0") == {(f"127.0.0.1:{dead}", "jobapi-worker"): 0}
        assert prometheus.value(HTTP % (201, "job-list")) == ONE_BY_ONE
        assert prometheus.value(HTTP % (200, "job-bulk")) == FAILING + 2
        assert min(counted_by_process(api)) > 0
        assert len(counted_by_process(api)) == 2
        firing = prometheus.query('count by (alertname) (ALERTS{alertstate="firing"})')
        assert set(firing) == {("JobapiJobsDie",), ("JobapiLeasesRunOut",)}
        assert ("JobapiInstanceDown",) in prometheus.query('count by (alertname) (ALERTS{alertstate="pending"})')

    left = next(port for port in ports if port != dead)
    for page in (api.ask("GET", "/metrics").body.decode(), page_of(left)):
        assert promtool("check", "metrics", text=page) == ""


def test_whichever_process_is_asked_tells_the_totals_of_all(api: ApiServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: submit_one(api), range(ONE_BY_ONE)))
        pages = list(pool.map(lambda _: samples_of(api.ask("GET", "/metrics").body.decode()), range(20)))

    for page in pages:
        assert page[HTTP % (201, "job-list")] == ONE_BY_ONE
        assert page["process_resident_memory_bytes"] > 2 * 40 * 1024**2
        assert page['jobapi_log_records_dropped_total{handler="stdout",reason="write_error"}'] == 0
