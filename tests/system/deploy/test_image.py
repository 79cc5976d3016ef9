"""The image without Docker: the same steps in a clean folder, run by its user, who cannot change what is in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from fnmatch import fnmatch
from pathlib import Path

import pytest
from redis import Redis

from queueing import Broker, NewJob
from tests.queueing.servers import free_ports
from tests.system.deploy.conftest import Database
from tests.system.faults.programs import missing
from tests.system.processes import PROJECT, WAIT_SECONDS, wait_until

DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
USER = "10001"
BECOME = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="only root can become the image's user"),
]


class Image:
    """A folder that stands for the root of the image; `state` is the only part that its user may write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "var/lib/jobapi"
        self._log = (root / "log").open("wb")
        for folder in ("build", "opt", "srv/jobapi"):
            (root / folder).mkdir(parents=True)
        shutil.copy(PROJECT / "requirements.txt", root / "build")
        self._copy_context()
        for step in instructions("RUN"):
            if "pip uninstall" not in step:  # there is no Python of the image's own here to take it out of
                self._run_step(step)
        subprocess.run(["install", "--directory", "--mode=0700", f"--owner={USER}", self.state], check=True)

    def _copy_context(self) -> None:
        """Copy what .dockerignore lets through."""
        lines = (PROJECT / ".dockerignore").read_text().splitlines()
        wanted = [line[1:] for line in lines if line.startswith("!")]
        unwanted = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
        for name in wanted:
            source, target = PROJECT / name, self.root / "srv/jobapi" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(*unwanted))
            else:
                shutil.copy(source, target)
        assert lines[0] == "*"
        assert not [
            path for path in (self.root / "srv").rglob("*") if any(fnmatch(path.name, name) for name in unwanted)
        ]

    def _run_step(self, step: str) -> None:
        folder = self.root / ("build" if "requirements.txt" in step or "venv" in step else "srv/jobapi")
        subprocess.run(self.here(step), shell=True, cwd=folder, check=True, timeout=200, stdout=subprocess.DEVNULL)

    def here(self, text: str) -> str:
        """Return a text of the Dockerfile with paths of this machine."""
        text = re.sub(r"/(opt/venv|srv/jobapi|var/lib/jobapi)\b", rf"{self.root}/\1", text)
        text = re.sub(r"^python -m venv ", f"{public_python()} -m venv ", text)
        return re.sub(r"^python ", f"{sys.executable} ", text)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables that the image sets, and more."""
        [line] = [line for line in instructions("ENV") if "VAR_DIR" in line]
        found = dict(word.split("=", 1) for word in line.replace("${VERSION}", "0.1.0").split())
        path = f"{self.root}/opt/venv/bin:/usr/bin:/bin"
        return {**{name: self.here(value) for name, value in found.items()}, "PATH": path, **more}

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a container: its entry point, by its user, with no way to more rights."""
        entry = json.loads(instructions("ENTRYPOINT")[0])
        return self._spawn([*entry, *(arguments or json.loads(instructions("CMD")[-1]))], **more)

    def probe(self, **more: str) -> int:
        """Ask what the image's HEALTHCHECK asks; return its exit code."""
        text = re.search(r"HEALTHCHECK .*? CMD (\[.*\])", DOCKERFILE)
        assert text
        return self._spawn(json.loads(text[1]), **more).wait(WAIT_SECONDS)

    def close(self) -> None:
        self._log.close()

    def secret(self, path: Path) -> str:
        """Mount a secret, and return where."""
        folder = self.root / "run/secrets"
        folder.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(path, folder))

    def write_by_user(self, path: Path) -> bool:
        """Whether the image's user can make a file."""
        return self._spawn(["touch", str(path)]).wait(WAIT_SECONDS) == 0

    def _spawn(self, command: list[str], **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*BECOME, *command],
            cwd=self.root / "srv/jobapi",
            env=self.environment(**more),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def public_python() -> str:
    """Return a Python of this version that every user may run."""
    paths = (f"/usr/bin/python3.{sys.version_info.minor}", os.path.realpath(sys.executable))
    found = (path for path in paths if Path(path).exists() and runs_for_all(path))
    return next(found, None) or missing("a Python that every user may run")


def runs_for_all(python: str) -> bool:
    """Whether the image's user may run a Python."""
    return subprocess.run([*BECOME, python, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, each time."""
    return [line.split(maxsplit=1)[1] for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


@pytest.fixture
def image() -> Iterator[Image]:
    """Build the image, where its user can get at it."""
    root = Path(tempfile.mkdtemp(prefix="jobapi-image-"))
    root.chmod(0o755)
    try:
        with closing(Image(root)) as image:
            yield image
    finally:
        shutil.rmtree(root)


@pytest.fixture
def admin(database: Database) -> Iterator[Redis]:
    with closing(database.connect("admin")) as client:
        yield client


def test_it_serves_and_works_and_stops_when_told_and_can_change_nothing_but_its_state(
    image: Image, database: Database, admin: Redis
) -> None:
    """All of it in one test: the image is built once."""
    packages = image.root / f"opt/venv/lib/python3.{sys.version_info.minor}/site-packages"
    fixed = [image.root, image.root / "srv/jobapi", image.root / "srv/jobapi/settings", packages]
    Broker(admin).enqueue("default", NewJob.of("echo"))
    port = str(free_ports(1)[0])
    api = {"PORT": port, "AUTH_MODE": "none", "REDIS_URL_FILE": image.secret(database.secrets / "redis_url_api")}

    serving = image.start(**api)
    working = image.start("runworker", REDIS_URL_FILE=image.secret(database.secrets / "redis_url_worker"))
    try:
        wait_until(lambda: image.probe(PORT=port) == 0)
        wait_until(lambda: admin.zcard("jobs:{default}:succeeded") == 1)
    finally:
        for process in (serving, working):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(WAIT_SECONDS)
            process.kill()

    assert (serving.returncode, working.returncode) == (0, 0)
    assert image.probe(PORT=port) != 0
    assert not any(image.write_by_user(folder / "new") for folder in fixed)
    assert image.write_by_user(image.state / "new")
    assert (packages / "django").is_dir()
    assert not any((packages / name).exists() for name in ("pip", "setuptools", "pytest", "mypy"))
    assert not (image.root / "srv/jobapi/tests").exists()
