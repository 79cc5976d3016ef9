from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobapi.dashboard import exports
from jobapi.dashboard.exports import COLUMNS, csv_line
from queueing import Broker, NewJob, StoreUnavailable
from tests.dashboard.acting import die
from tests.dashboard.conftest import BASE

EXPORT = f"{BASE}jobs/export/"


def export(browser: Client, query: str = "", form: str = "csv") -> str:
    answer = browser.post(EXPORT, {"back": query, "format": form})
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_jobs_of_a_filter_are_a_file_of_csv(operator: Client, broker: Broker) -> None:
    (dead,) = die(broker, 'bad "amount",\nno 1', queue="mail")
    broker.enqueue("default", NewJob.of("echo"))

    answer = operator.post(EXPORT, {"back": "state=dead", "format": "csv"})
    text = b"".join(answer.streaming_content).decode()
    (row,) = rows_of(text)

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="jobs-20')
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    assert (row["id"], row["state"], row["error_message"], row["tags"]) == (
        dead, "dead", 'bad "amount",\nno 1', '["nightly"]',
    )  # fmt: skip


def test_json_lines_keep_the_payload_as_a_value_with_exact_numbers(administrator: Client, broker: Broker) -> None:
    broker.enqueue("default", NewJob(kind="echo", payload=b'{"id":9007199254740993001,"price":1.10}'))

    text = export(administrator, form="jsonl")

    assert '"payload": {"id": 9007199254740993001, "price": 1.10}' in text
    (line,) = lines_of(text)
    assert line.keys() == set(COLUMNS)
    assert (line["attempt"], line["result"], line["tags"]) == (0, None, [])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_secrets_are_masked_unless_the_viewer_may_see_payloads(
    operator: Client, administrator: Client, broker: Broker, form: str
) -> None:
    die(broker, "login with password=verborgen failed", payload={"user": "u1", "password": "geheim"})

    masked, whole = (export(browser, form=form) for browser in (operator, administrator))

    assert "u1" in masked
    assert not {"geheim", "verborgen"} & set(masked.replace('"', " ").replace("=", " ").split())
    assert "geheim" in whole
    assert "verborgen" in whole


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1"])
def test_no_cell_is_a_formula(text: str) -> None:
    row = dict.fromkeys(COLUMNS, "") | {"error_message": text, "kind": "plain - text"}

    (read,) = csv.DictReader(io.StringIO(csv_line(row).decode(), newline=""), fieldnames=COLUMNS)

    assert read["error_message"] == f"'{text}"
    assert read["kind"] == "plain - text"


def test_an_export_ends_after_as_many_jobs_as_the_setting_says_and_tells_so(
    operator: Client, broker: Broker, settings: LazySettings
) -> None:
    settings.EXPORT_MAX_JOBS = 120
    broker.enqueue_many("default", [NewJob.of("echo")] * 121)

    rows, lines = rows_of(export(operator)), lines_of(export(operator, form="jsonl"))

    assert len(rows) == len(lines) == 121
    assert rows[-1]["id"] == lines[-1]["id"] == "This is not all: an export ends after 120 jobs."
    settings.EXPORT_MAX_JOBS = 121
    assert "This is not all" not in export(operator)


def test_an_export_ends_before_it_fills_the_memory(
    operator: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_BYTES", 2_000)
    broker.enqueue_many("default", [NewJob.of("echo", "x" * 900)] * 9)

    rows = rows_of(export(operator))

    assert len(rows) == 3
    assert rows[-1]["id"] == "This is not all: an export ends after 2 jobs."


def test_a_database_that_goes_away_meanwhile_is_told_in_the_last_line(
    operator: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 3)
    real = exports.row_of
    seen: list[str] = []

    def failing(job: Any, *, reveal: bool) -> Any:
        seen.append(job.id)
        if len(seen) == 3:
            raise StoreUnavailable("away")
        return real(job, reveal=reveal)

    monkeypatch.setattr(exports, "row_of", failing)

    assert rows_of(export(operator))[-1]["id"] == "This is not all: the database went away after 2 jobs."


def test_an_export_is_recorded_with_its_filter_and_its_size(operator: Client, broker: Broker) -> None:
    die(broker, "a", "b", queue="mail")

    export(operator, "queue=mail&state=dead", "jsonl")

    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_repr, entry.object_id) == (
        "olga",
        "dead jobs of queue mail",
        "mail",
    )
    assert json.loads(entry.change_message) == {"action": "export", "format": "jsonl", "unmasked": False, "jobs": 2}


def test_only_those_who_may_export_do(viewer: Client, operator: Client, stranger: Client, broker: Broker) -> None:
    answers = [browser.post(EXPORT, {"format": "csv"}).status_code for browser in (viewer, stranger, operator)]

    assert answers == [403, 403, 200]
    assert operator.get(EXPORT).status_code == 405
    assert "Export:" not in viewer.get(f"{BASE}jobs/").content.decode()


@pytest.mark.parametrize("fields", [{"format": "xlsx"}, {"format": "csv", "back": "state=nonsense"}])
def test_what_cannot_be_exported_is_refused(operator: Client, fields: dict[str, str]) -> None:
    assert operator.post(EXPORT, fields).status_code == 400
    assert not LogEntry.objects.exists()
