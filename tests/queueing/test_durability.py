"""Levels of durability, and the memory that is kept for finishing what is there."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from queueing import Broker, Durability, DurabilityNotMet, Inspector, JobError, NewJob, State, StoreFull, connect
from queueing.embedded import EmbeddedServer
from tests.queueing.states import QUEUE, claim_one

pytestmark = pytest.mark.one_server(reason="sets what is set on a server; tests.system.topologies has replicas")


@pytest.fixture
def replica(valkey: Redis, tmp_path: Path) -> Iterator[Redis]:
    """Run a second server that follows the session's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    valkey.config_set("port", port)
    valkey.config_set("repl-diskless-sync-delay", 0)  # seconds it would wait for a second replica
    with EmbeddedServer(tmp_path) as server:
        client = connect(server.url)
        client.replicaof("127.0.0.1", port)
        give_up = time.monotonic() + 20
        while client.info("replication")["master_link_status"] != "up" and time.monotonic() < give_up:
            valkey.ping()
        yield client
        client.close()
    valkey.config_set("port", 0)


def test_fsynced_is_refused_while_the_journal_is_written_every_second(broker: Broker, inspector: Inspector) -> None:
    with pytest.raises(DurabilityNotMet) as refusal:
        broker.enqueue(QUEUE, NewJob.of("echo"), durability=Durability.FSYNCED)

    assert refusal.value.job_id is None
    assert inspector.stats(QUEUE).counters["submitted"] == 0


def test_fsynced_is_met_by_a_server_that_writes_before_it_answers(broker: Broker, valkey: Redis) -> None:
    valkey.config_set("appendfsync", "always")
    try:
        enqueued = broker.enqueue(QUEUE, NewJob.of("echo"), durability=Durability.FSYNCED)
    finally:
        valkey.config_set("appendfsync", "everysec")

    assert enqueued.outcome == "created"


def test_replicated_without_a_replica_names_the_job_that_is_stored(broker: Broker, inspector: Inspector) -> None:
    with pytest.raises(DurabilityNotMet) as refusal:
        broker.enqueue(QUEUE, NewJob.of("echo"), durability=Durability.REPLICATED)

    assert refusal.value.job_id is not None
    assert inspector.job(refusal.value.job_id).state is State.READY


def test_replicated_is_met_once_a_replica_has_the_job(broker: Broker, replica: Redis) -> None:
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"), durability=Durability.REPLICATED)

    assert Inspector(replica).job(enqueued.id).state is State.READY


def test_replicated_is_met_after_the_scripts_were_flushed(broker: Broker, replica: Redis, valkey: Redis) -> None:
    valkey.script_flush()

    assert broker.enqueue(QUEUE, NewJob.of("echo"), durability=Durability.REPLICATED).outcome == "created"
    assert replica.ping()


def test_nothing_new_is_accepted_beyond_four_fifths_of_the_memory_and_what_is_there_goes_on(
    broker: Broker, valkey: Redis, inspector: Inspector
) -> None:
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 2)
    valkey.config_set("maxmemory", int(valkey.info("memory")["used_memory"] * 1.1))
    fresh = Broker(valkey)
    try:
        with pytest.raises(StoreFull):
            fresh.enqueue(QUEUE, NewJob.of("echo"))
        fresh.ack(claim_one(fresh))
        fresh.fail(claim_one(fresh), JobError(type="Boom", message=""))
    finally:
        valkey.config_set("maxmemory", 0)

    assert inspector.stats(QUEUE).counters["submitted"] == 2


def test_accepting_goes_on_when_there_is_room_again(valkey: Redis) -> None:
    valkey.config_set("maxmemory", int(valkey.info("memory")["used_memory"] * 1.1))
    with pytest.raises(StoreFull):
        Broker(valkey).enqueue(QUEUE, NewJob.of("echo"))

    valkey.config_set("maxmemory", 0)

    assert Broker(valkey).enqueue(QUEUE, NewJob.of("echo")).outcome == "created"
