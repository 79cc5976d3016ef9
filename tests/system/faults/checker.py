"""The verdict on a run: what was lost, ran twice, or ran at the same time under two live leases."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from tests.system.faults import ledger


@dataclass(slots=True)
class Execution:
    """One run of a handler. `deadline` is when its worker would no longer have reported it."""

    job: str
    pid: int
    worker: int  # the process that claimed it, and with which the one that runs it ends
    attempt: int
    fence: int
    started_at: float
    deadline: float
    ended_at: float = math.inf
    is_complete: bool = False

    @property
    def live_until(self) -> float:
        """When it no longer ran, or no longer under a lease."""
        return min(self.ended_at, self.deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What went wrong: all of these are empty after a run without a fault of ours."""

    lost: set[str]  # acknowledged, but neither executed nor still stored
    unexpected: set[str]  # executed, but never submitted
    overlapping: list[tuple[Execution, Execution]]  # two runs of a job under leases that were live at once
    disordered: list[tuple[Execution, Execution]]  # a later run of a job whose fence is not higher

    def __bool__(self) -> bool:
        """Tell whether anything went wrong."""
        return bool(self.lost or self.unexpected or self.overlapping or self.disordered)


class History:
    """All ledgers of a run, put together."""

    def __init__(self, folder: Path) -> None:
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.deaths: dict[int, float] = {}
        self._by_fence: dict[tuple[str, int], Execution] = {}
        for name, line in ledger.Reader(folder).new_lines():
            self._note(name, line)
        for execution in self.executions:
            if execution.ended_at == math.inf:
                execution.ended_at = min(self.deaths.get(one, math.inf) for one in (execution.pid, execution.worker))

    def _note(self, name: str, line: ledger.Line) -> None:
        match line["event"]:
            case ledger.ATTEMPTED:
                self.attempted.add(line["job"])
            case ledger.ACKNOWLEDGED:
                self.acknowledged.add(line["job"])
            case ledger.DIED:
                self.deaths[line["pid"]] = line["at"]
            case ledger.STARTED:
                self._note_start(name, line)
            case ending:
                self._note_end(self._by_fence[name, line["fence"]], line, is_complete=ending == ledger.ENDED)

    def _note_start(self, name: str, line: ledger.Line) -> None:
        """Keep a start. Its lease goes on being extended: until it ends it has no deadline."""
        assert (name, line["fence"]) not in self._by_fence, "a claim was executed twice in one process"
        self._by_fence[name, line["fence"]] = Execution(
            job=line["job"],
            pid=line["pid"],
            worker=line["worker"],
            attempt=line["attempt"],
            fence=line["fence"],
            started_at=line["at"],
            deadline=math.inf,
        )

    @staticmethod
    def _note_end(execution: Execution, line: ledger.Line, *, is_complete: bool) -> None:
        execution.ended_at, execution.deadline = line["at"], line["deadline"]
        execution.is_complete = is_complete

    @cached_property
    def executions(self) -> list[Execution]:
        return list(self._by_fence.values())

    @cached_property
    def completed(self) -> Counter[str]:
        """Return how often each job was executed to its end."""
        return Counter(execution.job for execution in self.executions if execution.is_complete)

    @cached_property
    def by_job(self) -> dict[str, list[Execution]]:
        """Return the runs of each job in the order of their starts."""
        runs: dict[str, list[Execution]] = defaultdict(list)
        for execution in sorted(self.executions, key=lambda one: one.started_at):
            runs[execution.job].append(execution)
        return runs

    def verdict(self, stored: Collection[str]) -> Verdict:
        """Judge the run; `stored` are the ids of the jobs that the server still has, in whatever state."""
        successive = [pair for runs in self.by_job.values() for pair in pairwise(runs)]
        return Verdict(
            lost=self.acknowledged - set(self.completed) - set(stored),
            unexpected={execution.job for execution in self.executions} - self.attempted,
            overlapping=[(one, two) for one, two in successive if two.started_at < one.live_until],
            disordered=[(one, two) for one, two in successive if two.fence <= one.fence],
        )

    def cut_short_by(self, pid: int) -> list[Execution]:
        """Return the runs that the death of a process ended, those in processes of its own included."""
        at = self.deaths[pid]
        return [one for one in self.executions if pid in (one.pid, one.worker) and one.ended_at == at]

    def seconds_to_next_start(self, execution: Execution) -> float:
        """Return how long after the end of a run the job was started again; infinity if it never was."""
        after = self.next_start(execution)
        return math.inf if after is None else after.started_at - execution.ended_at

    def next_start(self, execution: Execution) -> Execution | None:
        """Return the run of the same job that came next."""
        later = [one for one in self.by_job[execution.job] if one.fence > execution.fence]
        return min(later, key=lambda one: one.started_at, default=None)
