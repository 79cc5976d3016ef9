from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, QueueingError, State, StoreUnavailable, connect
from queueing.keys import QueueKeys, queue_keys
from queueing.scripts import LUA_FOLDER, Call, script
from tests.queueing.proxy import answering
from tests.queueing.states import QUEUE, claim_one, claimed_job

KEYS = queue_keys(QUEUE)
VERBS = sorted(path.stem for path in LUA_FOLDER.glob("*.lua"))
INCLUDES = sorted(path.stem for path in (LUA_FOLDER / "include").glob("*.lua"))
READING = {"ages", "history", "job", "jobs", "page", "runs", "stats"}
GROWING = {"enqueue", "import", "requeue"}

_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)
_DECLARED = re.compile(r"^-- (KEYS|ARGV)\[(\d+)(\.\.\.)?\] +(\w+)", re.MULTILINE)
_LOCAL = re.compile(r"^local ([\w, ]+) = (.+)$", re.MULTILINE)
_VALUE = re.compile(r"^(?:tonumber\()?(KEYS|ARGV)\[(\d+)\]\)?(?: == '\d')?$")
_FIXED = re.compile(r"\b(KEYS|ARGV)\[(\d+)\]")
_COMPUTED = re.compile(r"\b(KEYS|ARGV)\[(?!\d+\])([^\]]+)\]")


def source_of(verb: str) -> str:
    return (LUA_FOLDER / f"{verb}.lua").read_text()


def code_of(text: str) -> str:
    """Return a script without its comments and shebang."""
    return re.sub(r"--.*|^#!.*", "", text, flags=re.MULTILINE)


def declared(verb: str) -> list[tuple[str, int, str]]:
    """Return (KEYS or ARGV, number, name) as the header has them, without the open end."""
    return [
        (kind, int(number), name) for kind, number, open_end, name in _DECLARED.findall(source_of(verb)) if not open_end
    ]


def bound(verb: str) -> Iterator[tuple[str, int, str]]:
    """Yield (KEYS or ARGV, number, name) as the code binds them."""
    for names, values in _LOCAL.findall(code_of(source_of(verb))):
        for name, value in zip(names.split(", "), values.split(", "), strict=False):
            if match := _VALUE.match(value.strip()):
                yield match[1], int(match[2]), name


def open_end(verb: str) -> int | None:
    """Return where the header's open list of arguments begins."""
    return next((int(number) for kind, number, end, _ in _DECLARED.findall(source_of(verb)) if end), None)


@pytest.mark.parametrize("verb", VERBS)
def test_a_header_numbers_its_keys_and_arguments_without_a_gap(verb: str) -> None:
    for kind in ("KEYS", "ARGV"):
        numbers = [int(number) for one, number, _, _ in _DECLARED.findall(source_of(verb)) if one == kind]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("verb", VERBS)
def test_every_declared_key_and_argument_is_bound_once_in_order_under_its_name(verb: str) -> None:
    assert sorted(bound(verb)) == sorted(declared(verb))
    assert list(bound(verb)) == declared(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_no_key_or_argument_is_read_but_in_its_binding(verb: str) -> None:
    read = [(kind, int(number)) for kind, number in _FIXED.findall(code_of(source_of(verb)))]

    assert read == [(kind, number) for kind, number, _ in declared(verb)]


@pytest.mark.parametrize("verb", VERBS)
def test_arguments_are_counted_through_only_where_the_header_leaves_the_list_open(verb: str) -> None:
    code, first = code_of(source_of(verb)), open_end(verb)

    computed = _COMPUTED.findall(code)

    assert {kind for kind, _ in computed} <= {"ARGV"}
    assert all(re.match(r"(job\.)?at\b", index) for _, index in computed)
    taken_whole = "unpack(ARGV)" in code
    assert (bool(computed) or taken_whole) == (first is not None)
    assert first is None or f"at = {first}" in code or (taken_whole and first == 1)


@pytest.mark.parametrize("verb", VERBS)
def test_every_declared_key_and_argument_is_used(verb: str) -> None:
    included = "".join(code_of((LUA_FOLDER / "include" / f"{name}.lua").read_text()) for name in included_in(verb))
    whole = code_of(source_of(verb)) + included

    for _, _, name in declared(verb):
        assert len(re.findall(rf"\b{name}\b", whole)) > 1, (verb, name)


def included_in(verb: str) -> list[str]:
    """Return the names of what a verb includes, those that its includes include among them."""
    names = _INCLUDE.findall(source_of(verb))
    for name in names:
        names += _INCLUDE.findall((LUA_FOLDER / "include" / f"{name}.lua").read_text())
    return names


@pytest.mark.parametrize("name", INCLUDES)
def test_every_include_is_used_by_a_verb_and_declares_no_key(name: str) -> None:
    code = code_of((LUA_FOLDER / "include" / f"{name}.lua").read_text())

    assert any(name in included_in(verb) for verb in VERBS)
    assert "KEYS" not in code
    assert "ARGV" not in code


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_contains_its_includes(verb: str) -> None:
    text = script(verb).text

    assert "@include" not in text
    for name in included_in(verb):
        assert _INCLUDE.sub("", (LUA_FOLDER / "include" / f"{name}.lua").read_text()).rstrip()[-200:] in text
        assert text.count((LUA_FOLDER / "include" / f"{name}.lua").read_text().splitlines()[0]) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_has_the_flags_of_what_it_does(verb: str) -> None:
    flags = "" if verb in GROWING else " flags=no-writes" if verb in READING else " flags=allow-oom"

    assert source_of(verb).splitlines()[0] == f"#!lua{flags}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_header_says_what_the_verb_does_and_returns(verb: str) -> None:
    lines = source_of(verb).splitlines()

    assert re.match(r"-- [A-Z].*[.:,a-z]$", lines[1])
    assert any(line.startswith("-- Returns ") for line in lines)


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_neither_scans_keys_nor_reads_the_clock_twice(verb: str) -> None:
    code = code_of(script(verb).text)

    assert code.count("'TIME'") <= 1
    assert not re.search(r"'(KEYS|SCAN|FLUSHALL|FLUSHDB|cjson)'|cjson\.", code)


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_names_keys_of_the_queue_only(verb: str) -> None:
    known = {*QueueKeys.__dataclass_fields__, "source", "finished"}

    assert set(script(verb).key_names) | set(script(verb).prefix_names) <= known


def test_a_call_puts_the_keys_in_the_order_of_the_header() -> None:
    command = Call("promote", KEYS, (5,)).command()

    assert command == (
        "EVALSHA", script("promote").sha, 4, KEYS.ready, KEYS.scheduled, KEYS.meta, KEYS.wake, KEYS.job_prefix, 5,
    )  # fmt: skip


def test_a_source_stands_for_the_set_it_is_called_with() -> None:
    command = Call("purge", KEYS, (5,), source=KEYS.dead).command()

    assert command[3] == KEYS.dead


@pytest.mark.parametrize("held", [True, False])
def test_a_call_works_although_the_server_forgot_the_scripts(held: bool, broker: Broker, valkey: Redis) -> None:
    broker = broker.dedicated() if held else broker
    job = claimed_job(broker)
    valkey.script_flush()

    broker.ack(job)
    enqueued = broker.enqueue(QUEUE, NewJob.of("echo"))

    stats = Inspector(valkey).stats(QUEUE)
    broker.close()
    assert (stats.counters["succeeded"], stats.counters["submitted"]) == (1, 2)
    assert enqueued.outcome == "created"


def test_an_exchange_works_although_the_server_forgot_the_scripts(broker: Broker, valkey: Redis) -> None:
    jobs = [claimed_job(broker), claimed_job(broker)]
    broker.enqueue(QUEUE, NewJob.of("echo"))
    valkey.script_flush()

    first, second, claim = broker.exchange(
        [broker.ack_step(QUEUE, [(job, None)]) for job in jobs] + [broker.claim_step(QUEUE, "w1", 1)]
    )

    assert (first, second, len(claim.jobs)) == ([True], [True], 1)


def test_of_an_exchange_only_what_the_server_did_not_know_runs_again(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    broker.enqueue_many(QUEUE, [NewJob.of("echo")] * 4)
    valkey.script_flush()
    claim_one(broker)

    acks, claim = broker.exchange([broker.ack_step(QUEUE, [(job, None)]), broker.claim_step(QUEUE, "w1", 1)])

    counts = Inspector(valkey).stats(QUEUE).counts
    assert (acks, len(claim.jobs)) == ([True], 1)
    assert (counts[State.RUNNING], counts[State.READY], counts[State.SUCCEEDED]) == (2, 2, 1)


def test_an_error_in_an_exchange_stays_in_its_place(broker: Broker, valkey: Redis) -> None:
    job = claimed_job(broker)
    broker.enqueue(QUEUE, NewJob.of("echo"))
    broker.release(job)
    claim_one(broker), claim_one(broker)

    release, claim = broker.exchange([broker.release_step(job), broker.claim_step(QUEUE, "w1", 1)])

    assert isinstance(release, QueueingError)
    assert claim.jobs == ()


@pytest.mark.one_server(reason="makes the server a replica")
def test_a_replica_does_not_serve_writes(broker: Broker, valkey: Redis) -> None:
    valkey.replicaof("127.0.0.1", "1")

    try:
        with pytest.raises(StoreUnavailable):
            broker.enqueue(QUEUE, NewJob.of("echo"))
        Inspector(valkey).stats(QUEUE)
    finally:
        valkey.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    "error",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Errors writing to the AOF file",
        "MASTERDOWN Link with MASTER is down",
        "CLUSTERDOWN The cluster is down",
        "BUSY The server is busy running a script.",
        "NOREPLICAS Not enough good replicas to write.",
        "NOAUTH Authentication required.",
        "NOPERM No permissions to access a key",
        "LOADING The server is loading the dataset in memory",
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_a_server_that_cannot_serve_now_is_unavailable(error: str, held: bool) -> None:
    with answering(f"-{error}\r\n".encode()) as url:
        client = connect(url)
        broker = Broker(client).dedicated() if held else Broker(client)

        with pytest.raises(StoreUnavailable):
            broker.claim(QUEUE, "w1")

        broker.close()
        client.close()


def test_a_script_that_fails_is_no_unavailable_store(broker: Broker, valkey: Redis) -> None:
    valkey.set(KEYS.ready, "of a wrong type")

    with pytest.raises(QueueingError) as raised:
        broker.enqueue(QUEUE, NewJob.of("echo"))

    assert not isinstance(raised.value, StoreUnavailable)
