"""Replies that never arrive, though what was asked for was done."""

from __future__ import annotations

import pytest

from queueing import Broker, State, StoreUnavailable, connect
from queueing.jobs import new_job_id
from tests.system.faults.proxy import VerbProxy
from tests.system.faults.rig import KEYS, QUEUE, Rig, work


@pytest.mark.timeout(300)
def test_an_enqueue_sent_again_under_its_id_stores_one_job(rig: Rig, soak: bool) -> None:
    count = 20_000 if soak else 1_000
    outcomes = []
    with VerbProxy(rig.server.socket, "enqueue", every=3) as proxy, connect(proxy.url) as client:
        broker = Broker(client).dedicated()
        for _ in range(count):
            job_id = new_job_id(QUEUE)
            while True:
                try:
                    outcomes.append(broker.enqueue(QUEUE, work(0), job_id=job_id).outcome)
                    break
                except StoreUnavailable:
                    continue
        broker.close()

    rig.say(jobs=count, replies_lost=proxy.lost, stored=rig.client.zcard(KEYS.ready))
    assert proxy.lost > count // 4
    assert outcomes.count("exists") == proxy.lost
    assert outcomes.count("created") == count - proxy.lost
    assert rig.states() == {"ready": count}
    assert rig.client.hget(KEYS.meta, "submitted") == b"%d" % count


@pytest.mark.timeout(300)
def test_a_worker_whose_replies_are_lost_runs_every_job_once(rig: Rig, soak: bool) -> None:
    """A worker's claims ack as well: with the reply it loses both."""
    ids = rig.enqueue([work(rig.random.uniform(0, 0.01))] * (10_000 if soak else 400))

    with VerbProxy(rig.server.socket, "claim", every=10) as proxy:
        worker = rig.start_worker("--drain", "--concurrency", "4", REDIS_URL=proxy.url, LEASE_SECONDS=30)
        assert worker.wait(240) == 0

    history = rig.assert_sound()
    runs = history.by_job
    rig.say(jobs=len(ids), replies_lost=proxy.lost, executions=len(history.executions))
    assert proxy.lost > 2
    assert {job_id: len(runs[job_id]) for job_id in ids} == dict.fromkeys(ids, 1)
    assert set(rig.stored().values()) == {State.SUCCEEDED}
