"""A journal whose end is missing, or whose bits were flipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from queueing import Broker, Claimed, Inspector, JobError, NewJob, PayloadCorrupt, QueueingError, State
from queueing.audit import audit_queue
from queueing.embedded import EmbeddedServerError
from queueing.jobs import Submission
from tests.queueing.dump import dump
from tests.system.faults import journal
from tests.system.faults.rig import KEYS, QUEUE, Rig

TAIL_BYTES = 2048
ERROR = JobError(type="Boom", message="")


def transitions(broker: Broker) -> list[Callable[[], object]]:
    """Return steps that lead jobs through every transition, each one call of one script."""

    def claim() -> Claimed:
        return broker.claim(QUEUE, "host:1:a").jobs[0]

    def enqueue(**options: object) -> str:
        return broker.enqueue(QUEUE, NewJob.of("echo", [1, 2], **options)).id

    claimed: list[Claimed] = []
    dead: list[str] = []
    return [
        lambda: broker.configure(QUEUE, max_depth=100),
        lambda: enqueue(ttl_seconds=600, unique_key="one", tags=("a", "b")),
        lambda: enqueue(delay_seconds=600),
        lambda: enqueue(submission=Submission("key", "print")),
        lambda: enqueue(delay_seconds=0.001),
        lambda: broker.promote(QUEUE),
        lambda: broker.enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(5)]),
        lambda: claimed.append(claim()),
        lambda: broker.extend([(claimed[-1], b'{"fraction": 0.5}')]),
        lambda: broker.ack(claimed.pop(), b'{"a": 1}'),
        lambda: claimed.append(claim()),
        lambda: broker.fail(claimed.pop(), ERROR, delay_ms=60_000),
        lambda: claimed.append(claim()),
        lambda: broker.release(claimed.pop()),
        lambda: claimed.append(claim()),
        lambda: dead.append(claimed[-1].id),
        lambda: broker.fail(claimed.pop(), ERROR, outcome="dead"),
        lambda: broker.requeue(dead[0]),
        lambda: broker.cancel(dead[0]),
        lambda: claimed.append(claim()),
        lambda: broker.cancel(claimed[-1].id),
        lambda: broker.fail(claimed.pop(), ERROR),
        lambda: broker.pause(QUEUE, reason="because"),
        lambda: broker.resume(QUEUE),
        lambda: broker.beat(QUEUE, "host:1:a", b"{}", 30_000),
        lambda: broker.purge(QUEUE, State.CANCELLED),
    ]


@pytest.mark.timeout(900)
def test_a_journal_cut_anywhere_holds_whole_transitions_only(rig: Rig, soak: bool) -> None:
    """Each state read from a cut journal is one that the server was in between two transitions."""
    known = [dump(rig.client)]
    for _ in range(2):
        for step in transitions(rig.broker):
            step()
            known.append(dump(rig.client))
    rig.server.stop()
    whole = journal.file_of(rig.folder).read_bytes()
    offsets = range(max(0, len(whole) - TAIL_BYTES), len(whole) + 1)
    sampled = offsets if soak else [*sorted(rig.random.sample(offsets, 40)), len(whole)]

    reached = set()
    for offset in sampled:
        with journal.served(rig.folder, whole[:offset]) as client:
            assert list(audit_queue(client, QUEUE)) == [], offset
            state = dump(client)
        assert state in known, f"cut at {offset} of {len(whole)}"
        reached.add(known.index(state))

    rig.say(journal_bytes=len(whole), cuts=len(sampled), states_met=len(reached), half_transitions=0)
    assert known.index(known[-1]) in reached  # by the last one, which is not cut
    assert len(reached) > 1


@pytest.mark.timeout(300)
def test_a_payload_with_a_flipped_bit_in_the_journal_never_reaches_a_handler(rig: Rig, soak: bool) -> None:
    count = 1_000 if soak else 200
    payloads = [b'{"seconds": 0, "text": "%s"}' % rig.random.randbytes(40).hex().encode() for _ in range(count)]
    ids = rig.enqueue([NewJob(kind="faults.work", payload=payload) for payload in payloads])
    rig.server.stop()
    damaged = set(rig.random.sample(range(count), count // 2))
    file = journal.file_of(rig.folder)
    bits = bytearray(file.read_bytes())
    for number in damaged:
        at = bits.index(payloads[number]) + rig.random.randrange(len(payloads[number]))
        bits[at] ^= 1 << rig.random.randrange(8)
    file.write_bytes(bits)
    rig.server.start()

    assert rig.start_worker("--drain", "--concurrency", "4").wait(60) == 0

    history, stored = rig.assert_sound(), rig.stored()
    started = {execution.job for execution in history.executions}
    inspector = Inspector(rig.client)
    reasons = {inspector.job(ids[number]).error.type for number in damaged}  # type: ignore[union-attr]
    rig.say(jobs=count, flipped=len(damaged), of_these_run=len(started & {ids[number] for number in damaged}))
    assert started == {ids[number] for number in range(count) if number not in damaged}
    assert {stored[ids[number]] for number in damaged} == {State.DEAD}
    assert reasons == {"corrupt"}
    assert rig.client.zcard(KEYS.succeeded) == count - len(damaged)


def payloads(client: Redis) -> set[bytes | None]:
    """Return the payloads of all records that a server holds."""
    return {client.hget(key, "p") for key in client.scan_iter(KEYS.job_prefix + "*", count=1000)}


def claim_all(broker: Broker) -> Iterator[Claimed]:
    """Yield every job that a worker would get."""
    while jobs := broker.claim(QUEUE, "host:1:b", 50).jobs:
        yield from jobs


def handed_over(job: Claimed) -> bytes | None:
    """Return the payload that a handler would get, None when the worker would find it corrupt."""
    try:
        job.value()
    except PayloadCorrupt:
        return None
    return job.payload


def claim_repair_and_claim(client: Redis) -> tuple[list[bytes | None], bool]:
    """Return the payloads that handlers would get before and after a repair, and whether there was one to make."""
    broker, claimed = Broker(client), []
    with contextlib.suppress(QueueingError):  # a key may be of a wrong type until it is repaired
        for job in claim_all(broker):
            claimed.append(job)  # noqa: PERF402 - what was claimed before an error counts
    mended = [fault for fault in audit_queue(client, QUEUE, repair=True) if fault.mended]
    assert {fault.kind for fault in audit_queue(client, QUEUE)} <= {"damaged"}  # such a record is left for a person
    return [handed_over(job) for job in (*claimed, *claim_all(broker))], bool(mended)


@pytest.mark.timeout(900)
def test_whatever_bit_of_the_journal_is_flipped_no_damaged_payload_runs_and_the_queue_can_be_repaired(
    rig: Rig, soak: bool
) -> None:
    submitted: set[bytes | None] = set()
    for step in transitions(rig.broker):
        step()
        submitted |= payloads(rig.client)
    rig.enqueue([NewJob.of("echo", rig.random.randbytes(20).hex()) for _ in range(50)])
    submitted |= payloads(rig.client)
    rig.server.stop()
    whole = journal.file_of(rig.folder).read_bytes()
    run: list[bytes | None] = []
    flips, refused, repaired = 1_000 if soak else 30, 0, 0

    for _ in range(flips):
        bits = bytearray(whole)
        bits[rig.random.randrange(len(whole))] ^= 1 << rig.random.randrange(8)
        try:
            with journal.served(rig.folder, bytes(bits)) as client:
                handed, was_repaired = claim_repair_and_claim(client)
        except EmbeddedServerError:
            refused += 1
        else:
            run += handed
            repaired += was_repaired

    damaged = {payload for payload in run if payload is not None} - submitted
    rig.say(
        journal_bytes=len(whole),
        flips=flips,
        refused_to_start=refused,
        queues_repaired=repaired,
        sound_payloads_run=len(run) - run.count(None),
        corrupt_payloads_found=run.count(None),
        damaged_payloads_run=len(damaged),
    )
    assert not damaged
    assert refused < flips
