from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from redis import Redis

from jobapi.management.commands import status
from queueing import Broker, JobError, NewJob


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def no_database(settings: LazySettings, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    settings.CACHES = {**settings.CACHES, "queue": {**settings.CACHES["queue"], "LOCATION": url}}


@pytest.fixture
def finishing(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> Any:
    """Give a function that lets a worker end the job while `submit --wait` sleeps."""

    def end_with(how: Any) -> None:
        monkeypatch.setattr("time.sleep", lambda _: how(broker.claim("mail", worker="w").jobs[0]))

    return end_with


def test_submit_prints_the_job(broker: Broker) -> None:
    job = json.loads(run("submit", "echo", "--payload", '{"a": 1}', "--queue", "mail", "--priority", "3"))

    assert (job["kind"], job["queue"], job["priority"], job["payload"]) == ("echo", "mail", 3, {"a": 1})
    assert broker.claim("mail", worker="w").jobs[0].id == job["id"]


def test_submit_with_a_delay_schedules_the_job() -> None:
    assert json.loads(run("submit", "echo", "--delay", "60"))["state"] == "scheduled"


def test_submit_wait_prints_the_finished_job(broker: Broker, finishing: Any) -> None:
    finishing(lambda job: broker.ack(job, b'"done"'))

    job = json.loads(run("submit", "echo", "--queue", "mail", "--wait"))

    assert (job["state"], job["result"]) == ("succeeded", "done")


def test_submit_wait_ends_with_1_when_the_job_died(broker: Broker, finishing: Any) -> None:
    finishing(lambda job: broker.fail(job, JobError(type="E", message="m"), outcome="dead"))

    with pytest.raises(SystemExit) as ended:
        run("submit", "fail", "--queue", "mail", "--wait")

    assert ended.value.code == 1


def test_submit_wait_ends_with_1_when_the_time_is_over() -> None:
    with pytest.raises(SystemExit) as ended:
        run("submit", "echo", "--wait", "--timeout", "0")

    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["echo", "--queue", "nope"], "the known queues are: default, mail"),
        (["two words"], "kind must match"),
        (["echo", "--payload", "{"], "payload is not valid JSON"),
        (["echo", "--payload", "NaN"], "payload is not valid JSON"),
        (["echo", "--payload", "\udcff"], "payload is not UTF-8"),
        (["echo", "--priority", "10"], "priority must lie between"),
        (["echo", "--delay", "-1"], "delay_seconds must lie between"),
        (["echo", "--delay", "nan"], "delay_seconds must lie between"),
    ],
)
def test_submit_refuses_bad_arguments_and_stores_nothing(valkey: Redis, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("submit", *arguments)

    assert valkey.dbsize() == 0


def test_status_has_a_line_for_each_queue(broker: Broker) -> None:
    broker.enqueue("mail", NewJob.of("echo"))
    broker.pause("default", reason="a\nb\x1b[2J")

    head, default, mail = run("status").splitlines()

    assert head.split()[:3] == ["queue", "scheduled", "ready"]
    assert default.endswith("yes: a b [2J")
    assert mail.split()[:3] == ["mail", "0", "1"]
    assert mail.endswith("no")


def test_status_json_is_what_the_api_answers(api: Any) -> None:
    assert json.loads(run("status", "--json")) == api.get("/api/v1/queues").json()


def test_status_watch_prints_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = iter([None, None])

    def pause(_: float) -> None:
        try:
            next(pauses)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("time.sleep", pause)

    assert run("status", "--watch").count("queue ") == 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.04, "0.0s"), (59.9, "59.9s"), (90, "1.5m"), (5400, "1.5h"), (129_600, "1.5d")]
)
def test_an_age_is_shown_in_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert status.age(seconds) == text


@pytest.mark.usefixtures("no_database")
@pytest.mark.parametrize("arguments", [["submit", "echo"], ["status"], ["status", "--watch"]])
def test_without_the_database_a_command_says_so(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="The database cannot be used"):
        run(*arguments)


@pytest.mark.parametrize("arguments", [["submit", "echo"], ["status"]])
def test_without_the_database_the_shell_sees_one_line_and_exit_code_1(tmp_path: Path, arguments: list[str]) -> None:
    environment = {
        **os.environ,
        "REDIS_URL": f"unix://{tmp_path}/nobody.sock",
        "DJANGO_SETTINGS_MODULE": "settings.test",
    }

    ended = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=django_settings.BASE_DIR, env=environment,
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
