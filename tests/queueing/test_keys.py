from __future__ import annotations

import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from queueing import Broker, Inspector, JobNotFound, NewJob, Policy, State, connect
from queueing.embedded import EmbeddedServer
from queueing.jobs import is_queue_name, new_job_id, queue_of
from queueing.keys import QueueKeys, queue_keys, unique_digest
from queueing.scripts import _head
from tests.queueing.dump import dump
from tests.queueing.states import ERROR, QUEUE, claim_one, job_in
from tests.queueing.timetravel import MINUTE_MS, let_pass

SETS = "ready|scheduled|running|deadlines|succeeded|dead|cancelled|expired"
DOCUMENTED = re.compile(
    r"jobs:\{([a-z0-9][a-z0-9-]{0,62})\}:"
    rf"({SETS}|meta|wake|workers|runs|never|job:\1_[0-9a-f]{{32}}|unique:[0-9a-f]{{64}}|minute:\d+|minute:start)"
)
queue_names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
hostile = st.text(alphabet="a0-_{}:*\n\0é ", max_size=10)


def keys_of(keys: QueueKeys, job_id: str, unique_key: str) -> list[str]:
    names = [field.name for field in fields(keys) if field.name != "queue" and not field.name.endswith("_prefix")]
    named = [getattr(keys, name) for name in names]
    return [*named, keys.job(job_id), keys.unique_prefix + unique_digest(unique_key), keys.minute(29_000_000)]


@given(queue_names, st.text())
def test_all_keys_of_a_queue_lie_in_one_slot_and_match_the_documented_patterns(queue: str, unique_key: str) -> None:
    unique_key = unique_key.encode(errors="replace").decode()

    keys = keys_of(queue_keys(queue), new_job_id(queue), unique_key)

    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert all(DOCUMENTED.fullmatch(key) and DOCUMENTED.fullmatch(key)[1] == queue for key in keys)
    assert len(set(keys)) == len(keys)


@given(queue_names, queue_names)
def test_two_queues_share_no_key(one: str, other: str) -> None:
    mine = set(keys_of(queue_keys(one), new_job_id(one), "k"))

    theirs = set(keys_of(queue_keys(other), new_job_id(other), "k"))

    assert one == other or not mine & theirs


@given(hostile | st.text(max_size=70))
def test_no_queue_name_leads_outside_the_patterns(name: str) -> None:
    if is_queue_name(name):
        assert DOCUMENTED.fullmatch(queue_keys(name).ready)
    else:
        assert not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name)


@given(st.one_of(hostile, st.text(max_size=70), st.builds("{}_{}".format, hostile, st.just("0" * 32))))
def test_no_job_id_leads_outside_the_patterns(job_id: str) -> None:
    queue = queue_of(job_id)

    assert queue is None or DOCUMENTED.fullmatch(queue_keys(queue).job(job_id))


@pytest.mark.parametrize("queue", ["", "A", "a}", "{a}", "a:b", "a\n", "-a", "a_b", "a" * 64, "é"])
def test_no_verb_takes_a_wrong_queue_name(queue: str, broker: Broker, valkey: Redis) -> None:
    for verb in ("promote", "expire", "reap", "prune", "pause", "resume", "purge"):
        with pytest.raises(ValueError, match="no queue name"):
            getattr(broker, verb)(queue)
    with pytest.raises(ValueError, match="no queue name"):
        broker.claim(queue, "w1")

    assert dump(valkey) == {}


@pytest.mark.parametrize("job_id", ["x}:y{_" + "0" * 32, "A_" + "0" * 32, "a_" + "0" * 32 + "\n", "a_" + "F" * 32])
def test_no_verb_takes_a_wrong_job_id(job_id: str, broker: Broker, inspector: Inspector) -> None:
    for verb in (broker.cancel, broker.requeue, inspector.job):
        with pytest.raises(JobNotFound):
            verb(job_id)


@pytest.mark.one_server(reason="makes a user of the server")
def test_a_user_who_may_touch_the_keys_of_one_queue_only_can_do_everything(
    valkey: Redis, valkey_server: EmbeddedServer
) -> None:
    valkey.acl_setuser(
        "limited", enabled=True, nopass=True, reset=True, keys=[f"jobs:{{{QUEUE}}}:*"], commands=["+@all"]
    )
    client = connect(valkey_server.url.replace("unix://", "unix://limited:any@"))
    broker, inspector = Broker(client, Policy(max_crashes=1)), Inspector(client)

    try:
        assert client.acl_whoami() == "limited"
        do_everything(broker, inspector, valkey)
    finally:
        client.close()
        valkey.acl_deluser("limited")

    assert all(DOCUMENTED.fullmatch(key) for key in dump(valkey))


def do_everything(broker: Broker, inspector: Inspector, owner: Redis) -> None:
    for state in (one for one in State if one is not State.READY):
        inspector.job(job_in(state, broker, owner, unique_key=str(state)))
    broker.beat(QUEUE, "w1", b"{}", 60_000)
    broker.enqueue(QUEUE, NewJob.of("echo", ttl_seconds=600))
    broker.release(claim_one(broker))
    let_pass(owner, QUEUE, 20 * MINUTE_MS)
    (reaped,) = broker.reap(QUEUE)
    broker.requeue(reaped.id)
    job = claim_one(broker)
    broker.extend([(job, b"1")])
    broker.fail(job, ERROR)
    broker.promote(QUEUE)
    broker.expire(QUEUE)
    broker.prune(QUEUE)
    broker.pause(QUEUE)
    broker.resume(QUEUE)
    broker.configure(QUEUE, fair_every=2)
    inspector.page(QUEUE, State.READY)
    broker.purge(QUEUE)


def test_asking_for_jobs_of_ever_new_queues_does_not_fill_the_memory() -> None:
    assert queue_keys.cache_parameters()["maxsize"] is not None
    assert _head.cache_parameters()["maxsize"] is not None
