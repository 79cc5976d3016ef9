"""Several worker processes under one parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.worker.rig import WAIT_SECONDS
from worker import supervisor as module
from worker.runner import EXIT_UNAVAILABLE
from worker.signals import StopRequest
from worker.supervisor import (
    EXIT_CONFIGURATION,
    PARENT_VARIABLE,
    Supervisor,
    child_command,
    is_child,
    parent_is_alive,
)
from worker.watchdog import EXIT_STUCK

# A child that appends what happens to it to a file, ends in order at the first TERM and at once at the second.
CHILD = """
import os, signal, sys
log = open(sys.argv[1], "a", buffering=1)
def note(number, frame):
    log.write(f"{os.getpid()} {signal.Signals(number).name}\\n")
    terms.append(number)
    if len(terms) == 2: os._exit(128 + number)
    if sys.argv[2] != "stubborn": os._exit(0)
terms = []
signal.signal(signal.SIGTERM, note)
signal.signal(signal.SIGINT, note)
log.write(f"{os.getpid()} started {os.environ['RUNWORKER_PARENT']} {os.environ['RUNWORKER_CRASHED']}\\n")
if sys.argv[2].isdigit(): os._exit(int(sys.argv[2]))
while True: signal.pause()
"""


class Family:
    """A supervisor whose steps the test takes, and what its children wrote down."""

    def __init__(self, log: Path, what: str, count: int) -> None:
        self.log = log
        self.log.touch()
        self.stop = StopRequest()
        self.supervisor = Supervisor([sys.executable, "-c", CHILD, str(log), what], count, self.stop)

    @property
    def lines(self) -> list[tuple[int, str]]:
        """Return process id and event of each line so far."""
        rows = (line.split() for line in self.log.read_text().splitlines())
        return [(int(row[0]), row[1]) for row in rows]

    def events(self, event: str) -> list[int]:
        return [pid for pid, seen in self.lines if seen == event]

    def step_until(self, reached: Callable[[], bool]) -> None:
        """Take steps until something is reached."""
        ends_at = time.monotonic() + WAIT_SECONDS
        while not reached():
            assert time.monotonic() < ends_at, self.lines
            self.supervisor.run_once()

    @property
    def exit_codes(self) -> list[int | None]:
        return [child.exit_code for child in self.supervisor._children]

    def is_over(self) -> bool:
        return None not in self.exit_codes


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    families: list[Family] = []

    def build(what: str = "obedient", count: int = 2) -> Family:
        families.append(Family(tmp_path / f"log{len(families)}", what, count))
        return families[-1]

    yield build
    for family in families:
        for child in family.supervisor._children:
            if child.process is not None:
                child.process.kill()
                child.process.wait(WAIT_SECONDS)


def test_all_children_are_started_and_know_their_parent(make: Callable[..., Family]) -> None:
    family = make()

    family.step_until(lambda: len(family.events("started")) == 2)

    assert f"started {os.getpid()}" in family.log.read_text()


def test_a_child_that_dies_is_replaced(make: Callable[..., Family], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RESTART_SECONDS", 0.01)
    family = make(count=2)
    family.step_until(lambda: len(family.events("started")) == 2)

    os.kill(family.events("started")[0], signal.SIGKILL)
    family.step_until(lambda: len(family.events("started")) == 3)

    assert len(set(family.events("started"))) == 3
    assert family.exit_codes == [None, None]


@pytest.mark.parametrize(("code", "crashed"), [(1, "1"), (70, "0")], ids=["died", "was stuck"])
def test_a_child_knows_whether_it_takes_the_place_of_one_that_died(
    make: Callable[..., Family], monkeypatch: pytest.MonkeyPatch, code: int, crashed: str
) -> None:
    """It is careful then: what that one held may be poison."""
    monkeypatch.setattr(module, "FIRST_RESTART_SECONDS", 0.01)
    family = make(str(code), count=1)

    family.step_until(lambda: len(family.events("started")) == 2)

    flags = [line.split()[-1] for line in family.log.read_text().splitlines() if " started " in line]
    assert flags == ["0", crashed]


def test_the_wait_before_a_replacement_doubles_up_to_half_a_minute(make: Callable[..., Family]) -> None:
    family = make(count=1)
    (child,) = family.supervisor._children
    child.started_at = time.monotonic()
    waits = []

    for _ in range(8):
        family.supervisor._decide(child, 1)
        waits.append(child.start_at - time.monotonic())

    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30], abs=0.4)


def test_a_child_that_lived_long_is_replaced_soon(make: Callable[..., Family]) -> None:
    family = make(count=1)
    (child,) = family.supervisor._children
    child.restarts = 7
    child.started_at = time.monotonic() - 61

    family.supervisor._decide(child, 1)

    assert child.start_at - time.monotonic() < 1.5


def test_a_child_that_was_stuck_is_replaced_soon_each_time(make: Callable[..., Family]) -> None:
    family = make(count=1)
    (child,) = family.supervisor._children
    child.restarts = 7
    child.started_at = time.monotonic()

    for _ in range(3):
        family.supervisor._decide(child, EXIT_STUCK)
        assert child.start_at - time.monotonic() < 1


def test_a_drain_that_could_not_reach_the_database_is_not_replaced(make: Callable[..., Family]) -> None:
    family = make(str(EXIT_UNAVAILABLE), count=2)

    assert family.supervisor.run() == EXIT_UNAVAILABLE == 69
    assert len(family.events("started")) == 2


def test_a_child_that_is_done_is_not_replaced(make: Callable[..., Family]) -> None:
    family = make("0", count=2)

    family.step_until(family.is_over)

    assert family.supervisor.run() == 0
    assert len(family.events("started")) == 2


def test_a_child_that_says_its_configuration_is_wrong_is_not_replaced_and_ends_all(
    make: Callable[..., Family],
) -> None:
    family = make(str(EXIT_CONFIGURATION), count=2)

    assert family.supervisor.run() == EXIT_CONFIGURATION == 78
    assert len(family.events("started")) <= 2


def test_a_stop_is_passed_on_once(make: Callable[..., Family]) -> None:
    family = make("stubborn", count=2)
    family.step_until(lambda: len(family.events("started")) == 2)

    family.stop.request()
    family.step_until(lambda: len(family.events("SIGTERM")) == 2)
    for _ in range(20):
        family.supervisor.run_once()

    assert len(family.events("SIGTERM")) == 2
    assert family.exit_codes == [None, None]


def test_children_that_end_in_order_make_an_orderly_end(make: Callable[..., Family]) -> None:
    family = make()
    family.step_until(lambda: len(family.events("started")) == 2)

    family.stop.request()

    assert family.supervisor.run() == 0
    assert len(family.events("started")) == 2


def test_a_second_stop_is_passed_on_also_when_it_came_together_with_the_first(make: Callable[..., Family]) -> None:
    family = make("stubborn", count=2)
    family.step_until(lambda: len(family.events("started")) == 2)

    family.stop.request()
    family.stop.request()

    assert family.supervisor.run() == 128 + signal.SIGTERM


def test_the_signal_that_came_is_the_one_passed_on(make: Callable[..., Family]) -> None:
    """A child's exit code names the signal that ended it."""
    family = make("stubborn", count=1)
    family.step_until(lambda: len(family.events("started")) == 1)
    family.stop.signal_number = signal.SIGINT

    family.stop.request()
    family.stop.request()

    assert family.supervisor.run() == 128 + signal.SIGINT


def test_a_child_stopped_before_it_could_listen_was_stopped_in_order(make: Callable[..., Family]) -> None:
    """It had claimed nothing yet: Python needs a moment to start."""
    family = make(count=1)
    family.supervisor.run_once()
    family.stop.request()

    assert family.supervisor.run() == 0


def test_a_stop_before_the_children_start_starts_none(make: Callable[..., Family]) -> None:
    family = make()
    family.stop.request()

    assert family.supervisor.run() == 0
    assert family.lines == []


def test_a_child_is_started_like_its_parent_with_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", "runworker", "--processes", "2"])

    assert child_command(["runworker", "--drain"]) == [sys.executable, "manage.py", "runworker", "--drain"]


def test_a_process_without_supervisor_is_not_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)

    assert parent_is_alive()
    assert not is_child()


@pytest.mark.parametrize(("parent", "alive"), [(os.getpid(), True), (1, False)], ids=["its own", "another"])
def test_a_child_is_left_alone_when_its_parent_is_another_process(parent: int, alive: bool) -> None:
    code = "from worker.supervisor import parent_is_alive; print(parent_is_alive())"

    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, PARENT_VARIABLE: str(parent)},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )

    assert answer.stdout.strip() == str(alive)
