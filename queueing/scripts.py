"""The Lua scripts: loaded from `lua/`, called by name, versioned by their own hash.

A script's header names its keys and arguments; that header is what fills KEYS here, so a key is spelled in
`keys.py` and nowhere else. Arguments whose name ends in `_prefix` are of the queue too, and come first.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import (
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from queueing.errors import JobNotFound, LeaseLost, QueueingError, StoreUnavailable, WrongState
from queueing.keys import QueueKeys
from queueing.links import Argument, Command, Link

LUA_FOLDER = Path(__file__).parent / "lua"

_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^-- (KEYS|ARGV)\[(\d+)(\.\.\.)?\] +(\w+)", re.MULTILINE)

# A server that cannot serve now says so with one of these first words, where redis-py leaves the first word in the
# text, and else by one of these classes.
_NOT_SERVING = frozenset({"MISCONF", "BUSY", "NOREPLICAS"})
_NOT_SERVING_ERRORS = (OutOfMemoryError, ReadOnlyError, ClusterDownError, NoPermissionError)


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its text with all includes, and the names its header gives to KEYS and to the ARGV of the queue."""

    name: str
    text: str
    key_names: tuple[str, ...]
    prefix_names: tuple[str, ...]
    argument_names: tuple[str, ...]
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@functools.cache
def script(name: str) -> Script:
    """Load the script of the verb `name`."""
    source = (LUA_FOLDER / f"{name}.lua").read_text()
    parameters = _PARAMETER.findall(source)
    arguments = [parameter[3] for parameter in parameters if parameter[0] == "ARGV"]
    return Script(
        name=name,
        text=_INCLUDE.sub(_included, source),
        key_names=tuple(parameter[3] for parameter in parameters if parameter[0] == "KEYS"),
        prefix_names=tuple(name for name in arguments if name.endswith("_prefix")),
        argument_names=tuple(name for name in arguments if not name.endswith("_prefix")),
    )


def _included(match: re.Match[str]) -> str:
    return _INCLUDE.sub(_included, (LUA_FOLDER / "include" / f"{match[1]}.lua").read_text().rstrip())


for _path in LUA_FOLDER.glob("*.lua"):  # now: the files may be those of another release by the time they are called
    script(_path.stem)


@functools.lru_cache(maxsize=10_000)
def _head(name: str, keys: QueueKeys) -> tuple[Argument, ...]:
    """Return what every call of the script on this queue begins with."""
    of = script(name)
    return (
        of.sha,
        len(of.key_names),
        *(getattr(keys, key) for key in of.key_names),
        *(getattr(keys, prefix) for prefix in of.prefix_names),
    )


class Call(msgspec.Struct, frozen=True):
    """One call of a script on one queue. `source` is the key that a script's `source` or `finished` stands for."""

    name: str
    keys: QueueKeys
    arguments: Sequence[Argument] = ()
    source: str | None = None

    def command(self) -> tuple[Argument, ...]:
        """Return the EVALSHA command."""
        if self.source is None:
            return ("EVALSHA", *_head(self.name, self.keys), *self.arguments)
        of = script(self.name)
        named = [self.source if name in ("source", "finished") else getattr(self.keys, name) for name in of.key_names]
        prefixes = [getattr(self.keys, prefix) for prefix in of.prefix_names]
        return ("EVALSHA", of.sha, len(named), *named, *prefixes, *self.arguments)


def run(link: Link, call: Call) -> Any:
    """Run one script and return its reply; raises QueueingError."""
    reply = run_many(link, [call])[0]
    if isinstance(reply, QueueingError):
        raise reply
    return reply


def run_many(link: Link, calls: Sequence[Call]) -> list[Any]:
    """Run scripts in one round trip; returns a reply, or the QueueingError instead of it, for each.

    Raises StoreUnavailable when the trip itself failed: then nothing is known of any of them.
    """
    try:
        replies = _send(link, calls)
    except RedisError as error:
        raise translate(error) from error
    for n, reply in enumerate(replies):
        if isinstance(reply, RedisError):
            replies[n] = translate(reply)
    return replies


class Begun:
    """A script that was sent, and whose reply was not asked for yet; raises StoreUnavailable when it cannot be sent."""

    def __init__(self, link: Link, call: Call) -> None:
        self._link = link
        self._call = call
        try:
            self._underway = link.begin(call.command(), call.keys.queue)
        except RedisError as error:
            raise translate(error) from error

    def is_answered(self) -> bool:
        """Whether the reply, or the end of the connection, is there to be read."""
        return self._underway.is_answered()

    def reply(self) -> Any:
        """Return the reply, once; raises QueueingError."""
        try:
            reply = self._underway.reply()
        except RedisError as error:
            raise translate(error) from error
        if isinstance(reply, NoScriptError):
            return run(self._link, self._call)
        if isinstance(reply, RedisError):
            raise translate(reply)
        return reply


def _send(link: Link, calls: Sequence[Call]) -> list[Any]:
    """Send the calls; those whose script the server does not know yet (it did not run) once more, after loading it."""
    replies = _send_to(link, calls)
    unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        _load(link, [calls[n] for n in unknown])
        for n, reply in zip(unknown, _send_to(link, [calls[n] for n in unknown]), strict=True):
            replies[n] = reply
    return replies


def _send_to(link: Link, calls: Sequence[Call]) -> list[Any]:
    return link.execute_many([call.command() for call in calls], [call.keys.queue for call in calls])


def _load(link: Link, calls: Sequence[Call]) -> None:
    """Load the scripts of the calls, each once on each server that has a queue of them."""
    wanted = {(link.server_of(call.keys.queue), call.name): call.keys.queue for call in calls}
    texts = [("SCRIPT", "LOAD", script(name).text) for _server, name in wanted]
    link.execute_many(texts, list(wanted.values()))


def run_and_wait(link: Link, call: Call, replicas: int, timeout_ms: int) -> tuple[Any, int]:
    """Run one script, and wait on its connection until replicas have its writes; returns the reply and how many do.

    A script that finds its work done writes nothing, and WAIT is about writes of its connection alone: so one more
    write follows, and what replicas have then includes what an earlier call, on whatever connection, has written.
    """
    commands: list[Command] = [call.command(), ("HSET", call.keys.meta, "waited", 1), ("WAIT", replicas, timeout_ms)]
    queue = call.keys.queue
    try:
        reply, wrote, reached = link.execute_many(commands, [queue] * 3)
        if isinstance(reply, NoScriptError):
            commands.insert(0, ("SCRIPT", "LOAD", script(call.name).text))
            reply, wrote, reached = link.execute_many(commands, [queue] * 4)[1:]
    except RedisError as error:
        raise translate(error) from error
    for answer in (reply, wrote, reached):
        if isinstance(answer, RedisError):
            raise translate(answer)
    return reply, int(reached)


def _hint_at(text: str) -> str:
    """Return what is likely meant where a server ends a TLS connection, often before it can be read why."""
    is_ended = "violation of protocol" in text or "certificate required" in text
    return " (does it ask for a certificate of its clients, ssl_certfile?)" if is_ended else ""


def translate(error: RedisError) -> QueueingError:
    """Return the queue's error for one of redis-py."""
    code, _, argument = str(error).partition(" ")
    if code == "LEASE_LOST":
        return LeaseLost(argument)
    if code == "JOB_NOT_FOUND":
        return JobNotFound(argument)
    if code == "WRONG_STATE":
        job_id, _, state = argument.partition(" ")
        return WrongState(job_id, state)
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return StoreUnavailable(f"the database cannot be reached: {error}{_hint_at(str(error))}")
    not_serving = code in _NOT_SERVING or isinstance(error, _NOT_SERVING_ERRORS)
    if not_serving or not isinstance(error, ResponseError):
        return StoreUnavailable(f"the database does not serve now: {error}")
    return QueueingError(f"the database refused a script: {error}")
