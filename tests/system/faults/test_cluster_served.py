"""The API and the commands on a cluster: what they show of it, and what they say when it is away."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.crc import key_slot

from queueing import Broker, Durability, DurabilityNotMet, NewJob, StoreUnavailable
from queueing.connections import meet_cluster
from queueing.jobs import new_job_id
from queueing.keys import queue_keys
from tests.system.auth.conftest import manage
from tests.system.dashboard.conftest import MAKE_STAFF
from tests.system.deploy.conftest import make_secrets
from tests.system.deploy.test_valkey import MIGRATE, log_in
from tests.system.faults.api import ANSWER_SECONDS, READY, SUBMIT, Api
from tests.system.faults.test_cluster import move_at_once
from tests.system.http.server import ApiServer
from tests.system.processes import PROJECT, RunWorker, wait_until
from tests.topologies import Server, SixNodes, frozen, ports, store_at

QUEUES = ("default", "mail", "invoices")
ECHO = {"kind": "echo"}


@pytest.fixture
def environment(nodes: SixNodes, tmp_path: Path) -> dict[str, str]:
    """Give what the programs of a test are told."""
    users = f"sqlite:///{tmp_path / 'users.sqlite3'}"
    told = {"REDIS_URL": nodes.url, "QUEUES": ",".join(QUEUES), "DATABASE_URL": users, "VAR_DIR": str(tmp_path)}
    return {**told, "RATE_LIMIT_WRITES": "1000/60", "RATE_LIMIT_READS": "1000/60"}


@pytest.fixture
def api(environment: dict[str, str], tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "api.log", **environment)
    server.wait_until_ready()
    yield server
    server.close()


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Give the URL of a cluster whose servers let everybody connect and answer nobody."""
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in silent)


def test_the_api_serves_queues_of_all_servers_and_shows_each_server(
    api: ApiServer, nodes: SixNodes, environment: dict[str, str]
) -> None:
    names = [f"127.0.0.1:{nodes.primary_of(queue).port}" for queue in QUEUES]
    manage(environment, "shell", "--command", MIGRATE + MAKE_STAFF)
    headers = {"Content-Type": "application/json"}

    submitted = [
        api.ask("POST", "/api/v1/jobs", json.dumps({**ECHO, "queue": queue}).encode(), headers) for queue in QUEUES
    ]
    listed = json.loads(api.ask("GET", "/api/v1/queues").body)
    metrics = api.ask("GET", "/metrics").body.decode()
    cookies = {"Cookie": log_in(api)}
    pages = [api.ask("GET", f"/admin/dashboard/dashboard/{page}", headers=cookies) for page in ("", "store/", "jobs/")]
    doctor = manage(environment, "doctor")

    assert len(set(names)) == len(QUEUES)
    assert [answer.status for answer in submitted] == [201] * len(QUEUES)
    assert {answer.headers["ratelimit"].partition(";")[2].partition(";")[0] for answer in submitted} == {
        f"r={1000 - n}" for n in range(1, len(QUEUES) + 1)
    }
    assert [queue["counts"]["ready"] for queue in listed["items"]] == [1] * len(QUEUES)
    assert set(re.findall(r'jobapi_store_primary\{node="([^"]+)"\} 1.0', metrics)) == set(names)
    assert [page.status for page in pages] == [200] * len(pages)
    assert all(name in pages[1].body.decode() for name in names)
    assert all(f"{name}: the journal is on" in doctor for name in names)


def test_a_cluster_that_answers_nothing_is_told_of_within_2_s(nodes: SixNodes, environment: dict[str, str]) -> None:
    folder = Path(environment["VAR_DIR"])
    api = Api(folder / "api.log", {**environment, "AUTH_MODE": "none"})
    try:
        api.wait_until_serving()
        with frozen(nodes.servers):
            asked = [
                api.ask(SUBMIT, "/api/v1/jobs", ECHO) if n % 2 else api.ask(READY, path)
                for n, path in enumerate(["/readyz", "", "/api/v1/queues", "", "/api/v1/jobs", ""])
            ]
        served = wait_until(lambda: api.ask(SUBMIT, "/api/v1/jobs", ECHO).status == 201)
        api.wait_until_serving()
    finally:
        api.kill()

    assert {answer.status for answer in asked} == {503}
    assert max(answer.seconds for answer in asked) <= ANSWER_SECONDS
    assert served < 10


def test_a_shard_that_answers_nothing_takes_its_own_queues_with_it_alone(
    nodes: SixNodes, environment: dict[str, str]
) -> None:
    api = Api(Path(environment["VAR_DIR"]) / "api.log", {**environment, "AUTH_MODE": "none"})
    away, *others = QUEUES
    primary = nodes.primary_of(away)
    try:
        api.wait_until_serving()
        with frozen([primary, nodes.replica_of(primary)]):
            asked = {queue: api.ask(SUBMIT, "/api/v1/jobs", {**ECHO, "queue": queue}) for queue in QUEUES}
            ready = api.ask(READY, "/readyz")
        wait_until(nodes.is_whole)
    finally:
        api.kill()

    assert {queue: answer.status for queue, answer in asked.items()} == {away: 503} | dict.fromkeys(others, 201)
    assert ready.status == 200
    assert max(answer.seconds for answer in (*asked.values(), ready)) <= ANSWER_SECONDS


def test_the_api_starts_while_the_cluster_answers_nothing_and_serves_once_it_does(
    nodes: SixNodes, environment: dict[str, str]
) -> None:
    api = Api(Path(environment["VAR_DIR"]) / "api.log", {**environment, "AUTH_MODE": "none"})
    try:
        with frozen(nodes.servers):
            api.wait_until_serving("/livez")
            asked = [api.ask(READY, "/readyz"), api.ask(SUBMIT, "/api/v1/jobs", ECHO)]
        api.wait_until_serving()
    finally:
        api.kill()

    assert [answer.status for answer in asked] == [503, 503]
    assert max(answer.seconds for answer in asked) <= ANSWER_SECONDS


def test_the_users_of_the_deployment_do_their_jobs_in_a_cluster_with_what_the_documents_add(
    nodes: SixNodes, environment: dict[str, str], tmp_path: Path
) -> None:
    added = re.search(r"^\+cluster\|slots.*$", (PROJECT / "docs" / "deployment.md").read_text(), re.MULTILINE)
    assert added is not None
    make_secrets(tmp_path / "secrets", "nowhere")
    for user in (tmp_path / "secrets" / "users.acl").read_text().splitlines():
        _, name, *rules = re.findall(r"\([^)]*\)|\S+", user)
        for server in nodes.servers if name in ("api", "worker") else ():
            server.ask("ACL", "SETUSER", name, "reset", *rules, *added[0].split())
            server.ask("ACL", "LOG", "RESET")
    told = {
        name: {**environment, "REDIS_URL": nodes.url.replace("://", f"://{credentials(tmp_path, name)}@")}
        for name in ("api", "worker")
    }
    api, worker = ApiServer(tmp_path / "acl.log", **told["api"]), RunWorker([], tmp_path / "worker.log", told["worker"])
    try:
        api.wait_until_ready()
        sent = [{**ECHO, "queue": queue, "durability": "replicated"} for queue in QUEUES]
        headers = {"Content-Type": "application/json"}
        answers = [api.ask("POST", "/api/v1/jobs", json.dumps(job).encode(), headers) for job in sent]
        with closing(store_at(nodes.url)) as client:
            wait_until(lambda: all(client.zcard(queue_keys(queue).succeeded) == 1 for queue in QUEUES))
        worker.terminate()
        code = worker.wait()
    finally:
        worker.kill()
        api.close()

    assert [answer.status for answer in answers] == [201] * len(QUEUES)
    assert answers[-1].headers["ratelimit"]
    assert [server.ask("ACL", "LOG") for server in nodes.servers] == [[]] * len(nodes.servers)
    assert code == 0


def credentials(folder: Path, user: str) -> str:
    """Return the name and password of a user, as a URL has them."""
    return urlsplit((folder / "secrets" / f"redis_url_{user}").read_text()).netloc.rpartition("@")[0]


def test_a_job_that_no_replica_has_is_not_called_replicated_however_often_it_is_sent(nodes: SixNodes) -> None:
    job_id = new_job_id("default")
    replica = nodes.replica_of(nodes.primary_of("default"))
    outcomes = []

    with frozen([replica]):
        for _ in range(2):
            with closing(store_at(nodes.url)) as client, pytest.raises(DurabilityNotMet) as refusal:
                Broker(client).enqueue("default", NewJob.of("echo"), job_id=job_id, durability=Durability.REPLICATED)
            outcomes.append(refusal.value.job_id)
    wait_until(nodes.is_whole)
    with closing(store_at(nodes.url)) as client:
        again = Broker(client).enqueue("default", NewJob.of("echo"), job_id=job_id, durability=Durability.REPLICATED)

    assert outcomes == [job_id, job_id]
    assert again.outcome == "exists"


def test_the_replicas_that_count_are_those_of_the_server_that_has_the_queue_now(nodes: SixNodes) -> None:
    client = store_at(nodes.url)
    broker = Broker(client)
    for queue in (*QUEUES, "moving"):  # each server knows the script, and needs to be asked once only
        broker.enqueue(queue, NewJob.of("echo"), durability=Durability.REPLICATED)
    target = move_at_once(nodes, "moving")

    with frozen([nodes.replica_of(target)]), pytest.raises(DurabilityNotMet) as refusal:
        broker.enqueue("moving", NewJob.of("echo"), durability=Durability.REPLICATED)

    client.close()
    assert refusal.value.reason == "0 of 1 replicas have it"


def test_while_jobs_have_left_and_their_sets_have_not_a_queue_refuses_and_nothing_changes(nodes: SixNodes) -> None:
    client = store_at(nodes.url)
    broker, keys, slot = Broker(client), queue_keys("moving"), key_slot(b"moving")
    job_id = broker.enqueue("moving", NewJob.of("echo")).id
    for state_key in (keys.running, keys.scheduled, keys.deadlines, keys.expired, keys.succeeded):
        client.zadd(state_key, {"standing-in": 9e15})
    source = nodes.primary_of("moving")
    target = next(nodes.primary_of(queue) for queue in QUEUES if nodes.primary_of(queue) is not source)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
    source.ask("MIGRATE", "127.0.0.1", target.port, keys.job(job_id), 0, 5000)
    before = [source.ask("ZRANGE", key, 0, -1) for key in (keys.ready, keys.running)]

    with pytest.raises(StoreUnavailable):
        broker.claim("moving", "w1")

    after = [source.ask("ZRANGE", key, 0, -1) for key in (keys.ready, keys.running)]
    rest = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
    source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *rest)
    for server in (target, source):
        server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
    claimed = broker.claim("moving", "w1").jobs
    client.close()
    assert after == before
    assert [job.id for job in claimed] == [job_id]


def test_a_cluster_that_is_met_late_is_met_by_the_next_call(nodes: SixNodes) -> None:
    cluster = meet_cluster(nodes.url)
    broker = Broker(cluster)
    with frozen(nodes.servers), pytest.raises(StoreUnavailable):
        broker.enqueue("default", NewJob.of("echo"))

    def is_met() -> bool:
        try:
            return broker.enqueue("default", NewJob.of("echo")).outcome == "created"
        except StoreUnavailable:
            return False

    wait_until(is_met)


def test_a_cluster_is_met_in_a_call_s_time_though_most_servers_of_its_url_hang(
    nodes: SixNodes, silent_url: str
) -> None:
    broker = Broker(meet_cluster(f"{silent_url},127.0.0.1:{nodes.servers[0].port}"))

    assert broker.enqueue("default", NewJob.of("echo")).outcome == "created"


def test_servers_that_all_hang_are_waited_for_once(silent_url: str) -> None:
    broker = Broker(meet_cluster(silent_url))
    began = time.monotonic()

    with pytest.raises(StoreUnavailable, match="no server of the cluster answers"):
        broker.enqueue("default", NewJob.of("echo"))

    assert time.monotonic() - began < ANSWER_SECONDS


def test_a_server_without_a_slot_is_no_cluster_and_that_is_said(folder: Path) -> None:
    port, bus = ports(2)
    with Server(folder, port, "--cluster-enabled", "yes", "--cluster-port", str(bus)) as server:
        broker = Broker(meet_cluster(f"redis+cluster://127.0.0.1:{server.port}"))

        with pytest.raises(StoreUnavailable, match="they say that no server has a slot"):
            broker.enqueue("default", NewJob.of("echo"))
