"""LIFO under concurrency: replayed by the server's stamps, all that happened is what a plain stack would do.

Enqueues and claims bear stamps of the queue's clock, unique and in the order of their execution; a claim that found
too little lies right after its `Claim.stamp`. What gives a job back (release, fail with no delay) draws no stamp, so
it is sent in one transaction with a look at the clock, which places it between two stamps. Left out are promote and
reap by themselves: their instant has no witness. A failed job without a delay is due for any later claim, which
promotes it, so to the order it is ready from then on.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from redis import Redis

from queueing import Broker, Claimed, Inspector, NewJob, State
from queueing.broker import Step
from queueing.keys import queue_keys
from queueing.links import HeldLink
from tests.queueing.states import ERROR, QUEUE

PRODUCERS = WORKERS = 4
JOBS = 4_000
KEYS = queue_keys(QUEUE)
STAMPED, EMPTY, RETURN = range(3)  # of one stamp: who drew it, who found nothing after it, who came then


@dataclass(frozen=True, slots=True)
class Event:
    """What one caller saw. `stamps` has one per job for an enqueue or claim, else the clock that was read."""

    rank: int
    push: bool
    ids: tuple[str, ...]
    stamps: tuple[int, ...]
    called: float
    replied: float
    found_all: bool = True


@dataclass
class History:
    """What all callers saw, and how many jobs are done."""

    events: list[Event] = field(default_factory=list)
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    errors: list[BaseException] = field(default_factory=list)

    def add(self, events: list[Event]) -> None:
        with self.lock:
            self.events += events

    def count_done(self) -> None:
        with self.lock:
            self.done += 1


def produce(client: Redis, history: History, seed: int) -> None:
    broker, source, events = Broker(client).dedicated(), random.Random(seed), []
    left = JOBS // PRODUCERS
    while left:
        size = min(left, source.choice([1, 1, 1, 2, 5]))
        left -= size
        called = time.monotonic()
        replies = broker.enqueue_many(QUEUE, [NewJob.of("echo", max_attempts=100)] * size)
        replied = time.monotonic()
        ids, stamps = tuple(one.id for one in replies), tuple(one.stamp for one in replies)
        assert size > 1 or replies[0].position == 1
        events.append(Event(STAMPED, True, ids, stamps, called, replied))
    broker.close()
    history.add(events)


def work(client: Redis, history: History, seed: int) -> None:
    broker, source, events = Broker(client).dedicated(), random.Random(seed), []
    link = HeldLink(client.connection_pool, 5)
    while history.done < JOBS and not history.errors:
        limit = source.randint(1, 4)
        called = time.monotonic()
        claim = broker.claim(QUEUE, f"w{seed}", limit)
        replied = time.monotonic()
        ids, stamps = tuple(job.id for job in claim.jobs), tuple(job.fence for job in claim.jobs)
        if ids:
            events.append(Event(STAMPED, False, ids, stamps, called, replied, len(ids) == limit))
        else:
            events.append(Event(EMPTY, False, (), (claim.stamp,), called, replied))
        for job in claim.jobs:
            end = source.random()
            if end < 0.7:
                broker.ack(job)
                history.count_done()
            else:
                events.append(give_back(link, broker, job, fail=end < 0.85))
    broker.close()
    link.close()
    history.add(events)


def give_back(link: HeldLink, broker: Broker, job: Claimed, *, fail: bool) -> Event:
    """Release or fail a job and read the queue's clock, both in one transaction."""
    step: Step = broker.fail_step(job, ERROR, delay_ms=0) if fail else broker.release_step(job)
    called = time.monotonic()
    replies = link.execute_many([("MULTI",), step.call.command(), ("HGET", KEYS.meta, "clock"), ("EXEC",)])
    replied = time.monotonic()
    state, clock = replies[-1]
    assert state == (b"retrying" if fail else b"ready")
    return Event(RETURN, True, (job.id,), (int(clock),), called, replied)


def run_all(client: Redis) -> History:
    history = History()

    def guarded(target: Callable[[Redis, History, int], None], seed: int) -> None:
        try:
            target(client, history, seed)
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            history.errors.append(error)

    targets = [produce] * PRODUCERS + [work] * WORKERS
    threads = [threading.Thread(target=guarded, args=(target, seed)) for seed, target in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in history.errors:
        raise error
    return history


def replay(events: list[Event]) -> None:
    """Run the history through a plain stack; each claim must get what is on top."""
    place = {job_id: stamp for event in events for job_id, stamp in zip(event.ids, event.stamps, strict=False)
             if event.rank == STAMPED and event.push}  # fmt: skip
    stack: list[tuple[int, str]] = []
    for stamp, rank, push, job_id in sorted(single_steps(events)):
        if rank == EMPTY:
            assert not stack, f"a claim at {stamp} found less than there was"
        elif push:
            insort(stack, (place[job_id], job_id))
        else:
            assert stack.pop()[1] == job_id, f"the claim at {stamp} did not get the newest job"
    assert not stack


def single_steps(events: list[Event]) -> list[tuple[int, int, bool, str]]:
    """Return (stamp, rank, push, id) for each job pushed or popped, and for each claim that wanted more."""
    steps = []
    for event in events:
        for stamp, job_id in zip(event.stamps, event.ids, strict=False):
            steps.append((stamp, event.rank, event.push, job_id))
        if event.rank == EMPTY or not event.found_all:
            steps.append((event.stamps[-1], EMPTY, False, ""))
    return steps


def check_real_time(events: list[Event]) -> None:
    """What was answered before another call was made has the lower stamp, and came before it."""
    by_reply = sorted(events, key=lambda event: event.replied)
    latest, answered = 0, 0
    given_back_at: set[int] = set()
    for event in sorted(events, key=lambda event: event.called):
        while by_reply[answered].replied < event.called:
            before = by_reply[answered]
            latest = max(latest, before.stamps[-1])
            if before.rank == RETURN:
                given_back_at.add(before.stamps[0])
            answered += 1
        if event.rank == STAMPED:
            assert event.stamps[0] > latest
        else:
            assert event.stamps[0] >= latest
        assert event.rank != EMPTY or event.stamps[0] not in given_back_at


def load_scripts(broker: Broker) -> None:
    """Let the server know the scripts that are sent in transactions, where nobody could load them."""
    for give_back_step in (broker.release_step, lambda job: broker.fail_step(job, ERROR)):
        broker.enqueue("other", NewJob.of("echo"))
        (job,) = broker.claim("other", "w").jobs
        broker.exchange([give_back_step(job)])
        broker.purge("other")


@pytest.mark.one_server(reason="names the server's socket to other processes")
def test_what_happened_concurrently_is_what_a_plain_stack_does_in_the_order_of_the_stamps(valkey: Redis) -> None:
    load_scripts(Broker(valkey))

    history = run_all(valkey)

    drawn = [stamp for event in history.events if event.rank == STAMPED for stamp in event.stamps]
    assert len(drawn) == len(set(drawn))
    replay(history.events)
    check_real_time(history.events)
    counts = Inspector(valkey).stats(QUEUE).counts
    assert {state: count for state, count in counts.items() if count} == {State.SUCCEEDED: JOBS}
