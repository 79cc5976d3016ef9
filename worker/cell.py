"""The inside of a cell: a process that runs one attempt at a time, as its worker tells it, and may die of it.

Two connections lead to the worker. Over the *line* the handler's thread says `READY`, and then gets an `Order` and
answers with a verdict, again and again. What passes meanwhile goes over the *side*, where the main thread always
listens; it names its attempt by the lease token, for it may come too early or too late.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

from queueing import Claimed
from worker.errors import AttemptInterrupted, JobCancelled
from worker.leases import Lease
from worker.outcomes import judge
from worker.registry import Handler

READY = "ready"
TICK_SECONDS = 0.5  # progress goes to the worker within this


@dataclass(frozen=True, slots=True)
class Order:
    """Run the job's handler."""

    job: Claimed
    lease_seconds: float
    renewed_at: float


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Raise `error` in the handler's thread."""

    lease_token: str
    error: type[AttemptInterrupted]


@dataclass(frozen=True, slots=True)
class Progress:
    """The handler says how far it is."""

    lease_token: str
    fraction: float
    note: str


@dataclass(frozen=True, slots=True)
class Extend:
    """The handler asks for its lease to be extended now."""

    lease_token: str


@dataclass(frozen=True, slots=True)
class Extended:
    """The answer to `Extend`: what the handler's call raises, None for nothing."""

    lease_token: str
    error: Exception | None


def ignore_stop() -> None:
    """Leave TERM and INT, which may be sent to all processes of a worker, to the worker.

    Not with SIG_IGN, which the programs that a handler starts would inherit.
    """

    def leave_it(_number: int, _frame: FrameType | None) -> None:
        pass

    signal.signal(signal.SIGTERM, leave_it)
    signal.signal(signal.SIGINT, leave_it)


class Occupant:
    """Runs handlers on a thread of its own, so that the main thread hears the worker whatever they do."""

    def __init__(self, line: Connection, side: Connection, handlers: Mapping[str, Handler]) -> None:
        self._line = line
        self._side = side  # both threads send over it: what they send is short, and so goes out in one piece
        self._handlers = handlers
        self._lease: Lease | None = None
        self._interrupt: Interrupt | None = None  # that has not struck yet
        self._answers: SimpleQueue[Exception | None] = SimpleQueue()

    def run(self) -> NoReturn:
        """Live until the worker hangs up."""
        threading.Thread(target=self._work, name="handler-0", daemon=True).start()
        while True:
            try:
                if self._side.poll(TICK_SECONDS):
                    self._hear(self._side.recv())
                if lease := self._lease:
                    self._attend(lease)
            except (EOFError, OSError):
                os._exit(0)

    def _hear(self, message: object) -> None:
        match message:
            case Interrupt():
                self._interrupt = message
            case Extended(lease_token, error) if self._lease and self._lease.job.lease_token == lease_token:
                self._answers.put(error)

    def _attend(self, lease: Lease) -> None:
        """Interrupt the attempt if that is due, and pass on its progress."""
        token = lease.job.lease_token
        if self._interrupt is not None and self._interrupt.lease_token == token:
            self._strike(lease, self._interrupt.error)
        if progress := lease.take_progress():
            self._side.send(Progress(token, **json.loads(progress)))

    def _strike(self, lease: Lease, error: type[AttemptInterrupted]) -> None:
        if error is JobCancelled:
            lease.request_cancel()
        if lease.interrupt(error):
            self._interrupt = None

    def _work(self) -> NoReturn:
        try:
            self._line.send(READY)
            while True:
                self._run(self._line.recv())
        except (EOFError, OSError):
            os._exit(0)
        except BaseException:  # noqa: BLE001 - such as a MemoryError: without this thread nothing would ever end
            traceback.print_exc()
            os._exit(1)

    def _run(self, order: Order) -> None:
        self._lease = Lease(order.job, lease_seconds=order.lease_seconds, claimed_at=order.renewed_at)
        verdict = judge(self._lease, self._handlers, self._extend)
        self._lease = None
        for handler in logging.getLogger().handlers:  # the worker may end, and kill us, as soon as it knows
            handler.flush()
        self._line.send(verdict)

    def _extend(self, lease: Lease) -> None:
        answers = self._answers = SimpleQueue()
        self._side.send(Extend(lease.job.lease_token))
        if error := answers.get():
            raise error
