"""A backup while jobs come and go, the loss of the server, and a restore into a new one that keeps a journal."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from queueing import State, connect
from queueing.audit import audit_queue
from queueing.embedded import EmbeddedServer
from queueing.jobs import FINISHED_STATES
from tests.system.faults.rig import KEYS, QUEUE, Rig, work
from tests.system.processes import PROJECT, wait_until

COMMAND_SECONDS = 60.0


def manage(rig: Rig, url: str, *arguments: str) -> str:
    """Run a command of ours on a server and return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, **rig._variables({"REDIS_URL": url})},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states_on(client: Redis) -> dict[str, State]:
    """Return the state of every job of the queue."""
    prefix = len(KEYS.job_prefix)
    ids = [key[prefix:].decode() for key in client.scan_iter(match=KEYS.job_prefix + "*", count=1000)]
    return {job_id: State((client.hget(KEYS.job(job_id), "s") or b"").decode()) for job_id in ids}


@pytest.mark.timeout(300)
def test_every_job_accepted_before_a_backup_is_there_again_and_runs(rig: Rig, folder: Path, soak: bool) -> None:
    rig.client.config_set("repl-diskless-sync-delay", 0)
    archive = folder / "jobs.tar"
    workers = rig.start_workers(2, "--concurrency", "4")
    with rig.producing(*(itertools.repeat(work(0.03)) for _ in range(4))) as producers:
        wait_until(lambda: len(rig.history().acknowledged) > (5000 if soak else 150))
        before = rig.history().acknowledged
        manage(rig, rig.server.url, "backup", str(archive))
        meanwhile = rig.history().acknowledged - before
        for producer in producers:
            producer.stop()
    rig.server.kill()
    for worker in workers:
        rig.kill(worker)

    with EmbeddedServer(folder / "new") as server, closing(connect(server.url)) as client:
        manage(rig, server.url, "restore", str(archive))
        restored = states_on(client)
        server.kill()
        server.start()
        after_crash = states_on(client)
        faults = list(audit_queue(client, QUEUE))
        drainer = rig.start_worker("--concurrency", "4", REDIS_URL=server.url)
        wait_until(lambda: all(state in FINISHED_STATES for state in states_on(client).values()))
        ended = states_on(client)
        rig.terminate(drainer)

    done = {job_id for job_id, state in restored.items() if state is State.SUCCEEDED}
    ran = {execution.job for execution in rig.history().executions if execution.worker == drainer.pid}
    assert meanwhile
    assert before - restored.keys() == set()
    assert after_crash == restored
    assert faults == []
    assert set(ended.values()) == {State.SUCCEEDED}
    assert ran == restored.keys() - done != set()
    rig.say(jobs=dict(Counter(map(str, restored.values()))), accepted_before=len(before), meanwhile=len(meanwhile))
