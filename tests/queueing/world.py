"""A queue on a real server and the model of it, side by side: what every rule of the machine needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis import Redis

from queueing import Broker, Claimed, Inspector, LeaseLost, Policy, QueueingError, Retention, State, connect, scripts
from queueing.audit import BATCH, audit_queue
from queueing.keys import queue_keys
from queueing.links import PooledLink
from queueing.scripts import Call
from tests.queueing.agreement import Agreement
from tests.queueing.dump import dump
from tests.queueing.model import EDGES, LIVE, Model
from tests.queueing.servers import PrivateServer
from tests.queueing.timetravel import MINUTE_MS, Clock

QUEUE = "model"
KEYS = queue_keys(QUEUE)
USER = "queue"  # of the database: it may touch no key but those of the queue
ACCESS = ("--user", USER, "on", "nopass", f"~jobs:{{{QUEUE}}}:*", "+@all")
JOURNAL = ("--appendfsync", "no")  # each reply comes after its write; with everysec a slow fsync lets it come before
SETTINGS = (*ACCESS, *JOURNAL)
TIMEOUT_SECONDS = 20.0
HOUR_MS = 60 * MINUTE_MS
POLICY = Policy(
    lease_ms=5 * MINUTE_MS,
    max_crashes=2,
    retention={
        State.SUCCEEDED: Retention(keep_ms=HOUR_MS, keep_count=4),
        State.DEAD: Retention(keep_ms=2 * HOUR_MS, keep_count=6),
        State.CANCELLED: Retention(keep_ms=HOUR_MS, keep_count=4),
        State.EXPIRED: Retention(keep_ms=HOUR_MS, keep_count=4),
    },
)


def result_of(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the error it raises in a form that compares."""
    try:
        return call()
    except QueueingError as error:
        return type(error), str(error)


class World(RuleBasedStateMachine):
    """Make each call on the server and in the model; after each step all the server holds is compared with the model.

    `figures` counts the steps, and what happened by kind.
    """

    def __init__(self, server: PrivateServer, admin: Redis, figures: Counter[str]) -> None:
        super().__init__()
        admin.flushall()
        self.server = server
        self.admin = admin
        self.figures = figures
        url = server.url.replace("unix://", f"unix://{USER}:-@")
        self.client = connect(url, socket_timeout_seconds=TIMEOUT_SECONDS)
        self.link = PooledLink(self.client)
        self.broker = Broker(self.client, POLICY)
        self.inspector = Inspector(self.client)
        self.model = Model(POLICY)
        self.clock = Clock(admin, QUEUE)
        self.agreement = Agreement(KEYS, self.model, self.clock)
        self.leases: list[Claimed] = []
        self.nonces: list[str] = []
        self.ids: list[str] = []
        self.calm_steps = 0
        self.called_ms = 0

    def both(self, real: Callable[[], Any], spec: Callable[[int], Any]) -> Any:
        """Make a call and its counterpart; they must return or raise the same, and lead where a verb may lead."""
        before = self.clock.now()
        states = {job.id: job.state for job in self.model.jobs.values()}
        actual = result_of(real)
        self.called_ms = now = self.clock.now()
        expected = result_of(lambda: spec(now))
        assert actual == expected
        for job in self.model.jobs.values():
            old = states.get(job.id)
            assert job.state is old or job.state in EDGES.get(old, set())
        self.agreement.slack_ms = max(self.agreement.slack_ms, now - before + 1)
        return actual

    def guarded(self, real: Callable[[], Any], spec: Callable[[int], Any]) -> None:
        """Make a call that carries tokens; when it was refused, all of it, the server must be as before."""
        before = dump(self.admin)
        answer = self.both(real, spec)
        if is_refusal(answer):
            self.figures["refused"] += 1
            assert without_stale(dump(self.admin)) == without_stale(before)

    # What must hold after each step

    @invariant()
    def holds(self) -> None:
        self.figures["steps"] += 1
        self.calm_steps += 1
        self.agree()

    def agree(self) -> None:
        self.agreement.check(dump(self.admin), self.inspector.stats(QUEUE))
        ids = list(self.model.jobs)
        for batch in (ids[at : at + BATCH] for at in range(0, len(ids), BATCH)):
            assert scripts.run(self.link, Call("audit", KEYS, (0, *batch))) == []

    def teardown(self) -> None:
        """Work everything off: from any state, each job ends."""
        self.figures += self.model.counters
        self.broker.resume(QUEUE)
        for _ in range(20):
            self.clock.let_pass(HOUR_MS)
            self.broker.reap(QUEUE)
            for job in self.broker.claim(QUEUE, "last", 50).jobs:
                self.broker.ack(job)
            if not self.count_live():
                break
        assert self.count_live() == 0
        assert list(audit_queue(self.client, QUEUE)) == []
        self.client.close()

    def count_live(self) -> int:
        """Return how many jobs the server has yet to finish."""
        counts = self.inspector.stats(QUEUE).counts
        return sum(counts[state] for state in LIVE)


def is_refusal(answer: Any) -> bool:
    """Tell whether an answer of ack, extend, fail or release says that no lease was held."""
    if isinstance(answer, list):
        return not any(reply is True or reply in ((True, False), (True, True)) for reply in answer)
    return isinstance(answer, tuple) and answer[0] is LeaseLost


def without_stale(state: dict[str, Any]) -> dict[str, Any]:
    """Return a dump without the counter of refused calls."""
    meta = {name: value for name, value in state.get(KEYS.meta, {}).items() if name != "stale"}
    return {**state, KEYS.meta: meta}
