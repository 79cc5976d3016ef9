from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from django.test import Client

from jobapi import waiting
from queueing import Broker, NewJob

NEVER = "default_" + "0" * 32


@pytest.fixture
def job_id(broker: Broker) -> str:
    return broker.enqueue("default", NewJob.of("echo")).id


def get(api: Client, job_id: str, **headers: str) -> object:
    return api.get(f"/api/v1/jobs/{job_id}", headers={name.replace("_", "-"): value for name, value in headers.items()})


def change_when_waited_for(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Let something happen in the first pause between two looks, which takes no time."""
    changes = [change]
    monkeypatch.setattr(waiting.time, "sleep", lambda _: changes.pop()() if changes else None)


def test_a_job_that_the_client_knows_already_is_not_sent_again(api: Client, broker: Broker, job_id: str) -> None:
    etag = get(api, job_id)["ETag"]

    known = get(api, job_id, If_None_Match=etag)
    among_others = get(api, job_id, If_None_Match=f'"x", {etag}, "y"')
    other = get(api, job_id, If_None_Match='"x"')

    assert (known.status_code, known.content, known["ETag"]) == (304, b"", etag)
    assert (among_others.status_code, other.status_code) == (304, 200)


def test_the_tag_changes_with_the_job_but_not_with_its_place(api: Client, broker: Broker, job_id: str) -> None:
    etag = get(api, job_id)["ETag"]
    newer = broker.enqueue("default", NewJob.of("echo")).id

    assert get(api, job_id).json()["position"] == 2
    assert get(api, job_id)["ETag"] == etag
    broker.delete(newer)
    broker.claim("default", "w")
    assert get(api, job_id)["ETag"] != etag


def test_an_answer_is_held_until_the_job_changes(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_when_waited_for(monkeypatch, lambda: broker.claim("default", "w"))

    response = get(api, job_id, Prefer="respond-async, wait=20")

    assert (response.status_code, response.json()["state"]) == (200, "running")
    assert response["Preference-Applied"] == "wait=20"


def test_what_others_do_does_not_end_the_waiting(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def pass_time(_: float) -> None:
        looks.append(broker.enqueue("default", NewJob.of("echo")).id)
        if len(looks) == 3:
            broker.cancel(job_id)

    monkeypatch.setattr(waiting.time, "sleep", pass_time)

    response = get(api, job_id, Prefer="wait=20")

    assert response.json()["state"] == "cancelled"
    assert len(looks) == 3


def test_a_job_that_does_not_change_in_time_is_sent_as_it_is_or_not_at_all(api: Client, job_id: str) -> None:
    began = time.monotonic()
    plain = get(api, job_id, Prefer="wait=1")
    took = time.monotonic() - began
    etag = plain["ETag"]

    known = get(api, job_id, Prefer="wait=0", If_None_Match=etag)

    assert (plain.status_code, plain.json()["state"], plain["Preference-Applied"]) == (200, "ready", "wait=1")
    assert took >= 1
    assert (known.status_code, known["Preference-Applied"]) == (304, "wait=0")


def test_a_client_that_knows_an_old_version_is_answered_at_once(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = get(api, job_id)["ETag"]
    broker.claim("default", "w")
    monkeypatch.setattr(waiting.time, "sleep", lambda _: pytest.fail("it waits"))

    response = get(api, job_id, Prefer="wait=20", If_None_Match=etag)

    assert (response.status_code, response.json()["state"]) == (200, "running")


def test_a_finished_job_is_not_waited_for(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.cancel(job_id)
    monkeypatch.setattr(waiting.time, "sleep", lambda _: pytest.fail("it waits"))

    response = get(api, job_id, Prefer="wait=20")

    assert (response.status_code, response["Preference-Applied"]) == (200, "wait=20")


def test_a_job_that_is_deleted_while_it_is_waited_for_is_a_404(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_when_waited_for(monkeypatch, lambda: broker.delete(job_id))

    assert get(api, job_id, Prefer="wait=20").status_code == 404


def test_one_waiter_too_many_is_answered_at_once(api: Client, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_places", threading.BoundedSemaphore(1))
    waiting._places.acquire()
    monkeypatch.setattr(waiting.time, "sleep", lambda _: pytest.fail("it waits"))

    response = get(api, job_id, Prefer="wait=20")

    assert response.status_code == 200
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("outcome", ["answered", "job gone"])
def test_a_place_is_given_back_however_the_waiting_ends(
    api: Client, broker: Broker, job_id: str, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(waiting, "_places", places)
    change_when_waited_for(
        monkeypatch, lambda: broker.delete(job_id) if outcome == "job gone" else broker.cancel(job_id)
    )

    get(api, job_id, Prefer="wait=20")

    assert places.acquire(blocking=False)


@pytest.mark.parametrize(
    ("preference", "seconds"),
    [
        ("wait=5", 5), ("wait=31", 30), ("wait=999999999", 30), ('wait="7"', 7), ("Wait = 3", 3), ("wait=2;x=y", 2),
        ("handling=lenient, wait=4", 4), ("wait", None), ("wait=-1", None), ("wait=x", None), ("waiting=3", None),
        ("wait=1.5", None), ("", None),
    ],
)  # fmt: skip
def test_a_preference_that_cannot_be_understood_is_passed_over(
    rf: object, preference: str, seconds: int | None
) -> None:
    assert waiting.seconds_to_wait(rf.get("/", headers={"Prefer": preference})) == seconds  # type: ignore[attr-defined]


def test_a_job_that_is_not_there_is_not_waited_for(api: Client) -> None:
    assert get(api, NEVER, Prefer="wait=20").status_code == 404
