"""The API in a process of its own, and clients that note how each of their requests is answered."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.system.faults import ledger
from tests.system.faults.ledger import Ledger
from tests.system.processes import PROJECT, WAIT_SECONDS, wait_until
from tests.system.test_up import free_port

PATIENCE_SECONDS = 10.0  # of a client; five times what the API may take
PAUSE_SECONDS = 0.02  # of a client between two requests

ANSWER_SECONDS = 2.0  # what the API may take

CALLS = SUBMIT, JOB, QUEUES, READY = "POST jobs", "GET job", "GET queues", "GET readyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back on one request: status 0 if the connection ended instead. Instants are of the monotonic clock."""

    call: str
    status: int
    content_type: str
    began: float
    ended: float
    body: bytes

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Api:
    """`manage.py api` on a free port; `within` is a command that becomes it."""

    def __init__(
        self, log: Path, environment: Mapping[str, str], *, host: str = "127.0.0.1", within: Sequence[str] = ()
    ) -> None:
        self.host = host
        self.port = free_port()
        self.log = log
        address = {"HOST": host, "PORT": str(self.port), "ALLOWED_HOSTS": host}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, "manage.py", "api"],
                cwd=PROJECT,
                env={**os.environ, **environment, **address},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, call: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request, a POST if it has a body, and return what came of it."""
        began = time.monotonic()
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE_SECONDS)
        try:
            if body is None:
                connection.request("GET", path, headers=headers or {})
            else:
                sent = {"Content-Type": "application/json", **(headers or {})}
                connection.request("POST", path, json.dumps(body), sent)
            response = connection.getresponse()
            status, kind, text = response.status, response.getheader("Content-Type", ""), response.read()
        except (OSError, HTTPException):
            status, kind, text = 0, "", b""
        finally:
            connection.close()
        return Answer(call=call, status=status, content_type=kind, began=began, ended=time.monotonic(), body=text)

    def wait_until_serving(self, path: str = "/readyz") -> None:
        """Wait until a probe passes."""
        wait_until(lambda: self.ask(path, path).status == 200)

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it with all its processes, if it has not ended yet."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(WAIT_SECONDS)


class Callers:
    """Clients, each in a thread of its own, that submit jobs and look at what is there in between.

    A submission is sent again under its Idempotency-Key until it is accepted. `answers` has all answers.
    """

    def __init__(
        self, find: Callable[[], Api], books: Sequence[Ledger], *, watched: str, job: Mapping[str, Any]
    ) -> None:
        self._find = find  # gives the API: it may be another process each time
        self._watched = watched
        self._job = job
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n, book)) for n, book in enumerate(books)]
        self.answers: list[Answer] = []
        self.accepted = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, book: Ledger) -> None:
        """Go round the calls, beginning with another one than the neighbour."""
        key = itertools.count()
        submission = f"{number}-{next(key)}"
        for turn in itertools.count(number):
            if self._stopping.wait(PAUSE_SECONDS):
                break
            if turn % 4:
                self._look(turn % 4)
            elif self._submit(submission, book):
                submission = f"{number}-{next(key)}"
        self._finish(submission, book)
        book.close()

    def _look(self, turn: int) -> None:
        call, path = {
            1: (JOB, f"/api/v1/jobs/{self._watched}"),
            2: (QUEUES, "/api/v1/queues"),
            3: (READY, "/readyz"),
        }[turn]
        self.answers.append(self._find().ask(call, path))

    def _submit(self, key: str, book: Ledger) -> bool:
        """Submit a job, for the first time or again; return whether it was accepted."""
        answer = self._find().ask(SUBMIT, "/api/v1/jobs", self._job, {"Idempotency-Key": key})
        self.answers.append(answer)
        if answer.status != 201:
            if job_id := refused_id(answer):
                book.write(ledger.ATTEMPTED, job=job_id)  # stored, less safely than was asked: it may run
            return False
        job_id = json.loads(answer.body)["id"]
        book.write(ledger.ATTEMPTED, job=job_id)
        book.write(ledger.ACKNOWLEDGED, job=job_id)
        self.accepted += 1
        return True

    def _finish(self, submission: str, book: Ledger) -> None:
        """Learn what became of the last submission, which may have been stored without an answer."""
        give_up_at = time.monotonic() + WAIT_SECONDS
        while not self._submit(submission, book):
            assert time.monotonic() < give_up_at, "a submission was never accepted"
            time.sleep(PAUSE_SECONDS)


def refused_id(answer: Answer) -> str | None:
    """Return the id of the job that a refusal names: one that is stored, but not as safely as was asked."""
    job_id: str | None = json.loads(answer.body).get("job_id") if answer.status == 503 else None
    return job_id


def statuses(answers: Sequence[Answer]) -> dict[str, dict[int, int]]:
    """Return how often each call was answered with each status."""
    return {call: dict(Counter(answer.status for answer in answers if answer.call == call)) for call in CALLS}
