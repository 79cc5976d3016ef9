"""Four processes write LOG_FILE while a real logrotate moves it away all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.system.faults.programs import program
from tests.system.logging.conftest import DEPLOY
from tests.system.processes import PROJECT, wait_until

WRITERS, LINES = 4, 3000


def configuration(folder: Path) -> str:
    """Return what is shipped, for files of ours in `folder`; nothing is deleted, nor compressed the moment after."""
    text = (DEPLOY / "logrotate" / "jobapi").read_text().replace("/var/log/jobapi", str(folder))
    for old, new in {
        "    su jobapi jobapi\n": "",
        "rotate 14": "rotate 1000",
        "    compress\n    delaycompress\n": "",
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_four_processes_lose_no_line_under_constant_rotation(tmp_path: Path) -> None:
    rotate = [program("logrotate"), "--force", "--state", str(tmp_path / "state"), str(tmp_path / "logrotate.conf")]
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o750)
    (tmp_path / "logrotate.conf").write_text(configuration(folder))
    (tmp_path / "logrotate.conf").chmod(0o644)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings.test", "LOG_FILE": str(folder / "api.log")}

    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.system.logging.writer", f"writer{number}", str(LINES)],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for number in range(WRITERS)
    ]
    wait_until(lambda: any(folder.iterdir()))
    rotations = 0
    while any(writer.poll() is None for writer in writers):
        rotations += subprocess.run(rotate, capture_output=True, timeout=20, check=False).returncode == 0

    files = list(folder.iterdir())
    found = [json.loads(line)["action"] for file in files for line in file.read_text().splitlines()]
    print(f"{len(found)} lines in {len(files)} files, {rotations} rotations")  # noqa: T201 - figures for the reader
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    assert len([file for file in files if file.stat().st_size]) > 3
    assert sorted(found) == sorted(f"writer{n}-{number}" for n in range(WRITERS) for number in range(LINES))
