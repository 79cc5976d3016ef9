"""The life of a worker process: its parts, how it lives, and the order in which it stops."""

from __future__ import annotations

import enum
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

from queueing import Broker, QueueingError, Run, StoreUnavailable
from worker import memory
from worker.consumer import Consumer
from worker.errors import LeaseLost
from worker.executor import Executor
from worker.heartbeat import LeaseKeeper
from worker.leases import LeaseBook
from worker.maintenance import Maintenance
from worker.outcomes import Outcome
from worker.registry import Handler
from worker.service import Service
from worker.signals import StopRequest
from worker.waker import Waker
from worker.watchdog import EXIT_STUCK, Watchdog

logger = logging.getLogger(__name__)

EXIT_CLEAN = 0
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: the database could not be reached
EXIT_FORCED = 128  # + the number of the signal that came twice

DRAIN_PATIENCE_SECONDS = 20.0  # how long a drain tries to reach the database; less than the watchdog has
LET_GO_SECONDS = 1.5  # in which interrupted handlers end, for the shipped ones sit in no call longer than a second


class Mode(enum.StrEnum):
    """How a worker lives."""

    CONTINUOUS = "continuous"
    DRAIN = "drain"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker is to run; times in seconds. A careful one runs no job in its own process at first."""

    queues: Sequence[str]
    concurrency: int = 1
    mode: Mode = Mode.CONTINUOUS
    interval_seconds: float = 60.0
    max_jobs: int | None = None
    max_seconds: float | None = None
    grace_seconds: float = 30.0
    is_careful: bool = False


def new_worker_name() -> str:
    """Make a name no other worker has had: host, process id and four random bytes."""
    host = socket.gethostname().replace(":", "-").replace("|", "-")
    return f"{host}:{os.getpid()}:{secrets.token_hex(4)}"


class Worker:
    """One worker process. Threads: the caller's (consumer), the handlers', lease keeper, maintenance, and wakers.

    Each of the last three has a connection of its own, and the consumer two. A handlers' thread is the waker of a
    worker that runs on, unless the queues lie apart.
    """

    def __init__(
        self,
        broker: Broker,
        handlers: Mapping[str, Handler],
        options: WorkerOptions,
        stop: StopRequest,
        *,
        still_wanted: Callable[[], bool] = lambda: True,
        service: Service | None = None,
    ) -> None:
        self.name = new_worker_name()
        self._options = options
        self._stop = stop
        self._still_wanted = still_wanted
        self._service = service or Service()
        self._leases = LeaseBook()
        inbox: SimpleQueue[Outcome | None] = SimpleQueue()
        self._keeper = LeaseKeeper(
            broker.dedicated(),
            self._leases,
            worker=self.name,
            queues=options.queues,
            about=self._about,
        )
        self._maintenance = Maintenance(broker.dedicated(), options.queues)
        self._executor = Executor(
            concurrency=options.concurrency,
            handlers=handlers,
            leases=self._leases,
            report=self._report,
            extend=self._keeper.extend_now,
        )
        # A drain knows a queue to be empty by claims of its own alone, so nobody else may wait and claim meanwhile
        self._waker = Waker(
            broker,
            options.queues,
            wake=lambda: inbox.put(None),
            by_caller=options.mode is Mode.CONTINUOUS,
            meanwhile=self._write_lines,
        )
        self._consumer = Consumer(
            broker.dedicated(meanwhile=self._meanwhile),
            queues=options.queues,
            worker=self.name,
            inbox=inbox,
            executor=self._executor,
            waker=self._waker,
            max_jobs=options.max_jobs,
            is_stopping=stop.requested.is_set,
        )
        self._started_at = datetime.now(UTC)
        self._ends_at = time.monotonic() + options.max_seconds if options.max_seconds is not None else None
        self._watchdog = Watchdog(pass_on=self._service.alive)
        self._is_stuck = False
        stop.on_change = self._consumer.wake

    def prepare(self) -> None:
        """Fork what is to be forked while this process has no other thread and no connection; `run` does, too."""
        self._executor.prepare()

    def run(self) -> int:
        """Live as told and return the process's exit code."""
        self._start()
        try:
            code = self._live()
        finally:
            forced = self._shut_down()
        return EXIT_STUCK if self._is_stuck else forced or code

    def _report(self, outcome: Outcome) -> None:
        self._consumer.report(outcome)

    def _meanwhile(self) -> None:
        self._consumer.meanwhile()

    def _write_lines(self) -> None:
        self._consumer.write_lines()

    def _start(self) -> None:
        self._executor.prepare()
        self._stop.listen()
        self._executor.start()
        if self._options.is_careful:
            self._executor.beware()
        self._keeper.start()
        self._maintenance.start()
        self._waker.start()
        self._watchdog.start(
            [*self._executor.threads, self._keeper.thread, self._maintenance.thread, *self._waker.threads]
        )
        self._service.ready()

    def _live(self) -> int:
        if self._options.mode is Mode.CONTINUOUS:
            return self._consume(until_empty=False)
        while True:
            began, started_at, ended_before = time.monotonic(), datetime.now(UTC), self._consumer.ended
            code = self._consume(until_empty=True)
            self._note_run(started_at, self._consumer.ended - ended_before, code)
            if self._options.mode is Mode.DRAIN or not self._sleep_until(began + self._options.interval_seconds):
                return code

    def _consume(self, *, until_empty: bool) -> int:
        """Run jobs until told to end, or until every queue is empty and nothing runs; returns an exit code.

        An empty queue is waited for while leases of others look overdue: their jobs are ours to run if they are.
        """
        while not self._must_end():
            is_owed = self._maintenance.is_owed  # looked at before the claim, which so finds what is taken back
            if self._step():
                continue
            if until_empty and not is_owed and self._consumer.is_empty and self._consumer.is_idle:
                break
            if until_empty and self._is_out_of_patience():
                return EXIT_UNAVAILABLE
            self._consumer.wait(self._tick())
        else:
            self._finish_last()
        return EXIT_CLEAN

    def _note_run(self, started_at: datetime, jobs: int, code: int) -> None:
        """Leave word of a drain that ends: when the next is looked for, this process may be long gone."""
        run = Run(
            worker=self.name,
            host=self.name.split(":")[0],
            queues=tuple(self._options.queues),
            mode=str(self._options.mode),
            interval_seconds=self._options.interval_seconds if self._options.mode is Mode.INTERVAL else None,
            started_at=started_at,
            ended_at=datetime.now(UTC),
            jobs=jobs,
            outcome=self._outcome(code),
        )
        try:
            self._consumer.note_run(run)
        except QueueingError as error:
            logger.warning("%s", error, extra={"action": "note_run_failed", "worker": self.name})

    def _outcome(self, code: int) -> str:
        if code == EXIT_UNAVAILABLE:
            return "unavailable"
        if self._is_stuck:
            return "stuck"
        if self._stop.requested.is_set():
            return "stopped"
        return "limit" if self._must_end() else "drained"

    def _about(self) -> dict[str, Any]:
        """Say what the sign of life tells of this worker, but for what runs."""
        host, pid, _ = self.name.split(":")
        return {
            "host": host,
            "pid": int(pid),
            "queues": list(self._options.queues),
            "slots": self._options.concurrency,
            "mode": str(self._options.mode),
            "started_at": self._started_at.isoformat(timespec="milliseconds"),
            "jobs": self._consumer.ended,
            "rss_mib": memory.resident_mib(),
        }

    def _step(self) -> bool:
        busy = self._consumer.run_once()
        if not self._consumer.is_cut_off:
            self._watchdog.pat()
        return busy

    def _finish_last(self) -> None:
        """Let the last jobs of a limited life end: the grace is for what a request to stop meets."""
        self._consumer.claim_no_more()
        while not self._consumer.is_idle and not self._must_stop():
            if not self._step():
                self._consumer.wait()

    def _is_out_of_patience(self) -> bool:
        since = self._consumer.unavailable_since
        return since is not None and time.monotonic() - since > DRAIN_PATIENCE_SECONDS

    def _must_end(self) -> bool:
        """Whether to claim no more: to stop, out of time, or out of jobs."""
        out_of_time = self._ends_at is not None and time.monotonic() >= self._ends_at
        return self._must_stop() or out_of_time or self._consumer.is_exhausted

    def _must_stop(self) -> bool:
        """Whether to end also what runs: told to, stuck, or left alone by the supervisor."""
        if not self._stop.requested.is_set() and not self._still_wanted():
            self._stop.request()
        if self._executor.is_crippled or any(lease.is_stuck(time.monotonic()) for lease in self._leases):
            self._is_stuck = True
            return True
        return self._stop.requested.is_set()

    def _tick(self) -> float:
        if self._ends_at is None:
            return 1.0
        return max(0.001, min(1.0, self._ends_at - time.monotonic()))

    def _sleep_until(self, moment: float) -> bool:
        """Sleep between two drains, until the next one or a reason to end; returns whether to go on."""
        while not self._must_end() and (left := moment - time.monotonic()) > 0:
            self._watchdog.pat()
            self._stop.requested.wait(min(left, self._tick()))
        return not self._must_end()

    def _shut_down(self) -> int:
        """Stop in order; returns the exit code of a forced stop, else 0.

        1. Claim no more, wait for no hint, and report as failed what is stuck. 2. Let what runs finish, up to the
        grace, and report it. 3. Interrupt the rest and give it back, so that another worker starts it at once. 4. Stop
        maintenance. 5. Stop the lease keeper last: until then leases are kept.
        """
        self._service.stopping()
        self._watchdog.stop()
        self._consumer.claim_no_more()
        self._waker.stop()
        self._consumer.abandon([lease for lease in self._leases if lease.is_stuck(time.monotonic())])
        self._finish_running(time.monotonic() + self._options.grace_seconds)
        self._give_back()
        self._consumer.write_lines()
        self._executor.stop()
        self._maintenance.stop()
        self._keeper.stop()
        self._consumer.close()
        forced = self._stop.at_once.is_set() and self._stop.signal_number is not None
        return EXIT_FORCED + (self._stop.signal_number or 0) if forced else 0

    def _finish_running(self, until: float) -> None:
        while not self._consumer.is_idle and time.monotonic() < until and not self._stop.at_once.is_set():
            if not self._consumer.run_once():
                self._consumer.wait(min(0.1, max(0.001, until - time.monotonic())))
        self._consumer.run_once()

    def _give_back(self) -> None:
        """Interrupt what still runs, and give it back once its handlers have ended: no job then runs twice at once.

        A handler that sits in a call into C longer than that ends with this process, very soon, or is killed now if it
        has a process of its own.
        """
        running = list(self._leases)
        for lease in running:
            if lease.interrupt(LeaseLost):
                lease.lose()
        until = time.monotonic() + LET_GO_SECONDS
        while any(lease.is_running for lease in running) and self._may_wait(until):
            time.sleep(0.005)
        self._executor.end_isolated()
        try:
            self._consumer.run_once()  # reports what ended by itself before its interrupt
            self._consumer.release_all(running)
        except StoreUnavailable:
            return  # the reaper takes them back when their leases end
        finally:
            for lease in running:
                lease.lose()

    def _may_wait(self, until: float) -> bool:
        return time.monotonic() < until and not self._stop.at_once.is_set()
