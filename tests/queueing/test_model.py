"""Real servers against the executable specification, driven by hypothesis; compared whole after each step.

A long run: `SOAK=1 pytest -s tests/queueing/test_model.py`. `LIFO_STEPS` sets the number of steps, `SEED` repeats one.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from queueing import JobNotFound, connect
from tests.queueing.machine import QueueMachine
from tests.queueing.model import Model
from tests.queueing.servers import KINDS, PrivateServer, version_of
from tests.queueing.world import POLICY, SETTINGS, TIMEOUT_SECONDS, result_of

IS_LONG = os.environ.get("SOAK", "") not in ("", "0")
STEPS = int(os.environ.get("LIFO_STEPS") or (10_000 if IS_LONG else 2_000))
STEPS_PER_EXAMPLE = 50


def walk(server: PrivateServer, seed_number: int) -> Counter[str]:
    """Take random steps, STEPS at least, and return what happened; an example ends early when it drew a lot."""
    figures = Counter[str]()
    with closing(connect(server.url, socket_timeout_seconds=TIMEOUT_SECONDS)) as admin:
        while (left := STEPS - figures["steps"]) > 0:
            run_state_machine_as_test(
                seed(seed_number + figures["steps"])(lambda: QueueMachine(server, admin, figures)),
                settings=settings(
                    max_examples=left // STEPS_PER_EXAMPLE + 1,
                    stateful_step_count=STEPS_PER_EXAMPLE,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    return figures


@pytest.mark.timeout(120 + STEPS // 10)
@pytest.mark.parametrize("kind", KINDS)
def test_the_server_does_what_the_model_says_step_by_step(kind: str, tmp_path: Path) -> None:
    seed_number = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"seed {seed_number}")  # noqa: T201 - for the reader

    with PrivateServer(kind, tmp_path, *SETTINGS) as server, closing(connect(server.url)) as client:
        version = version_of(client)
        figures = walk(server, seed_number)

    text = ", ".join(f"{name} {number}" for name, number in sorted(figures.items()))
    print(f"{kind} ({version}): seed {seed_number}, {text}, violations 0")  # noqa: T201 - figures for the reader


def test_the_model_knows_no_job_it_was_not_given() -> None:
    model = Model(POLICY)

    answer = result_of(lambda: model.cancel(0, "model_" + "0" * 32))

    assert answer[0] is JobNotFound
