"""Where contestants meet: one database server, and what their processes leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import server
from benchmarks.contestants import PROJECT, Contestant
from benchmarks.marks import Tally, stamps
from benchmarks.server import BenchServer

STOP_SECONDS = 15.0
PATIENCE_SECONDS = 120.0  # for a worker to start, or to come to the end
CALM_SECONDS = 1.0  # after a start, until what it has to tidy up is done
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Arena:
    """Runs workers and producers against `server`."""

    def __init__(self, bench_server: BenchServer) -> None:
        self.server = bench_server
        self.folder = bench_server.folder
        self.tally = Tally.make(self.folder / "tally")
        self._stamps = self.folder / "stamps"

    def environment(self, of: Contestant) -> dict[str, str]:
        """Return the environment of a contestant's processes."""
        return {
            **os.environ,
            "REDIS_URL": self.server.url,
            "PYTHONPATH": str(PROJECT),
            "VAR_DIR": str(self.folder),
            "BENCH_TALLY": str(self.folder / "tally"),
            "BENCH_STAMPS": str(self._stamps),
            **of.environment,
        }

    def fresh(self) -> None:
        """Begin anew: an empty database, no job counted, no time noted."""
        self.server.empty()
        self.tally = Tally.make(self.folder / "tally")
        self._stamps.unlink(missing_ok=True)

    def produce(self, of: Contestant, function: str, calls: int, pause_seconds: float = 0.0) -> dict[str, float]:
        """Submit jobs and return what that took (`benchmarks.produce`)."""
        command = [*of.producer, function, str(calls), str(pause_seconds)]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment(of), stdout=subprocess.PIPE, check=True, timeout=300
        )
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures

    def fill(self, of: Contestant, jobs: int) -> int:
        """Store so many no-op jobs, or some more, and return how many."""
        calls = -(-jobs // 100) if of.has_bulk else jobs
        self.produce(of, "send_hundred" if of.has_bulk else "send_noop", calls)
        return calls * 100 if of.has_bulk else calls

    @contextmanager
    def worker(self, of: Contestant) -> Iterator[ProcessTree]:
        """Run a contestant's worker, its output in a file, as a service manager would keep it."""
        with (self.folder / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                of.worker, cwd=PROJECT, env=self.environment(of), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield ProcessTree(process.pid)
        finally:
            end(process)

    def stamps(self) -> list[float]:
        """Return how many seconds each job has waited."""
        return stamps(self._stamps)

    def forget_stamps(self) -> None:
        """Forget the times noted so far."""
        os.truncate(self._stamps, 0)

    def wait(self, reached: Callable[[], bool], pause_seconds: float = 0.005) -> None:
        """Wait until something is reached; raise RuntimeError, with the worker's last words, when it takes too long."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"not reached; the worker's log ends:\n{self._log_tail()}")
            time.sleep(pause_seconds)

    def _log_tail(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")[-2_000:]


@contextmanager
def arena() -> Iterator[Arena]:
    """Start a server and give the arena around it."""
    with server.running() as bench_server:
        yield Arena(bench_server)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, and then whatever is left of its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class ProcessTree:
    """A process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        """Return the processes that are there now, the first one first."""
        found, at = [self.pid], 0
        while at < len(found):
            found += _children(found[at])
            at += 1
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU time that they, and children of theirs that ended, have taken."""
        return sum(sum(_stat(pid)[11:15]) for pid in self.pids()) / TICKS_A_SECOND

    def memory_mib(self) -> list[tuple[float, float]]:
        """Return of each process its resident set and its proportional set, in which shared memory is shared out."""
        found = (_rollup(pid) for pid in self.pids())
        return [(rollup["Rss"] / 1024, rollup["Pss"] / 1024) for rollup in found if rollup]


def _rollup(pid: int) -> dict[str, int]:
    """Return the memory of a process in KiB by kind; nothing of one that has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _stat(pid: int) -> list[int]:
    """Return the fields of /proc/PID/stat after the state, zeros for a process that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return [0] * 15
    return [0, *(int(field) for field in fields[1:15])]
