"""Fault points: named places in our code at which a test lets the process fail.

`after_claim=exit:0.01,before_ack=raise:0.05,seed=7` ends the process without a word after one claim in a hundred, and
raises InjectedFault before one ack in twenty. In a Django process the environment variable FAULTS holds such a text.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

POINTS = frozenset(
    {
        "after_enqueue",  # of the API: the job is stored, its client was told nothing
        "after_claim",  # the worker has the jobs, none has started
        "before_ack",  # attempts have ended, the queue was told nothing
        "after_ack",  # the queue knows, the log does not
        "before_extend",
        "after_reap",  # between a batch of reaped jobs and the next
        "before_promote",
    }
)
EXIT_CODE = 9
SLEEP_SECONDS = 1.0


class WrongFaults(ValueError):
    """The text names a fault point or an action that there is not, or no share between 0 and 1."""


class InjectedFault(Exception):
    """A fault point raised, as it was told to."""


def _raise(point: str) -> None:
    raise InjectedFault(point)


_ACTIONS: dict[str, Callable[[str], None]] = {
    "exit": lambda _point: os._exit(EXIT_CODE),
    "raise": _raise,
    "sleep": lambda _point: time.sleep(SLEEP_SECONDS),
}

_armed: dict[str, tuple[Callable[[str], None], float]] = {}  # point -> action, in which share of its passes
_random = random.Random()  # noqa: S311 - faults are to be repeatable


def reach(point: str) -> None:
    """Fail here if the point is armed and its turn has come."""
    if _armed and point in _armed:
        act, share = _armed[point]
        if _random.random() < share:
            act(point)


def arm(text: str) -> None:
    """Arm the points that `text` names and no others; raises WrongFaults."""
    given = dict(_pair(item) for item in text.split(",")) if text else {}
    _random.seed(given.pop("seed", None))
    armed = {point: _fault(point, what) for point, what in given.items()}
    _armed.clear()
    _armed.update(armed)
    if _armed:
        logger.warning("this process fails on purpose: FAULTS=%s", text, extra={"action": "faults_armed"})


def _pair(item: str) -> tuple[str, str]:
    name, found, value = item.strip().partition("=")
    if not found:
        raise WrongFaults(f"{item!r} is not of the form point=action:share")
    return name, value


def _fault(point: str, what: str) -> tuple[Callable[[str], None], float]:
    action, _, share = what.partition(":")
    if point not in POINTS:
        raise WrongFaults(f"there is no point {point!r}, only {', '.join(sorted(POINTS))}")
    if action not in _ACTIONS:
        raise WrongFaults(f"there is no action {action!r}, only {', '.join(_ACTIONS)}")
    try:
        wanted = float(share)
    except ValueError:
        raise WrongFaults(f"{share!r} of {point} is no number") from None
    if not 0 <= wanted <= 1:
        raise WrongFaults(f"{share} of {point} does not lie between 0 and 1")
    return _ACTIONS[action], wanted
