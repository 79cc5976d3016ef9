"""Who takes part: the limits, ours, and the peers, each by the commands that start them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
HERE = (sys.executable, "-m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A queue: `worker` runs its jobs; `producer`, with a function, a number of calls and a pause, submits some.

    `jobs` is what the worker has done in about two seconds, and `calls` are submissions of about one. An idle worker
    is given a job every `pause_seconds`.
    """

    name: str
    producer: tuple[str, ...]
    worker: tuple[str, ...]
    jobs: int
    calls: int
    has_bulk: bool = False
    note: str = ""
    pause_seconds: float = 0.02
    environment: Mapping[str, str] = field(default_factory=dict)


def raw(name: str, keep_seconds: int) -> Contestant:
    """Return the bare loop that keeps finished jobs so long."""
    return Contestant(
        name=name,
        producer=(*HERE, "benchmarks.produce", "benchmarks.raw"),
        worker=(*HERE, "benchmarks.raw", str(keep_seconds)),
        jobs=10_000,
        calls=6_000,
        has_bulk=True,
        note="redis-py, one EVALSHA a job",
    )


def ours(concurrency: int, jobs: int, **environment: str) -> Contestant:
    """Return our worker with so many slots; everything else is as it is without being told."""
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", **environment}
    told = "".join(f", {name}={value}" for name, value in environment.items())
    return Contestant(
        name=f"runworker --concurrency {concurrency}{told}",
        producer=(*HERE, "benchmarks.produce", "benchmarks.ours"),
        worker=(sys.executable, str(PROJECT / "manage.py"), "runworker", "--concurrency", str(concurrency)),
        jobs=jobs,
        calls=4_000,
        has_bulk=True,
        note="results and history kept, a log line a job" if not environment else "",
        environment=settings,
    )


def peer(
    name: str, module: str, *worker: str, jobs: int, calls: int, venv: str = "main", note: str = "", bulk: bool = False
) -> Contestant:
    """Return a peer written in Python; `worker` is a program of its environment and its arguments."""
    programs = PEERS / f".venv-{venv}" / "bin"
    return Contestant(
        name=name,
        producer=(str(programs / "python"), "-m", "benchmarks.produce", f"benchmarks.peers.{module}"),
        worker=(str(programs / worker[0]), *worker[1:]),
        jobs=jobs,
        calls=calls,
        has_bulk=bulk,
        note=note,
    )


def bullmq(concurrency: int, jobs: int) -> Contestant:
    """Return BullMQ with so many jobs at a time."""
    script = str(PEERS / "bullmq.mjs")
    return Contestant(
        name=f"BullMQ (Node), concurrency {concurrency}",
        producer=("node", script),
        worker=("node", script, "work", str(concurrency)),
        jobs=jobs,
        calls=3_000,
        has_bulk=True,
    )


RAW = raw("raw loop", 86_400)
RAW_DELETING = raw("raw loop that deletes what is done", 0)
OURS_1, OURS_16 = ours(1, 8_000), ours(16, 16_000)
OURS_QUIET = (ours(1, 8_000, LOG_LEVEL="WARNING"), ours(16, 16_000, LOG_LEVEL="WARNING"))
CELERY = peer(
    "Celery prefork -c 2", "celery_app",
    "celery", "-A", "benchmarks.peers.celery_app", "worker", "-c", "2", "--loglevel", "warning",
    jobs=1_500, calls=1_000, note="acks late",
)  # fmt: skip
DRAMATIQ = peer(
    "Dramatiq 1 x 8 threads", "dramatiq_app",
    "dramatiq", "benchmarks.peers.dramatiq_app", "--processes", "1", "--threads", "8",
    jobs=4_000, calls=3_000,
)  # fmt: skip
BULLMQ_1, BULLMQ_10 = bullmq(1, 4_000), bullmq(10, 8_000)
RQ_WORKER = ("rq", "worker", "--quiet", "--path", str(PROJECT))
PEER_CONTESTANTS = (
    CELERY,
    DRAMATIQ,
    replace(
        peer("RQ", "rq_app", *RQ_WORKER, jobs=80, calls=1_500, bulk=True, note="a process for each job"),
        pause_seconds=0.1,  # it cannot do more
    ),
    peer(
        "RQ SimpleWorker", "rq_app", *RQ_WORKER, "--worker-class", "rq.SimpleWorker",
        jobs=600, calls=1_500, bulk=True,
    ),
    peer(
        "Huey, 8 threads", "huey_app",
        "huey_consumer", "benchmarks.peers.huey_app.huey", "--workers", "8", "--quiet",
        jobs=4_000, calls=6_000, note="at most once",
    ),
    peer(
        "arq, 10 at a time", "arq_app", "arq", "benchmarks.peers.arq_app.WorkerSettings",
        jobs=1_000, calls=2_500, venv="arq", note="polls every 0.5 s",
    ),
    peer(
        "SAQ, 10 at a time", "saq_app", "saq", "benchmarks.peers.saq_app.settings",
        jobs=2_500, calls=2_500, venv="saq",
    ),
    peer(
        "taskiq, a stream", "taskiq_app", "taskiq", "worker", "--workers", "1", "--log-level", "WARNING",
        "benchmarks.peers.taskiq_app:broker",
        jobs=3_000, calls=2_000,
    ),
    BULLMQ_1,
    BULLMQ_10,
)  # fmt: skip


def missing_peers() -> list[str]:
    """Return the names of the peers that are not installed."""
    programs = {contestant.name: Path(contestant.worker[0]) for contestant in PEER_CONTESTANTS}
    absent = [name for name, program in programs.items() if program.is_absolute() and not program.exists()]
    return absent if (PEERS / "node_modules").is_dir() else [*absent, BULLMQ_1.name, BULLMQ_10.name]
