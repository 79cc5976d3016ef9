"""The Datadog Agent's OpenMetrics check reads /metrics as deploy/datadog tells it to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from queueing import Broker, NewJob
from tests.system.faults.programs import missing
from tests.system.http.server import ApiServer
from tests.system.processes import PROJECT

PYTHON = PROJECT / ".datadog-venv" / "bin" / "python"
CONFIGURATION = PROJECT / "deploy" / "datadog" / "conf.d" / "openmetrics.d" / "conf.yaml"
TOKEN = "s3cret"


class Sample(NamedTuple):
    """What the check reports to the Agent."""

    name: str
    value: float
    tags: frozenset[str]


@pytest.fixture
def api(valkey: Redis, tmp_path: Path) -> Iterator[ApiServer]:
    """Serve the API, which gives its metrics to those who have the token."""
    server = ApiServer(tmp_path / "api.log", MONITORING_TOKEN=TOKEN)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


def run_check(api: ApiServer, **headers: str) -> subprocess.CompletedProcess[str]:
    """Run the check in its own environment; without that, skip, or fail in CI."""
    if not PYTHON.exists():
        missing("the environment of the Datadog checks (make datadog)")
    script = Path(__file__).parent / "datadog" / "run_check.py"
    command = [PYTHON, script, CONFIGURATION, f"{api.url}/metrics", json.dumps(headers)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_check_reports_the_figures_of_queues(api: ApiServer, broker: Broker) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 3)
    broker.ack(broker.claim("default", "w").jobs[0])

    done = run_check(api, Authorization=f"Bearer {TOKEN}")

    assert done.returncode == 0, done.stderr
    samples = [Sample(name, value, frozenset(tags)) for name, value, tags in json.loads(done.stdout)]
    default = f"endpoint:{api.url}/metrics", "queue:default"
    for state, count in {"ready": 2, "succeeded": 1, "dead": 0}.items():
        assert Sample("jobapi.queue_jobs", count, frozenset({*default, f"state:{state}"})) in samples
    assert Sample("jobapi.jobs_submitted.count", 3, frozenset(default)) in samples
    assert Sample("jobapi.attempts.count", 1, frozenset({*default, "outcome:succeeded"})) in samples
    assert Sample("jobapi.job_wait_seconds.count", 1, frozenset(default)) in samples
    assert {"jobapi.store_up", "jobapi.process_resident_memory_bytes"} <= {sample.name for sample in samples}
    assert not [sample.name for sample in samples if sample.name.startswith("jobapi.jobapi")]


def test_without_the_token_the_check_says_why(api: ApiServer) -> None:
    done = run_check(api)

    assert done.returncode != 0
    assert "403 Client Error" in done.stderr
