"""The units of systemd, the line of cron and the rules of the firewall: valid, and at one with each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_containers import are_known
from tests.system.faults.programs import program
from tests.system.processes import PROJECT

SYSTEMD = PROJECT / "deploy" / "systemd"
SERVICES = sorted(SYSTEMD.glob("*.service"))
ENVIRONMENTS = sorted(SYSTEMD.glob("*.env"))
EXPOSURE = 15  # tenths, of 100: a unit without any hardening has 96


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with the units, whose program is one that is there."""
    for path in [*SERVICES, *SYSTEMD.glob("*.timer")]:
        text = path.read_text().replace("/srv/jobapi/.venv/bin/python", "/bin/sh")
        (tmp_path / path.name).write_text(text.replace("/srv/jobapi", "/"))
    return tmp_path


def settings_of(path: Path) -> dict[str, str]:
    """Return the variables of an environment file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_systemd_finds_no_fault_with_the_units(installed: Path) -> None:
    """A key that it does not know is a warning, and no error: nothing at all may be said."""
    units = sorted(installed.iterdir())
    command = [program("systemd-analyze"), "verify", "--man=no", *units]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert len(units) == 5
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_service_is_shut_in(installed: Path, service: Path) -> None:
    command = [program("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager"]

    done = subprocess.run([*command, installed / service.name], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.name)
def test_the_variables_of_an_environment_file_are_known(path: Path) -> None:
    names = set(settings_of(path))

    assert names
    assert are_known(names - {"WORKER_OPTIONS"})


def test_a_stop_has_more_time_than_the_worker_takes() -> None:
    unit = (SYSTEMD / "jobapi-worker@.service").read_text()
    grace, patience = (
        re.findall(r"--grace-seconds (\d+)", unit),
        re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE),
    )

    assert int(patience[0]) >= int(grace[0]) + 10


def test_cron_runs_the_command_of_the_timer() -> None:
    unit = (SYSTEMD / "jobapi-drain.service").read_text()
    [line] = [line for line in (PROJECT / "deploy" / "cron" / "jobapi").read_text().splitlines() if "runworker" in line]
    [started] = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)

    assert started in line
    assert line.split()[5] == "jobapi"
    assert "%" not in line  # cron would end the command there


@pytest.mark.parametrize("path", sorted((PROJECT / "deploy" / "firewall").glob("*.nft")), ids=lambda path: path.name)
def test_nftables_finds_no_fault_with_the_rules(path: Path) -> None:
    done = subprocess.run(
        [program("unshare"), "--map-root-user", "--net", program("nft"), "--check", "--file", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
