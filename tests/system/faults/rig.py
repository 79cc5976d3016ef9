"""A server of its own, workers and producers with ledgers, and the figures of a run."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from queueing import Broker, Durability, DurabilityNotMet, NewJob, State, StoreUnavailable
from queueing.audit import audit_queue
from queueing.embedded import EmbeddedServer, EmbeddedServerError
from queueing.jobs import EPOCH_MS, TICKS_PER_MS, new_job_id
from queueing.keys import QueueKeys, queue_keys
from tests.system.faults import ledger
from tests.system.faults.api import Api, Callers
from tests.system.faults.checker import History
from tests.system.faults.ledger import Ledger, Reader
from tests.system.processes import RunWorker, is_session_alive, wait_until
from tests.topologies import store_at

QUEUE = "default"
KEYS = queue_keys(QUEUE)
DRAIN_SECONDS = 60.0
CLAIMING_AGAIN_SECONDS = 5.0  # what a worker may take once the database is back


def work(seconds: float) -> NewJob:
    """Return a job that takes some seconds."""
    return NewJob.of("faults.work", {"seconds": seconds})


class Producer:
    """Enqueues jobs one by one from a thread of its own, each under its id until that is acknowledged.

    It does so in batches, and waits for the stack to be empty after each: jobs at the bottom of the stack, those
    given back by a fault among them, so have their turn however slow the machine is.
    """

    BATCH = 100

    def __init__(
        self,
        url: str,
        book: Ledger,
        jobs: Iterable[NewJob],
        *,
        queue: str = QUEUE,
        durability: Durability = Durability.ACCEPTED,
    ) -> None:
        self._client = store_at(url)
        self._broker = Broker(self._client).dedicated(socket_timeout_seconds=1)
        self._book = book
        self._jobs = jobs
        self._queue = queue
        self._durability = durability
        self._stopping = threading.Event()
        self.repeated = 0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        """Let it end after the job it is enqueueing."""
        self._stopping.set()

    def _run(self) -> None:
        for number, job in enumerate(self._jobs, start=1):
            if self._stopping.is_set():
                break
            self._enqueue(new_job_id(self._queue), job)
            if number % self.BATCH == 0:
                self._wait_until_empty()
        self._broker.close()
        self._client.close()
        self._book.close()

    def _enqueue(self, job_id: str, job: NewJob) -> None:
        self._book.write(ledger.ATTEMPTED, job=job_id)
        while True:
            try:
                self._broker.enqueue(self._queue, job, job_id=job_id, durability=self._durability)
            except (StoreUnavailable, DurabilityNotMet):
                self.repeated += 1
                if self._stopping.wait(0.05):
                    return
            else:
                self._book.write(ledger.ACKNOWLEDGED, job=job_id)
                return

    def _wait_until_empty(self) -> None:
        while not self._stopping.wait(0.005):
            try:
                if self._client.zcard(queue_keys(self._queue).ready) == 0:
                    return
            except (RedisError, RedisClusterException):
                continue


class Store(Protocol):
    """What takes the place of the one server: it runs already."""

    url: str

    def kill(self) -> None:
        """End all of it at once."""


AnyProcess = TypeVar("AnyProcess", RunWorker, Api)


@dataclass(slots=True)
class Replaced(Generic[AnyProcess]):
    """Processes that are started anew when they end, and with which codes they ended."""

    running: list[AnyProcess]
    ends: Counter[int] = field(default_factory=Counter)


class Rig:
    """The world of one test; everything that it starts ends with it."""

    def __init__(self, folder: Path, seed: int, store: Store | None = None, queues: Sequence[str] = (QUEUE,)) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.server: Any = store or EmbeddedServer(folder)
        self.queues = queues
        self.client: Any = store_at(self.server.url)
        self.broker = Broker(self.client)
        self.workers: list[RunWorker] = []
        self.apis: list[Api] = []
        self.environment: dict[str, Any] = {"LEASE_SECONDS": 2}
        self.folder = folder
        self._ledgers = folder / "ledgers"
        self._ledgers.mkdir()
        self._book = Ledger(self._ledgers, "nemesis")
        self._reader = Reader(self._ledgers)

    def start_worker(self, *arguments: str, within: Sequence[str] = (), **environment: Any) -> RunWorker:
        """Start `runworker` on this server, with the handlers of the workload."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = RunWorker(arguments, log, self._variables(environment), within)
        self.workers.append(worker)
        return worker

    def start_api(self, *, host: str = "127.0.0.1", within: Sequence[str] = (), **environment: Any) -> Api:
        """Start the API on this server."""
        api = Api(self.folder / f"api-{len(self.apis)}.log", self._variables(environment), host=host, within=within)
        self.apis.append(api)
        return api

    def _variables(self, given: dict[str, Any]) -> dict[str, str]:
        variables = {
            "AUTH_MODE": "none",
            "DJANGO_SETTINGS_MODULE": "tests.system.faults.settings",
            "VAR_DIR": self.folder,
            "REDIS_URL": self.server.url,
            ledger.FOLDER_VARIABLE: self._ledgers,
            **self.environment,
            **given,
        }
        return {name: str(value) for name, value in variables.items()}

    def start_workers(self, count: int, *arguments: str) -> list[RunWorker]:
        """Start workers and return once each has shown itself."""
        workers = [self.start_worker(*arguments) for _ in range(count)]
        wait_until(lambda: self.client.hlen(KEYS.workers) >= count)
        return workers

    def has_shown_itself(self, worker: RunWorker) -> bool:
        """Tell whether a worker gave a sign of life."""
        return any(int(name.split(b":")[1]) == worker.pid for name in self.client.hkeys(KEYS.workers))

    def kill(self, worker: RunWorker) -> None:
        """End a worker as a crash would, and write down when it was gone."""
        worker.kill()
        self._write_down_the_end(worker)

    def terminate(self, worker: RunWorker, seconds: float = 15.0) -> int:
        """End a worker in order, write down when it was gone, and return its exit code."""
        worker.terminate()
        code = worker.wait(seconds)
        self._write_down_the_end(worker)
        return code

    def _write_down_the_end(self, process: RunWorker | Api) -> None:
        """Write down that a process is gone, once those that it ran jobs in are gone too."""
        wait_until(lambda: not is_session_alive(process.pid))
        self._book.write(ledger.DIED, pid=process.pid)

    @contextmanager
    def replacing(self, *starts: Callable[[], AnyProcess]) -> Iterator[Replaced[AnyProcess]]:
        """Keep processes running meanwhile: start each anew once it has ended, and write down that it has."""
        kept = Replaced(running=[start() for start in starts])
        stopping = threading.Event()

        def replace() -> None:
            while not stopping.wait(0.01):
                for number, process in enumerate(kept.running):
                    if (code := process.process.poll()) is not None:
                        self._write_down_the_end(process)
                        kept.ends[code] += 1
                        kept.running[number] = starts[number]()

        keeper = threading.Thread(target=replace)
        keeper.start()
        try:
            yield kept
        finally:
            stopping.set()
            keeper.join()

    def wait_for_claims(self, workers: int, since: float, seconds: float = 15.0) -> list[float]:
        """Wait until as many workers have claimed and started a job since some moment; return when each first claimed.

        That is in seconds after the moment. A start may come later: some jobs have to wait for a process of their own.
        """
        first: dict[int, float] = {}

        def have_claimed() -> bool:
            for _, line in self._reader.new_lines():
                if line["event"] == ledger.STARTED and (claimed_at := moment_of(line["fence"])) > since:
                    worker = line["worker"]
                    first[worker] = min(first.get(worker, math.inf), claimed_at - since)
            return len(first) >= workers

        wait_until(have_claimed, seconds)
        return list(first.values())

    def calling(self, api: Callable[[], Api], count: int, watched: str, **job: Any) -> Callers:
        """Return clients of the API that submit jobs and look at the job `watched`."""
        books = [Ledger(self._ledgers, f"client-{number}") for number in range(count)]
        return Callers(api, books, watched=watched, job={"kind": "faults.work", "payload": {"seconds": 0.005}, **job})

    @contextmanager
    def producing(
        self, *shares: Iterable[NewJob], durability: Durability = Durability.ACCEPTED
    ) -> Iterator[list[Producer]]:
        """Enqueue jobs meanwhile, each share from a thread of its own; at the end wait until all are.

        The queues take turns: the first share goes to the first queue.
        """
        started = [
            Producer(self.server.url, Ledger(self._ledgers, f"producer-{n}"), share, queue=queue, durability=durability)
            for n, (share, queue) in enumerate(zip(shares, itertools.cycle(self.queues), strict=False))
        ]
        for producer in started:
            producer.thread.start()
        try:
            yield started
            wait_until(lambda: not is_alive(started), DRAIN_SECONDS)
        finally:
            for producer in started:
                producer.stop()
                producer.thread.join(10)

    def enqueue(self, jobs: list[NewJob], queue: str = QUEUE) -> list[str]:
        """Enqueue jobs at once and write down that they are there."""
        ids = [new_job_id(queue) for _ in jobs]
        for job_id in ids:
            self._book.write(ledger.ATTEMPTED, job=job_id)
        self.broker.enqueue_many(queue, jobs, job_ids=ids)
        for job_id in ids:
            self._book.write(ledger.ACKNOWLEDGED, job=job_id)
        return ids

    def accepts(self) -> bool:
        """Enqueue a job and tell whether it was accepted."""
        try:
            self.broker.enqueue(QUEUE, NewJob.of("echo"))
        except StoreUnavailable:
            return False
        return True

    def wait_until_done(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until no job is ready, scheduled or running."""
        wait_until(
            lambda: not any(self._sizes(keys.ready, keys.scheduled, keys.running) for keys in self._keys), seconds
        )

    def wait_until_idle(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until no job is ready or running; some may be scheduled."""
        wait_until(lambda: not any(self._sizes(keys.ready, keys.running) for keys in self._keys), seconds)

    @property
    def _keys(self) -> list[QueueKeys]:
        return [queue_keys(queue) for queue in self.queues]

    def _sizes(self, *keys: str) -> int:
        """Return the sizes of sets of one queue together, read at once: jobs move between them."""
        pipeline = self.client.pipeline(transaction=True)
        for key in keys:
            pipeline.zcard(key)
        return sum(pipeline.execute())

    def stored(self) -> dict[str, State]:
        """Return the state of every job that the server has."""
        return {job_id: state for keys in self._keys for job_id, state in self._stored_in(keys).items()}

    def _stored_in(self, keys: QueueKeys) -> dict[str, State]:
        prefix = len(keys.job_prefix)
        ids = [key[prefix:].decode() for key in self.client.scan_iter(match=keys.job_prefix + "*", count=1000)]
        pipeline = self.client.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hget(keys.job(job_id), "s")
        return {job_id: State(state.decode()) for job_id, state in zip(ids, pipeline.execute(), strict=True)}

    def states(self) -> dict[str, int]:
        """Return how many jobs the server has in each state."""
        return dict(Counter(str(state) for state in self.stored().values()))

    def history(self) -> History:
        """Return what the ledgers say."""
        return History(self._ledgers)

    def assert_sound(self) -> History:
        """Assert that nothing was lost or ran twice at once, and that records and sets agree."""
        history, stored = self.history(), self.stored()
        verdict = history.verdict(stored)
        assert not verdict, verdict
        self.assert_agreeing()
        return history

    def assert_agreeing(self) -> None:
        """Assert that records and sets agree."""
        assert [fault for queue in self.queues for fault in audit_queue(self.client, queue)] == []

    def say(self, **figures: Any) -> None:
        """Print the figures of the run."""
        text = ", ".join(f"{name} {value}" for name, value in {"seed": self.seed, **figures}.items())
        print(text)  # noqa: T201 - figures for the reader

    def close(self) -> None:
        """End every process."""
        for process in (*self.workers, *self.apis):
            process.kill()
        with contextlib.suppress(EmbeddedServerError):  # it was never started
            self.server.kill()
        self.client.close()
        self._book.close()


def moment_of(fence: int) -> float:
    """Return when a claim was made, by the monotonic clock; fences come from the clock of the day."""
    return (fence / TICKS_PER_MS + EPOCH_MS) / 1000 - (time.time() - time.monotonic())


def is_alive(producers: list[Producer]) -> bool:
    """Tell whether any producer still has something to do."""
    return any(producer.thread.is_alive() for producer in producers)


def every(seconds: tuple[float, float], do: Callable[[], object], rig: Rig, until: Callable[[], bool]) -> int:
    """Do something at random intervals until something is reached; returns how often."""
    times = 0
    while not until():
        wake_at = time.monotonic() + rig.random.uniform(*seconds)
        while time.monotonic() < wake_at and not until():
            time.sleep(0.01)
        if not until():
            do()
            times += 1
    return times
