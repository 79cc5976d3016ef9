"""Two releases side by side on one database server: docs/upgrading.md, done under load."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from queueing import Inspector, NewJob, State
from tests.system.faults.api import JOB, QUEUES, READY, SUBMIT, Answer, Api, Callers, statuses
from tests.system.faults.rig import Rig, work
from tests.system.processes import PROJECT, RunWorker, wait_until

PARTS = ("queueing", "worker", "jobapi", "settings", "templates", "tests/system/faults")
NEW_KIND = """

@handler("faults.new")
@written_down
def new(payload: Any, job: JobContext) -> None:
    pass
"""
CLIENTS = 4
SUBMISSIONS = 20  # accepted while both releases serve


@dataclass(frozen=True, slots=True)
class Release:
    """A tree that can be run."""

    folder: Path
    version: str

    @property
    def within(self) -> list[str]:
        """Return the command within which a program of this tree runs."""
        return ["env", f"--chdir={self.folder}", f"DD_VERSION={self.version}"]

    def has_its_scripts_on(self, rig: Rig) -> bool:
        """Tell whether the server has this release's texts of the scripts that every job needs."""
        ask = "from queueing.scripts import script; print(*(script(n).sha for n in ('enqueue', 'claim', 'ack')))"
        found = subprocess.run([*self.within, sys.executable, "-c", ask], capture_output=True, text=True, check=True)
        return all(rig.client.script_exists(*found.stdout.split()))


THIS = Release(PROJECT, "1.0.0")


@pytest.fixture
def another(tmp_path: Path) -> Release:
    """Make another release: each of its scripts has another text, so another name, and it knows one more kind."""
    folder = tmp_path / "another"
    for part in PARTS:
        shutil.copytree(PROJECT / part, folder / part)
    shutil.copy(PROJECT / "manage.py", folder)
    for path in folder.glob("queueing/lua/**/*.lua"):
        path.write_text(path.read_text() + "-- of another release\n")
    with (folder / "tests/system/faults/handlers.py").open("a") as handlers:
        handlers.write(NEW_KIND)
    return Release(folder, "2.0.0")


@pytest.fixture
def rig(folder: Path, seed: int) -> Iterator[Rig]:
    rig = Rig(folder, seed)
    try:
        rig.server.start()
        yield rig
    finally:
        rig.close()


class Front:
    """What a proxy does: it sends each request to the next server, and none to one that is taken out."""

    def __init__(self) -> None:
        self._servers: list[Api] = []
        self._busy: Counter[Api] = Counter()
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def ask(self, *request: Any) -> Answer:
        with self._lock:
            server = self._servers[next(self._turns) % len(self._servers)]
            self._busy[server] += 1
        try:
            return server.ask(*request)
        finally:
            with self._lock:
                self._busy[server] -= 1

    def add(self, server: Api) -> None:
        server.wait_until_serving()
        with self._lock:
            self._servers.append(server)

    def take_out(self, server: Api) -> int:
        """Stop a server in order, and return its exit code."""
        with self._lock:
            self._servers.remove(server)
        wait_until(lambda: not self._busy[server])
        server.process.terminate()
        return server.wait()


def start_worker(rig: Rig, release: Release) -> RunWorker:
    worker = rig.start_worker("--concurrency", "4", within=release.within)
    wait_until(lambda: rig.has_shown_itself(worker))
    return worker


def start_api(rig: Rig, release: Release, front: Front) -> Api:
    api = rig.start_api(within=release.within)
    front.add(api)
    return api


def wait_for_submissions(callers: Callers) -> None:
    enough = callers.accepted + SUBMISSIONS
    wait_until(lambda: callers.accepted >= enough)


def run_new_kind(rig: Rig, state: State) -> None:
    """Enqueue a job of the kind that one release knows, and wait for what becomes of it."""
    inspector = Inspector(rig.client)
    [job_id] = rig.enqueue([NewJob.of("faults.new", max_attempts=20)])
    wait_until(lambda: inspector.job(job_id).state is state)


@pytest.mark.timeout(600)
def test_rolling_to_another_release_and_back_loses_no_job_and_fails_no_request(
    rig: Rig, another: Release, soak: bool
) -> None:
    front = Front()
    worker, api = start_worker(rig, THIS), start_api(rig, THIS, front)
    workers = {THIS: [worker], another: []}
    [watched] = rig.enqueue([NewJob.of("faults.work", {"seconds": 0}, delay_seconds=3600)])

    with (
        rig.producing(itertools.repeat(work(0.02))) as [producer],
        rig.calling(lambda: front, CLIENTS, watched) as callers,
    ):
        for release in [another, THIS] * (6 if soak else 1):
            worker, worker_before = start_worker(rig, release), worker
            workers[release].append(worker)
            assert rig.terminate(worker_before) == 0

            api, api_before = start_api(rig, release, front), api
            wait_for_submissions(callers)
            assert front.take_out(api_before) == 0
            run_new_kind(rig, State.SUCCEEDED if release is another else State.RETRYING)
        producer.stop()
    rig.wait_until_idle()

    history, states = rig.assert_sound(), rig.states()
    answers = {call: set(of) for call, of in statuses(callers.answers).items()}
    runs = Counter(execution.worker for execution in history.executions)
    rolls = sum(map(len, workers.values())) - 1
    rig.say(rolls=rolls, submitted=callers.accepted, acknowledged=len(history.acknowledged), lost=0, states=states)
    assert answers == {SUBMIT: {201}, JOB: {200}, QUEUES: {200}, READY: {200}}
    assert set(states) <= {State.SUCCEEDED, State.RETRYING, State.SCHEDULED}
    assert all(runs[worker.pid] for started in workers.values() for worker in started)
    for release, started in workers.items():
        assert {line["version"] for worker in started for line in worker.events} == {release.version}
        assert release.has_its_scripts_on(rig)
