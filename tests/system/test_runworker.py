"""`manage.py runworker` in real processes: how it lives, how it stops, what it answers to signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from redis import Redis

from queueing import Broker, Inspector, NewJob, State
from tests.system.processes import PROJECT, RunWorker, is_running, wait_until

Start = Callable[..., RunWorker]
ECHO = NewJob.of("echo")
LONG = NewJob.of("sleep", {"seconds": 60})


def counts(inspector: Inspector, queue: str = "default") -> dict[str, int]:
    """Return how many jobs are in each state that has any."""
    return {str(state): count for state, count in inspector.stats(queue).counts.items() if count}


def is_in(inspector: Inspector, job_id: str, state: State) -> Callable[[], bool]:
    return lambda: inspector.job(job_id).state is state


def pids(inspector: Inspector) -> set[int]:
    """Return the process ids of the workers that show signs of life."""
    return {worker.about["pid"] for worker in inspector.stats("default").workers}


# Ways to live


def test_drain_runs_what_is_ready_and_leaves_what_is_scheduled(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [ECHO] * 50)
    broker.enqueue("default", NewJob.of("echo", delay_seconds=3600))

    worker = run_worker("--drain", "--concurrency", "4")

    assert worker.wait() == 0
    assert counts(inspector) == {"succeeded": 50, "scheduled": 1}
    assert [event["outcome"] for event in worker.events if event.get("action") == "attempt"] == ["succeeded"] * 50


def test_drain_serves_several_queues_in_strict_order(run_worker: Start, broker: Broker) -> None:
    broker.enqueue_many("default", [ECHO] * 5)
    broker.enqueue_many("urgent", [ECHO] * 5)

    worker = run_worker("--drain", "--queues", "urgent,default", QUEUES="default,urgent")

    assert worker.wait() == 0
    served = [event["queue"] for event in worker.events if event.get("action") == "attempt"]
    assert served == ["urgent"] * 5 + ["default"] * 5


def test_max_jobs_ends_after_that_many(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many("default", [ECHO] * 10)

    assert run_worker("--max-jobs", "7", "--concurrency", "3").wait() == 0

    assert counts(inspector) == {"succeeded": 7, "ready": 3}


def test_max_seconds_ends_an_idle_worker(run_worker: Start, inspector: Inspector) -> None:
    worker = run_worker("--max-seconds", "1")
    wait_until(lambda: pids(inspector))
    began = time.monotonic()

    assert worker.wait() == 0
    assert time.monotonic() - began < 15  # by itself it never ends


def test_interval_drains_sleeps_and_drains_again(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    """A drain that has not quite ended takes a second job, too: one of ten meets the worker asleep."""
    worker = run_worker("--interval", "1.5")
    waited = []
    for _ in range(10):
        job_id = broker.enqueue("default", ECHO).id
        waited.append(wait_until(is_in(inspector, job_id, State.SUCCEEDED)))
        if len(waited) > 1 and waited[-1] > 0.5:
            break
    worker.terminate()

    assert waited[-1] > 0.5
    assert worker.wait() == 0


# Stopping


def test_term_finishes_what_runs_and_claims_no_more(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    waiting = broker.enqueue("default", ECHO).id
    running = broker.enqueue("default", NewJob.of("sleep", {"seconds": 1})).id
    worker = run_worker()
    wait_until(is_in(inspector, running, State.RUNNING))

    worker.terminate()

    assert worker.wait() == 0
    assert inspector.job(running).state is State.SUCCEEDED
    assert inspector.job(waiting).state is State.READY
    assert pids(inspector) == set()


def test_term_gives_back_uncounted_what_outlasts_the_grace(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue("default", LONG).id
    worker = run_worker("--grace-seconds", "0.5")
    wait_until(is_in(inspector, job_id, State.RUNNING))
    began = time.monotonic()

    worker.terminate()

    assert worker.wait() == 0
    assert 0.4 < time.monotonic() - began < 15  # LONG takes longer
    job = inspector.job(job_id)
    assert (job.state, job.attempt, job.attempts) == (State.READY, 0, ())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_it_at_once_and_gives_back_what_runs(
    run_worker: Start, broker: Broker, inspector: Inspector, number: signal.Signals, code: int
) -> None:
    job_id = broker.enqueue("default", LONG).id
    worker = run_worker("--grace-seconds", "60")
    wait_until(is_in(inspector, job_id, State.RUNNING))
    worker.process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)
    began = time.monotonic()

    worker.process.send_signal(number)

    assert worker.wait() == code
    assert time.monotonic() - began < 20  # of the 60 s of grace
    assert (inspector.job(job_id).state, inspector.job(job_id).attempt) == (State.READY, 0)


def test_a_stop_ends_the_sleep_of_an_interval_worker(run_worker: Start, inspector: Inspector) -> None:
    worker = run_worker("--interval", "3600")
    wait_until(lambda: pids(inspector))

    worker.terminate()

    assert worker.wait(5) == 0


# Several processes


def test_children_share_the_work_and_end_with_it(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    broker.enqueue_many("default", [ECHO] * 100)

    assert run_worker("--processes", "2", "--drain").wait() == 0

    assert counts(inspector) == {"succeeded": 100}


def test_a_killed_child_is_replaced_and_term_stops_all(run_worker: Start, broker: Broker, inspector: Inspector) -> None:
    parent = run_worker("--processes", "2")
    wait_until(lambda: len(pids(inspector)) == 2)
    before = pids(inspector)

    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(pids(inspector) - before) == 1)
    children = pids(inspector) - {min(before)}
    job_id = broker.enqueue("default", NewJob.of("sleep", {"seconds": 1})).id
    wait_until(is_in(inspector, job_id, State.RUNNING))
    parent.terminate()

    assert parent.wait() == 0
    assert inspector.job(job_id).state is State.SUCCEEDED
    assert not any(is_running(child) for child in children)
    assert min(before) not in children


def test_a_second_term_to_the_parent_ends_the_children_at_once(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    broker.enqueue_many("default", [LONG] * 2)
    parent = run_worker("--processes", "2", "--grace-seconds", "60")
    wait_until(lambda: counts(inspector) == {"running": 2})
    wait_until(lambda: len(pids(inspector)) == 2)
    children = pids(inspector)

    parent.terminate()
    time.sleep(0.3)
    parent.terminate()

    assert parent.wait() == 143
    assert counts(inspector) == {"ready": 2}
    assert not any(is_running(child) for child in children)


def test_children_whose_parent_was_killed_finish_what_runs_and_end(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    parent = run_worker("--processes", "2")
    wait_until(lambda: len(pids(inspector)) == 2)
    children = pids(inspector)
    job_id = broker.enqueue("default", NewJob.of("sleep", {"seconds": 2})).id
    wait_until(is_in(inspector, job_id, State.RUNNING))

    parent.kill()
    wait_until(lambda: not any(is_running(child) for child in children))

    assert inspector.job(job_id).state is State.SUCCEEDED
    assert pids(inspector) == set()


# Crashes and cancelling


def test_the_job_of_a_killed_worker_starts_elsewhere_within_its_lease_and_three_seconds(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue("default", LONG).id
    first = run_worker(LEASE_SECONDS=2)
    wait_until(is_in(inspector, job_id, State.RUNNING))
    run_worker(LEASE_SECONDS=2)
    wait_until(lambda: len(pids(inspector)) == 2)

    first.kill()
    took = wait_until(lambda: inspector.job(job_id).attempt == 2)

    print(f"a killed worker's job started elsewhere after {took:.2f} s, its lease was 2 s")  # noqa: T201 - a figure for the reader
    assert took <= 2 + 3
    assert inspector.job(job_id).attempts[0].outcome == "lost"


def test_a_running_job_is_cancelled_from_another_process(
    run_worker: Start, broker: Broker, inspector: Inspector
) -> None:
    job_id = broker.enqueue("default", LONG).id
    worker = run_worker(LEASE_SECONDS=3)
    wait_until(is_in(inspector, job_id, State.RUNNING))

    assert broker.cancel(job_id) is State.RUNNING
    took = wait_until(is_in(inspector, job_id, State.CANCELLED))
    worker.terminate()

    assert took < 15
    assert worker.wait() == 0


# Arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--queues", "defualt"], "--queues: defualt; known queues: default, urgent"),
        (["--queues", "default,nope,urgent"], "--queues: nope; known queues: default, urgent"),
        (["--queues", "default,default"], "a queue named twice; known queues: default, urgent"),
        (["--queues", "default,"], "an empty name; known queues: default, urgent"),
        (["--concurrency", "0"], "0 is not above zero"),
        (["--interval", "nan"], "nan is not above zero"),
        (["--drain", "--interval", "5"], "not allowed with argument"),
        (["--grace-seconds", "soon"], "invalid float value"),
        (["--memory-limit-mb", "plenty"], "invalid int value"),
        (["--memory-limit-mb", "-1"], "--memory-limit-mb: -1 is too little, 1 slots need at least 144"),
        (["--memory-limit-mb", "200", "--concurrency", "8"], "200 is too little, 8 slots need at least 256"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_is_wrong(run_worker: Start, arguments: list[str], named: str) -> None:
    worker = run_worker(*arguments, QUEUES="default,urgent")

    assert worker.wait() == 2
    assert named in worker.output


def test_a_server_that_forgets_jobs_is_refused_with_78(run_worker: Start, valkey: Redis) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        worker = run_worker("--drain")

        assert worker.wait() == 78
        assert "maxmemory-policy" in worker.output
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")


def test_a_queue_that_cannot_be_named_so_is_a_wrong_configuration(run_worker: Start) -> None:
    worker = run_worker("--drain", QUEUES="Not A Queue")

    assert worker.wait() == 78
    assert "Not A Queue" in worker.output


def test_help_tells_the_exit_codes_and_the_signals() -> None:
    answer = subprocess.run(
        [sys.executable, "manage.py", "runworker", "--help"],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test"},
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )

    for line in ("exit codes:", "  0    done", "  2    wrong arguments", "  69", "  78", "  130  INT", "signals:"):
        assert line in answer.stdout
