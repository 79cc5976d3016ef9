"""A real rsyslog receives every line of a run of ten thousand jobs, in both formats, and over TLS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from queueing import Broker, NewJob
from tests.system.logging.conftest import Rsyslog, StartApi, gnutls, lines_of
from tests.system.processes import RunWorker, wait_until

JOBS = 10_000
PER_REQUEST = 500

pytestmark = pytest.mark.timeout(120)


def bulk(jobs: int) -> bytes:
    return json.dumps({"jobs": [{"kind": "echo", "payload": {"n": n}} for n in range(jobs)]}).encode()


def test_every_line_of_ten_thousand_jobs_arrives_in_both_formats(
    rsyslog: Rsyslog, start_api: StartApi, run_worker: Callable[..., RunWorker], tmp_path: Path
) -> None:
    shipped = {
        name: {"LOG_TCP_URL": f"tcp://127.0.0.1:{rsyslog.ports[port]}", "LOG_TCP_FORMAT": name}
        for name, port in (("json", 5170), ("rfc5424", 5514))
    }
    api = start_api(**shipped["rfc5424"])
    for _ in range(JOBS // PER_REQUEST):
        answer = api.ask("POST", "/api/v1/jobs/bulk", bulk(PER_REQUEST), {"Content-Type": "application/json"})
        assert answer.status == 200
    workers = [run_worker("--drain", "--concurrency", "4", **settings) for settings in shipped.values()]

    assert [worker.wait(90) for worker in workers] == [0, 0]
    api.close()

    by_json, by_rfc5424, of_api = (lines_of(log) for log in (*sorted(tmp_path.glob("worker-*.log")), api.log))
    for name, logged in (("json.log", by_json), ("rfc5424.log", by_rfc5424 + of_api)):
        wait_until(lambda name=name, logged=logged: len(rsyslog.lines(name)) >= len(logged))
        assert Counter(rsyslog.lines(name)) == Counter(logged)
    events = [json.loads(line) for line in by_json + by_rfc5424 + of_api]
    attempts = [event for event in events if event.get("action") == "attempt"]
    assert len({event["job_id"] for event in attempts}) == len(attempts) == JOBS
    assert len([event for event in events if event.get("route") == "api/v1/jobs/bulk"]) == JOBS // PER_REQUEST
    print(f"json {len(by_json)} lines, rfc5424 {len(by_rfc5424)} and {len(of_api)} of the API")  # noqa: T201 - figures


def test_every_line_arrives_over_tls_from_a_known_client(
    broker: Broker, run_worker: Callable[..., RunWorker], tmp_path: Path
) -> None:
    gnutls()
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    authority = trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("worker.example.org")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    client.private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))
    rsyslog = Rsyslog(folder, "jobapi-tls.conf")
    rsyslog.start()
    broker.enqueue_many("default", [NewJob.of("echo")] * 300)

    worker = run_worker(
        "--drain",
        LOG_TCP_URL=f"tls://localhost:{rsyslog.ports[6514]}",
        LOG_TCP_FORMAT="rfc5424",
        LOG_TCP_CA_FILE=folder / "ca.pem",
        LOG_TCP_CERTIFICATE_FILE=folder / "client.pem",
    )
    assert worker.wait() == 0

    logged = lines_of(tmp_path / "worker-0.log")
    wait_until(lambda: len(rsyslog.lines("rfc5424.log")) >= len(logged))
    rsyslog.stop()
    assert Counter(rsyslog.lines("rfc5424.log")) == Counter(logged)
    assert len(logged) >= 300
