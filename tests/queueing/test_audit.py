"""The audit of a live server, and what it says of a server's settings."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from queueing import Broker, JobError, NewJob, State
from queueing.audit import Fault, Finding, audit_queue, check_server, reasons_to_refuse
from queueing.keys import queue_keys

KEYS = queue_keys("default")
ERROR = JobError(type="Boom", message="")


def faults(client: Redis, *, repair: bool = False) -> dict[str, str]:
    """Return the faults found, id -> kind."""
    return {fault.job_id: fault.kind for fault in audit_queue(client, "default", repair=repair)}


def switch_journal_on(client: Redis) -> None:
    """Switch the journal on and wait for its first file: until that is written the server refuses to stop."""
    client.config_set("appendonly", "yes")
    give_up = time.monotonic() + 10
    while client.info("persistence")["aof_rewrite_in_progress"] and time.monotonic() < give_up:
        client.ping()


def fill(broker: Broker) -> dict[str, str]:
    """Make a job in each state that a test can reach at once, and return their ids by state."""
    ids = {}
    for state in ("succeeded", "dead", "running"):
        ids[state] = broker.enqueue("default", NewJob.of("echo")).id
        job = broker.claim("default", "w").jobs[0]
        if state == "succeeded":
            broker.ack(job)
        elif state == "dead":
            broker.fail(job, ERROR, outcome="dead")
    ids["ready"] = broker.enqueue("default", NewJob.of("echo", ttl_seconds=60)).id
    ids["scheduled"] = broker.enqueue("default", NewJob.of("echo", delay_seconds=60)).id
    return ids


def test_a_sound_queue_has_no_faults(valkey: Redis) -> None:
    fill(Broker(valkey))

    assert faults(valkey) == {}


@pytest.mark.parametrize("state", ["succeeded", "dead", "running", "ready", "scheduled"])
def test_a_job_that_is_in_no_set_is_put_where_its_record_says(valkey: Redis, state: str) -> None:
    job_id = fill(Broker(valkey))[state]
    valkey.zrem(getattr(KEYS, state), job_id)

    assert faults(valkey) == {job_id: "no_place"}
    assert faults(valkey, repair=True) == {job_id: "no_place"}

    assert faults(valkey) == {}
    assert valkey.zscore(getattr(KEYS, state), job_id) is not None


def test_a_running_job_without_a_lease_is_reaped_after_the_repair(valkey: Redis) -> None:
    broker = Broker(valkey)
    job_id = fill(broker)["running"]
    valkey.zrem(KEYS.running, job_id)

    faults(valkey, repair=True)

    assert [(job.id, job.state) for job in broker.reap("default")] == [(job_id, State.READY)]


def test_an_id_without_a_record_is_taken_out(valkey: Redis) -> None:
    job_id = fill(Broker(valkey))["ready"]
    valkey.delete(KEYS.job(job_id))

    found = list(audit_queue(valkey, "default", repair=True))

    assert Fault(job_id=job_id, kind="no_record", mended=True) in found
    assert faults(valkey) == {}
    assert valkey.zcard(KEYS.ready) == 0
    assert valkey.zcard(KEYS.deadlines) == 0


def test_a_job_in_two_sets_stays_only_where_its_record_says(valkey: Redis) -> None:
    job_id = fill(Broker(valkey))["succeeded"]
    valkey.zadd(KEYS.ready, {job_id: 1})

    assert faults(valkey, repair=True) == {job_id: "extra_place"}

    assert valkey.zscore(KEYS.ready, job_id) is None
    assert valkey.zscore(KEYS.succeeded, job_id) is not None


def test_a_lost_deadline_is_set_again(valkey: Redis) -> None:
    job_id = fill(Broker(valkey))["ready"]
    valkey.delete(KEYS.deadlines)

    assert faults(valkey, repair=True) == {job_id: "no_deadline"}

    assert valkey.zscore(KEYS.deadlines, job_id) == float(valkey.hget(KEYS.job(job_id), "x") or 0)


@pytest.mark.parametrize("damage", [b"\xe1", b"A", b"", b"00", b"/"])
def test_a_record_under_what_is_no_id_is_never_claimed(valkey: Redis, damage: bytes) -> None:
    """A worker could neither read such an id nor report how its job ended."""
    broker = Broker(valkey)
    job_id = broker.enqueue("default", NewJob.of("echo")).id.encode()
    odd = job_id[:-1] + damage
    valkey.rename(KEYS.job_prefix.encode() + job_id, KEYS.job_prefix.encode() + odd)

    found = faults(valkey, repair=True)

    assert found == {job_id.decode(): "no_record", odd.decode(errors="replace"): "damaged"}
    assert valkey.exists(KEYS.job_prefix.encode() + odd)
    assert broker.claim("default", "w").jobs == ()


@pytest.mark.parametrize("damage", ["no payload", "no order", "unknown state", "another type"])
def test_a_damaged_record_is_kept_but_can_no_longer_be_claimed(valkey: Redis, damage: str) -> None:
    broker = Broker(valkey)
    job_id = broker.enqueue("default", NewJob.of("echo")).id
    key = KEYS.job(job_id)
    match damage:
        case "no payload":
            valkey.hdel(key, "p")
        case "no order":
            valkey.hdel(key, "o")
        case "unknown state":
            valkey.hset(key, "s", "lost")
        case _:
            valkey.delete(key)
            valkey.set(key, "what is this")

    faults(valkey, repair=True)

    assert valkey.exists(key)
    assert broker.claim("default", "w").jobs == ()
    assert faults(valkey) == {job_id: "damaged"}


def test_without_repair_nothing_changes(valkey: Redis) -> None:
    job_id = fill(Broker(valkey))["ready"]
    valkey.zrem(KEYS.ready, job_id)
    before = {key: valkey.dump(key) for key in valkey.scan_iter()}

    faults(valkey)

    assert {key: valkey.dump(key) for key in valkey.scan_iter()} == before


@pytest.mark.one_server(reason="sets, or lists, what is set on a server")
def test_the_server_of_the_tests_is_fit(valkey: Redis) -> None:
    assert [finding.level for finding in check_server(valkey)] == ["ok"] * 5


@pytest.mark.one_server(reason="sets, or lists, what is set on a server")
def test_an_evicting_server_is_refused(valkey: Redis) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        levels = {finding.code: finding.level for finding in check_server(valkey)}
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")

    assert levels["eviction"] == "error"


@pytest.mark.one_server(reason="sets, or lists, what is set on a server")
def test_a_server_without_a_journal_is_refused_unless_allowed(valkey: Redis) -> None:
    valkey.config_set("appendonly", "no")
    try:
        refused = {finding.code: finding.level for finding in check_server(valkey)}
        allowed = {finding.code: finding.level for finding in check_server(valkey, volatile_allowed=True)}
    finally:
        switch_journal_on(valkey)

    assert (refused["journal"], allowed["journal"]) == ("error", "warning")


def test_a_start_up_refuses_wrong_settings_but_not_a_disk_that_is_full_now() -> None:
    findings = [
        Finding(level="ok", code="version", text="valkey 9.1"),
        Finding(level="error", code="eviction", text="the server may drop jobs"),
        Finding(level="error", code="journal_write", text="is the disk full?"),
        Finding(level="warning", code="clock", text="off"),
    ]

    assert reasons_to_refuse(findings) == ["the server may drop jobs"]
