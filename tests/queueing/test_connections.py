from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Iterator

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError, ResponseError
from redis import TimeoutError as RedisTimeoutError
from redis._parsers.hiredis import _HiredisParser

from queueing import Broker, Inspector, NewJob, State, StoreUnavailable, connect, links
from queueing.connections import (
    CONNECT_TIMEOUT_SECONDS,
    SOCKET_TIMEOUT_SECONDS,
    options,
)
from queueing.embedded import EmbeddedServer
from queueing.jobs import new_job_id
from queueing.links import MAX_JOINED_BYTES, Command, HeldLink, Link, PooledLink, _packed
from tests.queueing.proxy import FaultyProxy, answering
from tests.queueing.servers import free_ports
from tests.queueing.states import QUEUE
from tests.queueing.timetravel import MINUTE_MS, let_pass
from tests.system.processes import wait_until

PATIENCE_SECONDS = 0.1

pytestmark = pytest.mark.one_server(reason="is about links to one server, through a proxy")


@pytest.fixture
def proxy(valkey: Redis, valkey_server: EmbeddedServer) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(valkey_server.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: FaultyProxy) -> Iterator[Redis]:
    client = connect(proxy.url, socket_timeout_seconds=PATIENCE_SECONDS)
    yield client
    client.close()


@pytest.fixture(params=["held", "pooled"])
def link(request: pytest.FixtureRequest, through_proxy: Redis) -> Iterator[Link]:
    held = request.param == "held"
    link = HeldLink(through_proxy.connection_pool, PATIENCE_SECONDS) if held else PooledLink(through_proxy)
    link.execute(("PING",))
    yield link
    link.close()


@pytest.mark.parametrize("fault", ["drop", "cut", "late"])
def test_a_command_whose_reply_was_lost_is_not_sent_again(
    fault: str, link: Link, proxy: FaultyProxy, valkey: Redis
) -> None:
    proxy.fault = fault

    with pytest.raises((RedisConnectionError, RedisTimeoutError)):
        link.execute(("RPUSH", "list", "once"))

    assert valkey.lrange("list", 0, -1) == [b"once"]


@pytest.mark.parametrize("fault", ["drop", "cut"])
def test_commands_whose_replies_were_lost_are_not_sent_again(
    fault: str, link: Link, proxy: FaultyProxy, valkey: Redis
) -> None:
    proxy.fault = fault

    with pytest.raises((RedisConnectionError, RedisTimeoutError)):
        link.execute_many([("RPUSH", "list", "a"), ("RPUSH", "list", "b")])

    assert valkey.lrange("list", 0, -1) == [b"a", b"b"]


@pytest.mark.parametrize("fault", ["drop", "cut", "late"])
def test_a_late_reply_is_never_taken_for_that_of_the_next_command(fault: str, link: Link, proxy: FaultyProxy) -> None:
    proxy.fault = fault
    with pytest.raises(RedisError):
        link.execute(("ECHO", "first"))
    if fault == "late":
        proxy.deliver_late()

    replies = [link.execute(("ECHO", "second")), *link.execute_many([("ECHO", "third"), ("ECHO", "fourth")])]

    assert replies == [b"second", b"third", b"fourth"]
    assert proxy.connections == 2


def test_a_reply_that_does_not_come_is_waited_for_as_long_as_told(link: Link, proxy: FaultyProxy) -> None:
    proxy.fault = "drop"
    started = time.monotonic()

    with pytest.raises(RedisTimeoutError):
        link.execute(("PING",))

    assert 0.9 * PATIENCE_SECONDS < time.monotonic() - started < 2


def test_a_command_that_is_read_too_slowly_is_given_up_in_the_time_of_a_trip(link: Link, proxy: FaultyProxy) -> None:
    """Not in that time for each piece which the other side takes."""
    proxy.pause_seconds = PATIENCE_SECONDS / 2
    started = time.monotonic()

    with pytest.raises(RedisTimeoutError):
        link.execute(("ECHO", b"x" * 16 * MAX_JOINED_BYTES))

    seconds = time.monotonic() - started
    proxy.pause_seconds = 0.0
    assert seconds < 2  # and not the ten or so that the whole would take


@pytest.mark.parametrize("is_held", [True, False])
def test_commands_that_are_longer_than_a_socket_holds_arrive_whole(is_held: bool, valkey: Redis) -> None:
    link = HeldLink(valkey.connection_pool, 5) if is_held else PooledLink(valkey)
    long = os.urandom(4 * MAX_JOINED_BYTES)

    replies = [link.execute_many([("ECHO", "first"), ("ECHO", long), ("ECHO", "last")]) for _ in range(2)]

    after = link.execute(("ECHO", "after"))
    link.close()
    assert replies == [[b"first", long, b"last"]] * 2
    assert after == b"after"


def test_an_interrupted_trip_gives_the_connection_up(through_proxy: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    link = HeldLink(through_proxy.connection_pool, PATIENCE_SECONDS)
    link.execute(("PING",))
    with monkeypatch.context() as patch:
        patch.setattr(link._connection._parser, "read_from_socket", interrupt)
        with pytest.raises(KeyboardInterrupt):
            link.execute(("ECHO", "first"))

    reply = link.execute(("ECHO", "second"))

    link.close()
    assert reply == b"second"


def interrupt(**_how: bool) -> None:
    raise KeyboardInterrupt


def test_what_is_to_be_done_meanwhile_is_done_once_a_trip_before_its_replies_are_there(valkey: Redis) -> None:
    done: list[float] = []
    link = HeldLink(valkey.connection_pool, 5, lambda: done.append(time.monotonic()))

    link.execute_many([("BLPOP", "nothing", 0.2), ("PING",)])

    link.close()
    assert len(done) == 1
    assert time.monotonic() - done[0] > 0.15


def test_an_error_of_what_is_done_meanwhile_gives_the_connection_up(valkey: Redis) -> None:
    faults = [ValueError("no")]
    link = HeldLink(valkey.connection_pool, 5, lambda: fail_with(faults))
    with pytest.raises(ValueError, match="no"):
        link.execute(("ECHO", "first"))

    reply = link.execute(("ECHO", "second"))

    link.close()
    assert reply == b"second"


def fail_with(faults: list[ValueError]) -> None:
    if faults:
        raise faults.pop()


def test_a_link_whose_connection_the_server_closed_works_again_after_one_error(link: Link, valkey: Redis) -> None:
    valkey.client_kill_filter(_type="normal", skipme=True)

    answers = []
    for _ in range(2):
        try:
            answers.append(link.execute(("PING",)))
        except RedisConnectionError:
            answers.append(None)

    assert answers[-1] in (b"PONG", True)


def test_an_error_reply_stays_in_its_place_and_the_connection_is_kept(link: Link, proxy: FaultyProxy) -> None:
    replies = link.execute_many([("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")])

    assert (replies[0], replies[2]) == (b"a", b"b")
    assert isinstance(replies[1], ResponseError)
    assert proxy.connections == 1


def test_a_single_error_reply_is_raised(link: Link) -> None:
    with pytest.raises(ResponseError):
        link.execute(("NONSENSE",))


ARGUMENTS = ["é \0", "", b"", b"\xff\r\n", 0, -5, 10**30, 1.5, -0.0, 1e16, 1e20, 1e-7, math.inf, -math.inf]


@pytest.mark.parametrize("commands", [[("ECHO", argument)] for argument in ARGUMENTS] + [[("SET", *ARGUMENTS)] * 3])
def test_commands_are_packed_as_the_client_packs_them(commands: list[Command], through_proxy: Redis) -> None:
    connection = through_proxy.connection_pool.make_connection()

    assert _packed(commands) == [b"".join(connection.pack_commands(commands))]


def test_long_commands_are_sent_in_pieces() -> None:
    long = ("SET", "key", b"x" * MAX_JOINED_BYTES)

    assert _packed([long, ("PING",)]) == [*_packed([long]), *_packed([("PING",)])]


def test_a_command_that_was_begun_is_answered_when_it_is_asked_for(link: Link, valkey: Redis) -> None:
    begun = link.begin(("BLPOP", "list", 5))
    was_answered = begun.is_answered()
    valkey.rpush("list", "a")
    wait_until(begun.is_answered)

    assert not was_answered
    assert begun.reply() == [b"list", b"a"]
    assert link.execute(("ECHO", "next")) == b"next"


def test_an_error_reply_to_what_was_begun_stands_for_the_reply(link: Link, proxy: FaultyProxy) -> None:
    assert isinstance(link.begin(("NONSENSE",)).reply(), ResponseError)
    assert link.execute(("ECHO", "next")) == b"next"
    assert proxy.connections == 1


@pytest.mark.parametrize("fault", ["drop", "cut", "late"])
def test_what_was_begun_is_not_sent_again_when_its_reply_is_lost(
    fault: str, link: Link, proxy: FaultyProxy, valkey: Redis
) -> None:
    proxy.fault = fault
    begun = link.begin(("RPUSH", "list", "once"))
    if fault == "cut":
        wait_until(begun.is_answered)

    with pytest.raises((RedisConnectionError, RedisTimeoutError)):
        begun.reply()

    assert begun.is_answered()
    assert valkey.lrange("list", 0, -1) == [b"once"]
    if fault == "late":
        proxy.deliver_late()
    assert link.execute(("ECHO", "next")) == b"next"


def test_nothing_is_begun_where_no_server_is() -> None:
    (port,) = free_ports(1)
    client = connect(f"redis://127.0.0.1:{port}", socket_timeout_seconds=PATIENCE_SECONDS)
    for link in (PooledLink(client), HeldLink(client.connection_pool, PATIENCE_SECONDS)):
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                link.begin(("PING",))


def test_no_commands_make_no_trip(link: Link) -> None:
    assert link.execute_many([]) == []


def test_a_connection_that_is_reset_is_an_error_of_the_trip(
    link: Link, through_proxy: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_HiredisParser, "read_from_socket", reset)

    with pytest.raises(RedisConnectionError, match="Error while reading from the server"):
        link.execute(("ECHO", "first"))

    monkeypatch.undo()
    assert link.execute(("ECHO", "second")) == b"second"


def reset(parser: _HiredisParser, **_how: bool) -> None:
    """Raise what a socket does whose other end is gone."""
    raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def test_a_closed_link_connects_anew(link: Link) -> None:
    link.close()

    assert link.execute(("ECHO", "again")) == b"again"


def test_threads_with_links_of_their_own_get_their_own_replies(through_proxy: Redis) -> None:
    wrong: list[tuple[str, bytes]] = []

    def ask(name: str) -> None:
        link = HeldLink(through_proxy.connection_pool, 5)
        for n in range(100):
            text = f"{name}-{n}"
            reply = link.execute(("ECHO", text))
            if reply != text.encode():
                wrong.append((text, reply))
        link.close()

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_every_connection_is_bounded_in_time_and_made_without_retries() -> None:
    made = options()

    assert made["retry"].get_retries() == 0
    assert (made["socket_connect_timeout"], made["socket_timeout"]) == (
        CONNECT_TIMEOUT_SECONDS,
        SOCKET_TIMEOUT_SECONDS,
    )
    assert CONNECT_TIMEOUT_SECONDS + SOCKET_TIMEOUT_SECONDS < 2


@pytest.mark.parametrize("held", [True, False])
def test_a_server_that_never_answers_is_given_up(held: bool) -> None:
    with answering(b"") as url:
        client = connect(url, socket_timeout_seconds=PATIENCE_SECONDS)
        broker = Broker(client)
        broker = broker.dedicated(socket_timeout_seconds=PATIENCE_SECONDS) if held else broker
        started = time.monotonic()

        with pytest.raises(StoreUnavailable):
            broker.enqueue(QUEUE, NewJob.of("echo"))

        broker.close()
        client.close()
    assert time.monotonic() - started < 2


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with answering(b"") as url:
        pass
    client = connect(url)

    with pytest.raises(StoreUnavailable):
        Broker(client).ping([QUEUE])
    with pytest.raises(StoreUnavailable):
        Broker(client).enqueue(QUEUE, NewJob.of("echo"))
    with pytest.raises(StoreUnavailable):
        Inspector(client).stats(QUEUE)
    with pytest.raises(StoreUnavailable):
        Broker(client).purge(QUEUE)


def test_a_lost_reply_to_an_enqueue_leaves_one_job_however_often_it_is_repeated(
    through_proxy: Redis, proxy: FaultyProxy, inspector: Inspector
) -> None:
    broker, job_id = Broker(through_proxy), new_job_id(QUEUE)
    broker.enqueue("other", NewJob.of("echo"))
    proxy.fault = "drop"
    with pytest.raises(StoreUnavailable):
        broker.enqueue(QUEUE, NewJob.of("echo"), job_id=job_id)

    again = broker.enqueue(QUEUE, NewJob.of("echo"), job_id=job_id)

    assert again.outcome == "exists"
    assert inspector.stats(QUEUE).counters["submitted"] == 1


def test_a_lost_reply_to_a_claim_leaves_a_job_that_is_taken_back(
    through_proxy: Redis, proxy: FaultyProxy, valkey: Redis, inspector: Inspector
) -> None:
    broker = Broker(through_proxy)
    job_id = broker.enqueue(QUEUE, NewJob.of("echo")).id
    broker.claim("other", "w1")
    proxy.fault = "cut"
    with pytest.raises(StoreUnavailable):
        broker.claim(QUEUE, "w1")
    let_pass(valkey, QUEUE, MINUTE_MS)

    broker.reap(QUEUE)

    assert inspector.job(job_id).state is State.READY


def test_a_lost_reply_to_an_ack_may_be_followed_by_another_ack(
    through_proxy: Redis, proxy: FaultyProxy, inspector: Inspector
) -> None:
    broker = Broker(through_proxy)
    for _ in range(2):
        broker.enqueue(QUEUE, NewJob.of("echo"))
    warm_up, job = broker.claim(QUEUE, "w1", 2).jobs
    broker.ack(warm_up)
    proxy.fault = "drop"
    with pytest.raises(StoreUnavailable):
        broker.ack(job, b"1")

    broker.ack(job, b"1")

    assert inspector.stats(QUEUE).counters["succeeded"] == 2


def test_the_connection_of_a_dedicated_broker_may_wait_longer(through_proxy: Redis) -> None:
    broker = Broker(through_proxy).dedicated(socket_timeout_seconds=5)

    woken = broker.wait_for_hint([QUEUE], 3 * PATIENCE_SECONDS)

    broker.close()
    assert not woken


def test_a_dedicated_broker_keeps_the_policy(broker: Broker) -> None:
    assert broker.dedicated().policy is broker.policy


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "pooled"])
def test_a_new_connection_costs_one_round_trip_more_and_no_notifications(
    valkey: Redis, valkey_server: EmbeddedServer, is_held: bool
) -> None:
    client = connect(valkey_server.url)
    link = HeldLink(client.connection_pool, 1) if is_held else PooledLink(client)
    valkey.config_resetstat()

    link.execute(("PING",))

    asked = {name.removeprefix("cmdstat_") for name in valkey.info("commandstats")}
    link.close()
    client.close()
    assert asked == {"hello", "ping", "config|resetstat"}


# What a pool gave out is handed on


def client_ids(link: Link, number: int) -> set[int]:
    return {link.execute(("CLIENT", "ID")) for _ in range(number)}


def test_calls_hand_one_connection_on_whichever_link_of_a_client_makes_them(valkey_server: EmbeddedServer) -> None:
    client = connect(valkey_server.url)

    seen = client_ids(PooledLink(client), 3) | client_ids(PooledLink(client), 3)

    assert len(seen) == 1
    client.close()


def test_calls_made_at_once_have_each_a_connection_of_their_own(valkey_server: EmbeddedServer) -> None:
    client = connect(valkey_server.url)
    link, seen = PooledLink(client), list[int]()

    def ask() -> None:
        _none, client_id = link.execute_many([("BLPOP", "nothing", 0.2), ("CLIENT", "ID")])
        seen.append(client_id)

    for _ in range(2):
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(seen) == 6
    assert len(set(seen)) == 3
    client.close()


@pytest.mark.parametrize("ending", ["killed", "killed and used a moment ago"])
def test_a_connection_that_the_server_ended_is_replaced_and_a_command_lost_on_it_is_not_sent_again(
    ending: str, valkey: Redis, valkey_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "FRESH_SECONDS", 60.0 if ending.endswith("ago") else 0.0)
    client = connect(valkey_server.url)
    link = PooledLink(client)
    (before,) = client_ids(link, 1)
    valkey.client_kill_filter(_id=str(before))

    if ending.endswith("ago"):
        with pytest.raises(RedisConnectionError):
            link.execute(("RPUSH", "list", "lost"))
    (after,) = client_ids(link, 2)

    assert after != before
    assert not valkey.exists("list")
    client.close()


def test_a_forked_process_leaves_the_connections_to_its_parent(valkey_server: EmbeddedServer) -> None:
    client = connect(valkey_server.url)
    link = PooledLink(client)
    (before,) = client_ids(link, 1)
    receiving, sending = os.pipe()
    if not (pid := os.fork()):
        os.write(sending, str(*client_ids(link, 1)).encode())
        os._exit(0)
    os.close(sending)

    with os.fdopen(receiving) as told:
        of_child = int(told.read())

    os.waitpid(pid, 0)
    assert of_child != before
    assert client_ids(link, 1) == {before}
    client.close()


def test_a_connection_to_a_server_that_is_primary_no_more_is_given_up(through_proxy: Redis) -> None:
    link = PooledLink(through_proxy)
    (before,) = client_ids(link, 1)

    through_proxy.connection_pool.master_address = ("10.0.0.9", 6379)  # type: ignore[attr-defined] # as Sentinels' have

    assert before not in client_ids(link, 1)


def test_a_client_that_is_closed_closes_what_its_pool_gave_out(valkey: Redis, valkey_server: EmbeddedServer) -> None:
    client = connect(valkey_server.url)
    (used,) = client_ids(PooledLink(client), 1)

    client.close()

    ends_at = time.monotonic() + 10
    while (is_there := str(used) in {each["id"] for each in valkey.client_list()}) and time.monotonic() < ends_at:
        pass
    assert not is_there


def test_a_server_that_does_not_answer_is_waited_for_once_a_call(
    through_proxy: Redis, proxy: FaultyProxy, valkey: Redis
) -> None:
    """Also by one whose connection was given up before: it connects once, and not to ask first whether it is fit."""
    link = PooledLink(through_proxy)
    client_ids(link, 1)
    valkey.client_pause(1000)

    for _ in range(3):
        time.sleep(2 * links.FRESH_SECONDS)
        with pytest.raises(RedisTimeoutError):
            link.execute(("PING",))

    time.sleep(0.1)
    assert proxy.connections == 3
