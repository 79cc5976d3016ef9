from __future__ import annotations

from collections.abc import Iterable

import pytest
from redis import Redis

from queueing import Broker, Filters, Inspector, JobError, ListingMark, NewJob, State
from queueing.inspector import MAX_LOOKS
from tests.queueing.states import QUEUE, claim_one, job_in

OTHER = "other"
QUEUES = [QUEUE, OTHER]


def ids_of(inspector: Inspector, *, limit: int = 3, states: Iterable[State] = State, **filters: object) -> list[str]:
    """Return the ids of a whole listing, read page by page."""
    ids: list[str] = []
    mark: ListingMark | None = None
    for _ in range(100):
        page = inspector.listing(QUEUES, set(states), limit=limit, after=mark, filters=Filters(**filters))  # type: ignore[arg-type]
        assert len(page.jobs) <= limit
        ids += [job.id for job in page.jobs]
        mark = page.next
        if mark is None:
            return ids
    raise AssertionError("the listing does not end")


def enqueue(broker: Broker, queue: str, count: int, **options: object) -> list[str]:
    return [broker.enqueue(queue, NewJob.of("echo", **options)).id for _ in range(count)]


def test_ready_jobs_of_all_queues_come_by_priority_and_newest_first(broker: Broker, inspector: Inspector) -> None:
    first, second = enqueue(broker, QUEUE, 2)
    third = enqueue(broker, OTHER, 1)[0]
    fourth = enqueue(broker, QUEUE, 1)[0]
    urgent = enqueue(broker, OTHER, 1, priority=9)[0]

    listed = ids_of(inspector, states=[State.READY], limit=2)

    assert listed == [urgent, fourth, third, second, first]


def test_a_page_has_as_many_jobs_as_were_asked_for_and_says_where_the_next_begins(
    broker: Broker, inspector: Inspector
) -> None:
    ids = enqueue(broker, QUEUE, 5) + enqueue(broker, OTHER, 5)

    first = inspector.listing(QUEUES, {State.READY}, limit=4)
    second = inspector.listing(QUEUES, {State.READY}, limit=4, after=first.next)
    third = inspector.listing(QUEUES, {State.READY}, limit=4, after=second.next)

    assert [len(page.jobs) for page in (first, second, third)] == [4, 4, 2]
    assert [job.id for page in (first, second, third) for job in page.jobs] == ids[::-1]
    assert third.next is None


def test_a_listing_of_all_states_has_every_job_once_in_the_order_of_the_groups(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    expected = [State.RUNNING, State.READY, State.SCHEDULED, State.RETRYING, State.DEAD]
    expected += [State.CANCELLED, State.EXPIRED, State.SUCCEEDED]
    made = {}
    for state in sorted(State, key=lambda state: state is State.READY):  # a ready one would be claimed
        made[state] = job_in(state, broker, valkey)

    for limit in (1, 2, 3, 100):
        listed = ids_of(inspector, limit=limit)

        assert sorted(listed) == sorted(made.values())
        assert {made[state] for state in (State.SCHEDULED, State.RETRYING)} == set(listed[2:4])
        assert [listed.index(made[state]) for state in expected if state not in (State.SCHEDULED, State.RETRYING)] == [
            0, 1, 4, 5, 6, 7,
        ]  # fmt: skip


@pytest.mark.parametrize("state", State)
def test_a_listing_of_one_state_has_no_other(state: State, broker: Broker, valkey: Redis, inspector: Inspector) -> None:
    made = {}
    for one in sorted(State, key=lambda one: one is State.READY):
        made[one] = job_in(one, broker, valkey)

    assert ids_of(inspector, states=[state]) == [made[state]]


def test_filters_of_kind_tag_and_creation_are_all_met(broker: Broker, inspector: Inspector) -> None:
    def add(kind: str, *tags: str) -> str:
        return broker.enqueue(QUEUE, NewJob.of(kind, tags=tags)).id

    one, two, three = add("a", "x"), add("a", "x", "y"), add("b", "y")
    created_ms = [round(inspector.job(job_id).created_at.timestamp() * 1000) for job_id in (one, three)]

    assert ids_of(inspector, kind="a") == [two, one]
    assert ids_of(inspector, tag="y") == [three, two]
    assert ids_of(inspector, kind="a", tag="y") == [two]
    assert ids_of(inspector, tag="x", kind="b") == []
    assert ids_of(inspector, created_from_ms=created_ms[0], created_until_ms=created_ms[1] + 1) == [three, two, one]
    assert ids_of(inspector, created_from_ms=created_ms[1] + 1) == []
    assert ids_of(inspector, created_until_ms=created_ms[0]) == []


def test_a_tag_matches_whole_tags_only(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", tags=("abc",)))

    assert ids_of(inspector, tag="ab") == ids_of(inspector, tag="bc") == []


def test_a_range_of_end_times_finds_finished_jobs_only(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4)
    done = []
    for _ in range(3):
        job = claim_one(broker)
        broker.ack(job)
        done.append(inspector.job(job.id))
    ended_ms = [round(job.finished_at.timestamp() * 1000) for job in done if job.finished_at]

    everything = ids_of(inspector, finished_from_ms=ended_ms[0], finished_until_ms=ended_ms[-1] + 1, limit=1)
    none = ids_of(inspector, finished_from_ms=ended_ms[-1] + 1)

    assert sorted(everything) == sorted(job.id for job in done)
    assert none == ids_of(inspector, finished_until_ms=ended_ms[0]) == []


def test_jobs_without_payload_and_result_but_with_their_last_error_are_listed(
    broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue(QUEUE, NewJob.of("echo", "x" * 1000, request_id="request-1")).id
    broker.fail(claim_one(broker), JobError(type="Boom", message="no luck"), outcome="dead")

    (job,) = inspector.listing(QUEUES, {State.DEAD}).jobs

    assert (job.id, job.payload, job.result, job.request_id) == (job_id, b"null", None, "request-1")
    assert job.error == JobError(type="Boom", message="no luck")


def test_rare_matches_are_found_page_by_page_however_deep_they_lie(broker: Broker, inspector: Inspector) -> None:
    deep = broker.enqueue(QUEUE, NewJob.of("rare")).id
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * (2 * MAX_LOOKS + 10))
    high = broker.enqueue(OTHER, NewJob.of("rare")).id

    assert ids_of(inspector, states=[State.READY], kind="rare") == [high, deep]


def test_a_job_that_arrives_between_two_pages_shifts_none_of_them(broker: Broker, inspector: Inspector) -> None:
    ids = enqueue(broker, QUEUE, 6)
    page = inspector.listing(QUEUES, {State.READY}, limit=3)

    enqueue(broker, QUEUE, 3)
    rest = inspector.listing(QUEUES, {State.READY}, limit=3, after=page.next)

    assert [job.id for job in (*page.jobs, *rest.jobs)] == ids[::-1]


def test_jobs_of_one_owner_are_found_among_those_of_others(broker: Broker, inspector: Inspector) -> None:
    mine = broker.enqueue(QUEUE, NewJob.of("echo", owner="me")).id
    broker.enqueue(QUEUE, NewJob.of("echo", owner="you"))
    broker.enqueue(QUEUE, NewJob.of("echo"))

    assert ids_of(inspector, owner="me") == [mine]
    assert inspector.job(mine).owner == "me"


def test_a_unique_key_is_of_its_owner(broker: Broker) -> None:
    one, two = (broker.enqueue(QUEUE, NewJob.of("echo", owner=owner, unique_key="k")) for owner in ("me", "you"))
    again = broker.enqueue(QUEUE, NewJob.of("echo", owner="me", unique_key="k"))

    assert (one.outcome, two.outcome, again.outcome) == ("created", "created", "unique")
    assert again.id == one.id


def test_payload_and_result_are_listed_when_entire_jobs_are_asked_for(broker: Broker, inspector: Inspector) -> None:
    broker.enqueue(QUEUE, NewJob.of("echo", {"a": 1}))
    broker.ack(claim_one(broker), b'"done"')

    (job,) = inspector.listing(QUEUES, {State.SUCCEEDED}, entire=True).jobs

    assert (job.payload, job.result) == (b'{"a":1}', b'"done"')


def test_a_listing_looks_no_further_than_its_steps_unless_a_group_ends(broker: Broker, inspector: Inspector) -> None:
    deep = broker.enqueue(QUEUE, NewJob.of("rare")).id
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * (2 * MAX_LOOKS))
    rare = Filters(kind="rare")

    first = inspector.listing(QUEUES, set(State), filters=rare, steps=2)
    second = inspector.listing(QUEUES, set(State), filters=rare, steps=1, after=first.next)

    assert first.jobs == ()
    assert [job.id for job in second.jobs] == [deep]
    assert second.next is None
