"""The queue through redis-py's cluster client, on servers in cluster mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from redis import RedisCluster

from queueing import Broker, Inspector, JobError, LeaseLost, NewJob, Policy, State
from queueing.audit import audit_queue
from queueing.connections import options
from tests.queueing.servers import CLUSTER_KINDS, PrivateServer
from tests.queueing.states import claim_one
from tests.queueing.timetravel import MINUTE_MS, let_pass

QUEUES = ("default", "mail", "reports")


@pytest.fixture(scope="module", params=CLUSTER_KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run a server in cluster mode."""
    with PrivateServer(request.param, tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture
def cluster(server: PrivateServer) -> Iterator[RedisCluster]:
    """Give a cluster client of the server, emptied; it never sends a command twice."""
    with closing(RedisCluster(host="127.0.0.1", port=server.port, **options())) as client:
        client.flushall()
        yield client


def test_a_job_goes_all_its_ways_through_the_cluster_client(cluster: RedisCluster) -> None:
    broker, inspector = Broker(cluster, Policy(lease_ms=MINUTE_MS)), Inspector(cluster)
    ids = [stored.id for stored in broker.enqueue_many("default", [NewJob.of("echo", n) for n in range(4)])]

    lost, failed, done, released = broker.claim("default", "w1", 4).jobs
    held = broker.extend([(done, b"1"), (lost, None)])
    broker.ack(done, b"2")
    broker.fail(failed, JobError(type="ValueError", message="no luck"), delay_ms=MINUTE_MS)
    broker.release(released)
    let_pass(cluster, "default", MINUTE_MS)
    reaped = broker.reap("default")

    assert [reply.held for reply in held] == [True, True]
    assert [(job.id, job.state) for job in reaped] == [(lost.id, State.READY)]
    assert {job_id: inspector.job(job_id).state for job_id in ids} == {
        done.id: State.SUCCEEDED,
        failed.id: State.RETRYING,
        lost.id: State.READY,
        released.id: State.READY,
    }
    with pytest.raises(LeaseLost):
        broker.ack(lost)
    assert list(audit_queue(cluster, "default")) == []


def test_steps_of_queues_in_different_slots_share_a_round_trip(cluster: RedisCluster) -> None:
    broker, inspector = Broker(cluster), Inspector(cluster)
    ids = [broker.enqueue(queue, NewJob.of("echo")).id for queue in QUEUES]

    claims = broker.exchange([broker.claim_step(queue, "w1", 1) for queue in QUEUES])

    assert len({cluster.keyslot(f"{{{queue}}}") for queue in QUEUES}) == len(QUEUES)
    assert [job.id for claim in claims for job in claim.jobs] == ids
    assert [stats.counts[State.RUNNING] for stats in inspector.stats_of(QUEUES)] == [1, 1, 1]


def test_maintenance_works_through_the_cluster_client(cluster: RedisCluster) -> None:
    broker, inspector = Broker(cluster), Inspector(cluster)
    late = broker.enqueue("default", NewJob.of("echo", ttl_seconds=30)).id
    due = broker.enqueue("default", NewJob.of("echo", delay_seconds=30)).id
    let_pass(cluster, "default", MINUTE_MS)

    handled = broker.expire("default"), broker.promote("default"), broker.prune("default")

    assert handled == (1, 1, 0)
    assert (inspector.job(late).state, inspector.job(due).state) == (State.EXPIRED, State.READY)
    assert claim_one(broker).id == due


def test_a_step_that_was_begun_is_answered_when_it_is_asked_for(cluster: RedisCluster) -> None:
    broker = Broker(cluster).dedicated()
    broker.enqueue("mail", NewJob.of("echo"))
    (job,) = broker.claim("mail", "w1").jobs

    begun = broker.begin(broker.ack_step("mail", [(job, None)]))

    assert begun.is_answered()
    assert begun.value() == [True]
    broker.close()
