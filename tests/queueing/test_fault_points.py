"""Points at which our code fails on purpose."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import queueing
from queueing import fault_points
from queueing.fault_points import EXIT_CODE, POINTS, InjectedFault, WrongFaults, arm, reach

ROOT = Path(queueing.__file__).parent.parent


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def passes(count: int) -> list[bool]:
    """Pass a point many times and return at which of them it raised."""
    raised = []
    for _ in range(count):
        try:
            reach("before_ack")
        except InjectedFault:
            raised.append(True)
        else:
            raised.append(False)
    return raised


def test_a_point_that_is_not_armed_does_nothing() -> None:
    arm("after_ack=raise:1")

    assert not any(passes(100))


def test_an_armed_point_raises_in_the_share_of_its_passes_that_was_asked_for() -> None:
    arm("before_ack=raise:0.3,seed=7")

    assert 200 < sum(passes(1000)) < 400


def test_the_same_seed_fails_at_the_same_passes() -> None:
    arm("before_ack=raise:0.3,seed=7")
    first = passes(100)
    arm("before_ack=raise:0.3,seed=7")

    assert passes(100) == first


def test_exit_ends_the_process_without_a_word() -> None:
    code = "import sys; from queueing.fault_points import *; arm(sys.argv[1]); reach('after_claim'); print('alive')"

    done = subprocess.run(
        [sys.executable, "-c", code, "after_claim=exit:1"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert (done.returncode, done.stdout) == (EXIT_CODE, "")


def test_sleep_holds_the_process_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fault_points.time, "sleep", slept.append)
    arm("before_extend=sleep:1")

    reach("before_extend")

    assert slept == [fault_points.SLEEP_SECONDS]


def test_what_is_armed_is_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    arm("before_ack=raise:0.5")

    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "this process fails on purpose: FAULTS=before_ack=raise:0.5")
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nowhere=raise:1", "there is no point 'nowhere', only after_ack, after_claim"),
        ("before_ack=explode:1", "there is no action 'explode', only exit, raise, sleep"),
        ("before_ack=raise", "'' of before_ack is no number"),
        ("before_ack=raise:often", "'often' of before_ack is no number"),
        ("before_ack=raise:1.5", "1.5 of before_ack does not lie between 0 and 1"),
        ("before_ack=raise:nan", "nan of before_ack does not lie between 0 and 1"),
        ("before_ack", "'before_ack' is not of the form point=action:share"),
        ("before_ack=raise:1,", "'' is not of the form point=action:share"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_armed(text: str, reason: str) -> None:
    with pytest.raises(WrongFaults, match=re.escape(reason)):
        arm(text)

    assert not any(passes(10))


def test_every_point_is_in_our_code_once() -> None:
    folders = (ROOT / name for name in ("jobapi", "queueing", "worker"))
    sources = "".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.py")))

    assert sorted(re.findall(r'\breach\("(\w+)"\)', sources)) == sorted(POINTS)
