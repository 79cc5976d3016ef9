from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from queueing import BackupError, Broker, Claimed, Inspector, JobError, NewJob, Policy, QueueingError, State
from queueing.audit import audit_queue
from queueing.portable import Exported, Imported, Importer, export_jobs
from tests.queueing.estate import ERROR, KEYS, QUEUE, contents, settle, whole_job
from tests.queueing.states import claimed_job, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

QUEUES = (QUEUE, "mail")
NOT_EXPORTED = (":runs",)


def exported(client: Redis, **options: Any) -> tuple[bytes, Exported]:
    """Return the text of an export, and what was said of it."""
    file = io.BytesIO()
    done = export_jobs(client, file, **options)
    return file.getvalue(), done


def imported(client: Redis, text: bytes, **options: Any) -> tuple[Imported, list[tuple[int, str]]]:
    """Import a text and return what was said of it, and the lines that were refused."""
    refused: list[tuple[int, str]] = []
    importer = Importer(client, QUEUES, lambda number, reason: refused.append((number, reason)), **options)
    return importer.read(io.BytesIO(text)), refused


def lines_of(text: bytes, kind: str = "job") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, text.splitlines()) if line["type"] == kind]


def changed(text: bytes, number: int, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a text with one line (the first is 1) changed."""
    lines = text.splitlines(keepends=True)
    line = json.loads(lines[number - 1])
    change(line)
    lines[number - 1] = json.dumps(line).encode() + b"\n"
    return b"".join(lines)


def portable(client: Redis) -> dict[str, Any]:
    """Return what an export is to carry over: all but what was submitted when, counters and figures."""
    found = {
        key: value
        for key, value in contents(client, without=NOT_EXPORTED).items()
        if ":idempotency:" not in key and ":minute:" not in key
    }
    for key, value in found.items():
        if key.endswith(":meta"):
            kept = ("paused", "paused_reason", "paused_until", *LIMITS)
            found[key] = {name: text for name, text in value.items() if name in kept}
            found[key] |= {name: int(value.get(name, 0)) for name in ("clock", "retrying")}
    return found


LIMITS = ("fair_every", "max_depth", "overflow", "timeout_ms", "max_attempts", "keep_dead_ms", "keep_dead_count")


def test_an_import_makes_what_was_exported(valkey: Redis) -> None:
    settle(valkey)
    before = portable(valkey)
    text, wrote = exported(valkey)
    valkey.flushall()

    read, refused = imported(valkey, text)

    assert portable(valkey) == before
    assert (read.stored, read.existed, refused) == (wrote.jobs, 0, [])
    assert (wrote.jobs, wrote.queues, wrote.damaged) == (9, 2, 0)
    assert read.adopted == [QUEUE, "mail"]


def test_an_import_may_be_made_again(valkey: Redis) -> None:
    settle(valkey)
    text, wrote = exported(valkey)
    broker = Broker(valkey)
    broker.resume(QUEUE)
    before = portable(valkey)

    read, refused = imported(valkey, text)

    assert portable(valkey) == before
    assert (read.stored, read.existed, refused) == (0, wrote.jobs, [])
    assert (read.adopted, read.kept) == ([], [QUEUE, "mail"])


def test_names_and_units_are_for_people(valkey: Redis) -> None:
    job_id = Broker(valkey).enqueue(QUEUE, whole_job()).id
    job = Inspector(valkey).job(job_id)

    text, _ = exported(valkey)

    (line,) = lines_of(text)
    assert line["payload"].encode() == whole_job().payload
    assert (line["id"], line["kind"], line["state"], line["priority"]) == (job_id, "echo", "ready", 9)
    assert (line["timeout_seconds"], line["max_attempts"], line["tags"]) == (0.5, 7, ["x:y"])
    assert msgspec.convert(line["created_at"], type(job.created_at)) == job.created_at
    assert line["owner"] == "alice"


def test_jobs_of_a_queue_and_a_state_can_be_chosen(valkey: Redis) -> None:
    ids = settle(valkey)

    text, wrote = exported(valkey, queues=[QUEUE], states=[State.DEAD, State.RETRYING])

    assert sorted(line["id"] for line in lines_of(text)) == sorted([ids[State.DEAD], ids[State.RETRYING]])
    assert [line["name"] for line in lines_of(text, "queue")] == [QUEUE]
    assert wrote.jobs == 2


def test_more_jobs_than_a_batch_has_go_out_and_in(valkey: Redis) -> None:
    broker = Broker(valkey)
    for queue in QUEUES:
        broker.enqueue_many(queue, [NewJob.of("echo", n, priority=n % 10) for n in range(230)])
    before = portable(valkey)
    text, _ = exported(valkey)
    valkey.flushall()

    read, _ = imported(valkey, text)

    assert read.stored == 460
    assert portable(valkey) == before


def test_an_imported_job_wakes_a_worker_and_runs_in_its_old_order(valkey: Redis) -> None:
    broker = Broker(valkey)
    ids = [broker.enqueue(QUEUE, NewJob.of("echo", n)).id for n in range(3)]
    text, _ = exported(valkey)
    valkey.flushall()
    imported(valkey, text)

    later = broker.enqueue(QUEUE, NewJob.of("echo")).id

    assert valkey.llen(KEYS.wake) > 0
    assert [job.id for job in broker.claim(QUEUE, "w", 4).jobs] == [later, *reversed(ids)]


def test_a_fence_is_never_given_out_again(valkey: Redis) -> None:
    broker = Broker(valkey)
    job = claimed_job(broker)
    valkey.hincrby(KEYS.meta, "clock", 10**9)  # as on a server whose clock was ahead
    broker.release(job)
    (before,) = broker.claim(QUEUE, "w").jobs
    broker.release(before)
    text, _ = exported(valkey)
    valkey.flushall()

    imported(valkey, text)

    assert broker.claim(QUEUE, "w").jobs[0].fence > before.fence


def test_a_job_whose_unique_key_is_held_is_refused_by_its_line(valkey: Redis) -> None:
    broker = Broker(valkey)
    broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k"))
    text, _ = exported(valkey)
    valkey.flushall()
    holder = broker.enqueue(QUEUE, NewJob.of("echo", unique_key="k")).id

    read, refused = imported(valkey, text)

    assert refused == [(3, "another live job has its unique key")]
    assert read.refused == 1
    assert valkey.zrange(KEYS.ready, 0, -1) == [holder.encode()]


def test_a_queue_that_was_used_keeps_its_limits(valkey: Redis) -> None:
    broker = Broker(valkey)
    broker.configure(QUEUE, max_depth=7)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    text, _ = exported(valkey)
    valkey.flushall()
    broker.configure(QUEUE, max_depth=3)
    broker.enqueue(QUEUE, NewJob.of("echo"))

    imported(valkey, text)

    assert Inspector(valkey).stats(QUEUE).limits.max_depth == 3


# Any job


KINDS = st.sampled_from(["echo", "a.b-c_D"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
OPTIONS = st.fixed_dictionaries(
    {"payload": JSON.map(lambda value: json.dumps(value, indent=1).encode())},
    optional={
        "priority": st.integers(0, 9),
        "delay_seconds": st.integers(1, 10_000).map(lambda ms: ms / 10),
        "ttl_seconds": st.integers(40, 10**6),
        "timeout_seconds": st.integers(1, 10**7).map(lambda ms: ms / 1000),
        "max_attempts": st.integers(1, 100),
        "unique_key": TEXT,
        "tags": st.lists(st.sampled_from(["a", "b/c", "d:e"]), max_size=2, unique=True).map(tuple),
        "owner": TEXT,
        "request_id": TEXT,
        "traceparent": TEXT,
    },
)
VERBS = ("ack", "fail", "crash", "die", "release", "progress", "cancel", "requeue", "claim", "claim", "minute")


class Life:
    """What may happen to jobs, each verb to the one that was claimed last, or the one submitted last."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.broker = Broker(client, Policy(lease_ms=2 * MINUTE_MS))
        self.held: list[Claimed] = []
        self.ids = [self.broker.enqueue(QUEUE, NewJob.of("echo")).id]

    def live(self, job: dict[str, Any], verbs: list[str]) -> None:
        self.ids.append(self.broker.enqueue(QUEUE, NewJob(kind="echo", **job)).id)
        for verb in verbs:
            try:
                self._do(verb)
            except QueueingError:
                continue

    def _do(self, verb: str) -> None:
        match verb:
            case "claim":
                self.held += self.broker.claim(QUEUE, "host:1:w", 2).jobs
            case "minute":
                let_pass(self.client, QUEUE, MINUTE_MS)
                self.broker.reap(QUEUE)
                self.broker.expire(QUEUE)
                self.broker.promote(QUEUE)
            case "cancel":
                self.broker.cancel(self.ids[-1])
            case "requeue":
                self.broker.requeue(self.ids[-1])
            case _ if self.held:
                self._end(verb, self.held[-1])

    def _end(self, verb: str, job: Claimed) -> None:
        if verb == "progress":
            self.broker.extend([(job, b'{"done": 0.5}')])
            return
        self.held.pop()
        match verb:
            case "ack":
                self.broker.ack(job, b'["\xe2\x98\x83"]')
            case "release":
                self.broker.release(job)
            case _:
                outcome = {"fail": "failed", "crash": "crashed", "die": "dead"}[verb]
                self.broker.fail(job, JobError(type="E|", message="\u2603|\n"), delay_ms=30_000, outcome=outcome)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(OPTIONS, st.lists(st.sampled_from(VERBS), max_size=6)), min_size=1, max_size=5))
def test_any_job_in_any_state_comes_in_as_it_went_out(
    valkey: Redis, jobs: list[tuple[dict[str, Any], list[str]]]
) -> None:
    valkey.flushall()
    life = Life(valkey)
    for job, verbs in jobs:
        life.live(job, verbs)
    before = portable(valkey)
    text, wrote = exported(valkey)
    valkey.flushall()

    read, refused = imported(valkey, text)

    assert (wrote.damaged, refused) == (0, [])
    assert read.stored == wrote.jobs
    assert portable(valkey) == before
    assert list(audit_queue(valkey, QUEUE)) == []


def test_a_pause_with_an_end_and_every_limit_are_carried_over(valkey: Redis) -> None:
    broker = Broker(valkey)
    broker.configure(QUEUE, max_attempts=9, timeout_ms=0)
    broker.pause(QUEUE, reason="", until=Inspector(valkey).stats(QUEUE).at)
    before = portable(valkey)
    text, _ = exported(valkey)
    valkey.flushall()

    imported(valkey, text)

    assert portable(valkey) == before


# What is no export, or was damaged


def test_a_damaged_job_is_named_and_the_rest_goes_out(valkey: Redis) -> None:
    broker = Broker(valkey)
    good, bad, odd, low = (broker.enqueue(QUEUE, NewJob.of("echo", n)).id for n in range(4))
    valkey.hset(KEYS.job(bad), "p", b"\xff")
    valkey.hset(KEYS.job(odd), "zz", "of a later release")
    valkey.hset(KEYS.job(low), "m", "-1")
    valkey.set(KEYS.job("x"), "what is this")

    reports: list[str] = []
    text, wrote = exported(valkey, report=reports.append)

    assert [line["id"] for line in lines_of(text)] == [good]
    assert wrote.damaged == len(reports) == 4
    assert f"job {odd}: the record has an unknown field 'zz'" in reports


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line.update(id="default_1"), "id: is no id of a job"),
        (lambda line: line.update(id=line["id"].replace("default", "other")), "queue other is none of QUEUES"),
        (lambda line: line.update(kind="two words"), "kind: must match"),
        (lambda line: line.update(state="lost"), "Invalid enum value 'lost'"),
        (lambda line: line.update(state="running"), "lease_expires_at: is missing, the job is running"),
        (lambda line: line.update(state="dead"), "finished_at: is missing, the job is dead"),
        (lambda line: line.update(priority=10), "priority"),
        (lambda line: line.update(payload="{"), "payload: is not valid JSON"),
        (lambda line: line.update(payload="77"), "payload_crc32: is not that of the payload"),
        (lambda line: line.update(result="{"), "result: is not valid JSON"),
        (lambda line: line.update(created_at="yesterday"), "created_at"),
        (lambda line: line.update(created_at="2026-11-21T12:00:00"), "created_at"),
        (lambda line: line.update(colour="red"), "unknown field `colour`"),
        (lambda line: line.update(tags=['"']), "tags: each must match"),
        (lambda line: line.update(unique_sha256="x"), "unique_sha256"),
        (lambda line: line.pop("place"), "missing required field `place`"),
        (lambda line: line.update(type="cake"), "Invalid value 'cake'"),
    ],
)
def test_a_line_that_cannot_be_stored_is_reported_and_the_rest_is_imported(
    valkey: Redis, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])
    text = changed(exported(valkey)[0], 4, change)
    valkey.flushall()

    read, refused = imported(valkey, text)

    assert [number for number, _ in refused] == [4]
    assert reason in refused[0][1]
    assert read.stored == 2


@pytest.mark.parametrize("text", [b"", b"{}\n", b"\xff\xfe\n", b'{"type": "end", "jobs": 0}\n', b"PK\x03\x04" * 100])
def test_another_file_is_no_export(valkey: Redis, text: bytes) -> None:
    with pytest.raises(BackupError, match="this is no export of ours"):
        imported(valkey, text)


def test_an_export_of_a_later_release_says_so(valkey: Redis) -> None:
    text = changed(exported(valkey)[0], 1, lambda line: line.update(format=2))

    with pytest.raises(BackupError, match="the export has format 2; this release reads format 1"):
        imported(valkey, text)


def test_a_file_that_was_cut_short_is_imported_as_far_as_it_goes_and_reported(valkey: Redis) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])
    text = exported(valkey)[0]
    whole_lines = b"".join(text.splitlines(keepends=True)[:-2])
    valkey.flushall()

    read, refused = imported(valkey, whole_lines)

    assert refused == [(4, "the file ends without its last line: it was cut short")]
    assert read.stored == 2


def test_a_line_that_is_missing_in_between_is_noticed(valkey: Redis) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])
    lines = exported(valkey)[0].splitlines(keepends=True)
    del lines[3]

    _, refused = imported(valkey, b"".join(lines))

    assert refused == [(5, "the file was written with 3 jobs and has 2")]


def test_a_line_that_is_too_long_is_reported_and_passed_over(valkey: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", "x" * size) for size in (1, 5000, 1)])
    text, _ = exported(valkey)
    valkey.flushall()
    monkeypatch.setattr("queueing.portable.MAX_LINE_BYTES", 1000)

    read, refused = imported(valkey, text)

    assert [reason for _, reason in refused] == ["is longer than 1000 bytes"]
    assert read.stored == 2


def test_strict_stops_at_the_first_line_that_cannot_be_stored(valkey: Redis) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])
    text = changed(exported(valkey)[0], 4, lambda line: line.update(kind=""))
    valkey.flushall()

    with pytest.raises(BackupError, match="stopped at line 4; what came before is imported"):
        imported(valkey, text, strict=True)

    assert valkey.zcard(KEYS.ready) == 1


def test_a_check_stores_nothing_and_reports_all_the_same(valkey: Redis) -> None:
    Broker(valkey).enqueue_many(QUEUE, [NewJob.of("echo", n) for n in range(3)])
    text = changed(exported(valkey)[0], 4, lambda line: line.update(kind=""))
    valkey.flushall()

    read, refused = imported(valkey, text, check_only=True)

    assert (read.stored, [number for number, _ in refused]) == (2, [4])
    assert valkey.dbsize() == 0


def test_an_import_that_was_cut_short_goes_on(valkey: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(valkey)
    before = portable(valkey)
    text, wrote = exported(valkey)
    valkey.flushall()
    half = b"".join(text.splitlines(keepends=True)[:6])
    imported(valkey, half)

    read, refused = imported(valkey, text)

    assert (read.stored + read.existed, read.existed, refused) == (wrote.jobs, 3, [])
    assert portable(valkey) == before


def test_errors_of_attempts_are_kept_word_by_word(valkey: Redis) -> None:
    broker = Broker(valkey)
    job_id = job_in(State.DEAD, broker, valkey)
    broker.requeue(job_id)
    broker.fail(broker.claim(QUEUE, "w").jobs[0], ERROR, delay_ms=1000)
    attempts = Inspector(valkey).job(job_id).attempts
    text, _ = exported(valkey)
    valkey.flushall()

    imported(valkey, text)

    assert Inspector(valkey).job(job_id).attempts == attempts
    assert attempts[-1].error == ERROR
