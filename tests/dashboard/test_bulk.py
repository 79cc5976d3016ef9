from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from redis import Redis

from jobapi.dashboard import bulk
from jobapi.dashboard.bulk import BATCH_JOBS, Verb
from queueing import Broker, Inspector, JobError, NewJob, State, StoreUnavailable
from tests.dashboard.acting import ask, counts, die, do, field, go_on, text_of
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump
from tests.queueing.states import job_in


def sizes(inspector: Inspector, queue: str = "default") -> dict[State, int]:
    return {state: size for state, size in inspector.stats(queue).counts.items() if size}


def test_the_jobs_that_were_ticked_are_changed_and_no_others(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    one, two, three = die(broker, "a", "b", "c")

    page = do(operator, "requeue", one, three)

    assert counts(page) == [2, 0, 0]
    assert [inspector.job(job_id).state for job_id in (one, two, three)] == [State.READY, State.DEAD, State.READY]


def test_more_than_one_job_wants_a_reason_and_the_right_to_act_on_many(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    ids = die(broker, "a", "b")
    plan = field(ask(operator, "requeue", *ids), "plan")

    without_reason = operator.post(f"{BASE}jobs/requeue/", {"plan": plan, "reason": " "})
    User.objects.get(username="olga").groups.clear()
    User.objects.get(username="olga").user_permissions.set(
        Permission.objects.filter(codename__in=["view_dashboard", "requeue_job"])
    )
    without_right = [
        operator.post(f"{BASE}jobs/requeue/", {"plan": plan, "reason": "x"}),
        ask(operator, "requeue", *ids),
        ask(operator, "requeue", jobs="state=dead"),
        ask(operator, "requeue", ids[0]),
    ]

    assert without_reason.status_code == 400
    assert "Say why" in text_of(without_reason)
    assert [answer.status_code for answer in without_right] == [403, 403, 403, 200]
    assert sizes(inspector) == {State.DEAD: 2}


def test_the_question_says_how_many_and_which(operator: Client, broker: Broker) -> None:
    die(broker, "bad amount: 1", "bad amount: 2", queue="mail")
    die(broker, "other", queue="mail", kind="x")

    asked = [
        text_of(ask(operator, "requeue", jobs=query))
        for query in ("state=dead", "queue=mail&state=dead&kind=echo", "state=dead&q=AMOUNT", "state=dead&kind=none")
    ]

    assert "Requeue 3 jobs?" in asked[0]
    assert "Dead jobs, as of 20" in asked[0]
    assert "Requeue 2 jobs?" in asked[1]
    assert "Dead jobs of queue mail of kind echo, as of 20" in asked[1]
    assert "Requeue 2 jobs?" in asked[2]
    assert "There is none to which this applies." in asked[3]


@pytest.mark.parametrize(
    ("verb", "query", "left"),
    [
        (Verb.REQUEUE, "", {**dict.fromkeys(State, 1), State.DEAD: 0, State.READY: 2}),
        (Verb.CANCEL, "", {State.RUNNING: 1, State.CANCELLED: 4, State.SUCCEEDED: 1, State.DEAD: 1, State.EXPIRED: 1}),
        (Verb.DELETE, "", {State.RUNNING: 1}),
        (Verb.DELETE, "state=retrying", {**dict.fromkeys(State, 1), State.RETRYING: 0}),
        (Verb.CANCEL, "state=scheduled", {**dict.fromkeys(State, 1), State.SCHEDULED: 0, State.CANCELLED: 2}),
    ],
)
def test_all_that_match_are_changed_as_far_as_their_state_allows(
    administrator: Client,
    broker: Broker,
    valkey: Redis,
    inspector: Inspector,
    verb: Verb,
    query: str,
    left: dict[State, int],
) -> None:
    for state in sorted(State, key=lambda state: state is State.READY):
        job_in(state, broker, valkey)

    page = do(administrator, verb, jobs=query)

    assert "Done." in text_of(page)
    assert counts(page)[1:] == [0, 0]
    assert sizes(inspector) == {state: size for state, size in left.items() if size}


def test_jobs_that_come_after_the_question_are_not_caught(
    administrator: Client, broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    plan = field(ask(administrator, "delete", jobs="state=ready"), "plan")

    new = broker.enqueue("default", NewJob.of("echo")).id
    page = administrator.post(f"{BASE}jobs/delete/", {"plan": plan, "reason": "x"})

    assert counts(page) == [1, 0, 0]
    assert [job.id for job in inspector.page("default", State.READY).jobs] == [new]


def test_a_job_that_dies_again_meanwhile_is_not_requeued_again(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    die(broker, "a")
    page = ask(operator, "requeue", jobs="state=dead")
    plan = {"plan": field(page, "plan"), "reason": "x"}

    first = operator.post(f"{BASE}jobs/requeue/", plan)
    job = broker.claim("default", "w1").jobs[0]
    broker.fail(job, JobError(type="Boom", message="again"), outcome="dead")
    second = operator.post(f"{BASE}jobs/requeue/", plan)

    assert (counts(first), counts(second)) == ([1, 0, 0], [0, 0, 0])
    assert sizes(inspector) == {State.DEAD: 1}


def test_many_jobs_go_batch_by_batch_each_asked_for_by_the_page_before(
    administrator: Client, broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * (2 * BATCH_JOBS + 30))
    broker.enqueue_many("mail", [NewJob.of("echo")] * 30)

    pages = [do(administrator, "cancel", jobs="state=ready", reason="flood")]
    while "progress" in pages[-1].context and not pages[-1].context["progress"].is_over:
        assert len(pages) < 10
        pages.append(go_on(administrator, "cancel", pages[-1]))

    done = [counts(page)[0] for page in pages]
    assert all(0 < later - earlier <= BATCH_JOBS for earlier, later in zip([0, *done], done, strict=False))
    assert len(pages) >= 3
    assert done[-1] == 2 * BATCH_JOBS + 60
    assert sizes(inspector) == {State.CANCELLED: 2 * BATCH_JOBS + 30}
    assert sizes(inspector, "mail") == {State.CANCELLED: 30}


def test_the_page_goes_on_by_itself_and_by_a_button(administrator: Client, broker: Broker) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * (BATCH_JOBS + 1))

    first = do(administrator, "delete", jobs="state=ready").content.decode()

    assert 'hx-trigger="load delay:100ms"' in first
    assert f'hx-post="{BASE}jobs/delete/"' in first
    assert ">Continue</button>" in first
    assert "csrfmiddlewaretoken" in first


def test_one_entry_of_the_audit_tells_of_the_whole(operator: Client, broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo")] * BATCH_JOBS)
    broker.enqueue_many("default", [NewJob.of("echo")] * BATCH_JOBS)

    first = do(operator, "cancel", jobs="state=ready", reason="flood")
    begun = json.loads(LogEntry.objects.get().change_message)
    go_on(operator, "cancel", first)
    ended = json.loads(LogEntry.objects.get().change_message)

    assert (begun["is_over"], begun["done"], begun["reason"]) == (False, BATCH_JOBS, "flood")
    assert (ended["is_over"], ended["done"], ended["expected"]) == (True, 2 * BATCH_JOBS, 2 * BATCH_JOBS)
    assert LogEntry.objects.get().object_repr.startswith("ready jobs, as of 20")


def test_jobs_that_left_their_state_meanwhile_are_passed_over(
    operator: Client, broker: Broker, inspector: Inspector
) -> None:
    one, two, three = die(broker, "a", "b", "c")
    plan = field(ask(operator, "requeue", one, two, three), "plan")
    broker.requeue(one)
    broker.delete(two)

    page = operator.post(f"{BASE}jobs/requeue/", {"plan": plan, "reason": "x"})

    assert counts(page) == [1, 2, 0]
    assert sizes(inspector) == {State.READY: 2}


def test_a_damaged_job_counts_as_failed_and_stops_nobody(
    operator: Client, broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    one, two, three = die(broker, "a", "b", "c")
    valkey.hset(f"jobs:{{default}}:job:{two}", "o", "nonsense")

    page = do(operator, "requeue", one, two, three)

    assert counts(page) == [2, 0, 1]


def test_a_batch_sent_twice_changes_nothing_twice(administrator: Client, broker: Broker, valkey: Redis) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * (BATCH_JOBS + 40))
    first = do(administrator, "cancel", jobs="state=ready")

    go_on(administrator, "cancel", first)
    before = dump(valkey)
    again = go_on(administrator, "cancel", first)

    assert "Done." in text_of(again)
    assert dump(valkey) == before


def test_a_batch_ends_when_its_time_is_over(
    administrator: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 300)
    clock: Iterator[float] = iter(range(1_000))
    monkeypatch.setattr(bulk.time, "monotonic", lambda: next(clock))  # a second passes with every look

    page = do(administrator, "cancel", jobs="state=ready")

    assert counts(page) == [bulk.STRIDE, 0, 0]


def test_a_database_that_goes_away_stops_the_work_which_goes_on_where_it_was(
    administrator: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [NewJob.of("echo")] * 120)
    page = ask(administrator, "cancel", jobs="state=ready")
    real, calls = bulk.act, []

    def failing(verb: Verb, ids: list[str]) -> tuple[int, int, int]:
        calls.append(ids)
        if len(calls) == 2:
            raise StoreUnavailable("away")
        return real(verb, ids)

    monkeypatch.setattr(bulk, "act", failing)
    stopped = administrator.post(f"{BASE}jobs/cancel/", {"plan": field(page, "plan"), "reason": "x"})
    done = go_on(administrator, "cancel", stopped)

    assert counts(stopped) == [bulk.STRIDE, 0, 0]
    assert "The database does not answer now" in text_of(stopped)
    assert "hx-trigger" not in stopped.content.decode().split('id="progress"')[1]
    assert counts(done) == [120, 0, 0]
    assert sizes(inspector) == {State.CANCELLED: 120}


def test_an_old_form_goes_on_with_nothing(
    administrator: Client, broker: Broker, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue("default", NewJob.of("echo"))
    plan = field(ask(administrator, "delete", jobs="state=ready"), "plan")
    before, later = dump(valkey), time.time() + bulk.MAX_AGE_SECONDS + 60
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    assert bulk.open_plan(plan, User.objects.get(username="anna").pk) is None
    assert dump(valkey) == before
