"""The parts of a worker, put together as `worker.runner` does, with the loop in the hands of the test."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from redis import Redis

from queueing import Claimed, Policy
from queueing.codec import checksum
from queueing.keys import queue_keys
from queueing.scripts import LUA_FOLDER, script
from tests.faults import Faults, FaultyBroker
from tests.worker.suspects import handlers as suspects
from worker.consumer import Consumer
from worker.context import JobContext
from worker.executor import Executor
from worker.heartbeat import LeaseKeeper
from worker.isolation import Isolation
from worker.leases import Lease, LeaseBook
from worker.outcomes import Outcome
from worker.registry import Handler, registry
from worker.waker import Waker

WORKER = "host:1:test"
SUSPECTS = {kind: function for kind, function in registry.items() if function.__module__ == suspects.__name__}
WAIT_SECONDS = 10.0  # for what happens at once unless something is broken


class Gate:
    """A handler that says which job it started and ends when it is let through."""

    def __init__(self) -> None:
        self.started: SimpleQueue[str] = SimpleQueue()
        self.opened = threading.Event()

    def __call__(self, payload: Any, job: JobContext) -> Any:
        """Wait for the gate in short slices, so that an interrupt strikes soon."""
        self.started.put(job.id)
        for _ in range(int(WAIT_SECONDS * 200)):
            if self.opened.wait(0.005):
                return payload
        raise TimeoutError("the test never opened the gate")

    def next_started(self) -> str:
        """Return the id of the next job that started."""
        return self.started.get(timeout=WAIT_SECONDS)


def echo(payload: Any, job: JobContext) -> Any:
    """Return the payload."""
    return payload


class Rig:
    """Consumer, executor, waker and lease keeper over links whose faults and round trips a test controls.

    Only the handlers' threads run; what the others do is called by the test.
    """

    def __init__(
        self,
        client: Redis,
        handlers: Mapping[str, Handler] | None = None,
        *,
        queues: Sequence[str] = ("default",),
        concurrency: int = 1,
        max_jobs: int | None = None,
        policy: Policy | None = None,
        reports_itself: bool = False,
        listens: bool = False,
    ) -> None:
        for path in LUA_FOLDER.glob("*.lua"):
            client.script_load(script(path.stem).text)  # so that no trip to load one is among those a test counts
        self.faults = Faults()
        self.broker = FaultyBroker(client, policy, faults=self.faults).dedicated(meanwhile=self.meanwhile)
        self.keeper_faults = Faults()
        self.inbox: SimpleQueue[Outcome | None] = SimpleQueue()
        self.leases = LeaseBook()
        self.is_stopping = threading.Event()
        self.keeper = LeaseKeeper(
            FaultyBroker(client, policy, faults=self.keeper_faults).dedicated(),
            self.leases,
            worker=WORKER,
            queues=queues,
            about=lambda: {"slots": concurrency},
        )
        self.executor = Executor(
            concurrency=concurrency,
            handlers=handlers if handlers is not None else {"echo": echo, **SUSPECTS},
            leases=self.leases,
            report=self.report if reports_itself or listens else self.inbox.put,
            extend=self.keeper.extend_now,
        )
        self.waker = Waker(self.broker, queues, wake=lambda: self.inbox.put(None), by_caller=listens)
        self.consumer = Consumer(
            self.broker,
            queues=queues,
            worker=WORKER,
            inbox=self.inbox,
            executor=self.executor,
            waker=self.waker,
            max_jobs=max_jobs,
            is_stopping=self.is_stopping.is_set,
        )
        self.executor.start()

    def work(self) -> None:
        """Run jobs until the queues are empty and everything is reported."""
        while self.consumer.run_once() or not self.consumer.is_idle:
            if not self.consumer.is_idle:
                self.await_outcome()

    def report(self, outcome: Outcome) -> None:
        """Let the handler's thread report, as a worker does."""
        self.consumer.report(outcome)

    def meanwhile(self) -> None:
        """Let the consumer use the time in which the server works, as a worker does."""
        self.consumer.meanwhile()

    def await_outcome(self) -> None:
        """Wait until an attempt ended and the consumer knows it."""
        outcome = self.inbox.get(timeout=WAIT_SECONDS)
        assert outcome is not None
        self.inbox.put(outcome)

    def await_outcomes(self, count: int) -> None:
        """Wait until `count` attempts ended."""
        outcomes = [self.inbox.get(timeout=WAIT_SECONDS) for _ in range(count)]
        for outcome in outcomes:
            self.inbox.put(outcome)

    def close(self) -> None:
        """End every thread and process, and close every connection."""
        self.executor.stop()
        self.waker.stop(timeout_seconds=WAIT_SECONDS)
        for thread in self.executor.threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
        self.executor.end_isolated()
        self.keeper._broker.close()
        self.consumer.close()


def kill(isolation: Isolation) -> None:
    """Kill a fork server, and wait until it is gone."""
    assert isolation._pid is not None
    os.kill(isolation._pid, signal.SIGKILL)
    os.waitid(os.P_PID, isolation._pid, os.WEXITED | os.WNOWAIT)


def suspected(client: Redis, job_id: str) -> str:
    """Let a job look as if it had crashed once, and return its id."""
    client.hset(queue_keys("default").job(job_id), "n", 1)
    return job_id


def claimed(value: bytes = b"null", *, kind: str = "echo", token: str = "17-abcd", **changes: Any) -> Claimed:
    """Return a job as a claim gives it, without a server."""
    fields: dict[str, Any] = {
        "id": "default_" + "0" * 32,
        "queue": "default",
        "kind": kind,
        "payload": value,
        "payload_crc": checksum(value),
        "attempt": 1,
        "max_attempts": 5,
        "timeout_ms": None,
        "tags": (),
        "created_ms": 1_795_248_000_000,
        "lease_token": token,
    }
    return Claimed(**{**fields, **changes})


def lease_of(job: Claimed, *, lease_seconds: float = 30.0) -> Lease:
    """Return a lease of a job claimed just now."""
    return Lease(job, lease_seconds=lease_seconds, claimed_at=time.monotonic())
