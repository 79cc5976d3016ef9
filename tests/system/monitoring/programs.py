"""A real Prometheus, and promtool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from urllib.request import urlopen

from tests.queueing.servers import free_ports
from tests.system.faults.programs import program
from tests.system.processes import PROJECT, wait_until

DEPLOY = PROJECT / "deploy" / "prometheus"


def promtool(*arguments: object, text: str = "") -> str:
    """Run promtool in deploy/prometheus, and return what it says; fail unless it finds everything right."""
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=DEPLOY, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A server with the configuration of deploy/, that scrapes these targets of each job every second."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[int]]) -> None:
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self._config = folder / "prometheus.yml"
        self._config.write_text(configuration(targets))
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        try:
            wait_until(self._is_ready)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Return the value of each series by the values of its labels, in the order of their names."""
        with urlopen(f"{self.url}/api/v1/query?query={quote(expression)}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return {
            tuple(value for name, value in sorted(series["metric"].items()) if name != "__name__"): float(
                series["value"][1]
            )
            for series in found
        }

    def value(self, expression: str) -> float | None:
        """Return the one value of an expression, None when there is none."""
        found = list(self.query(expression).values())
        assert len(found) <= 1, found
        return found[0] if found else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def configuration(targets: Mapping[str, Sequence[int]]) -> str:
    """Return the configuration of deploy/ with other targets, and without its patience."""
    text = (DEPLOY / "prometheus.yml").read_text().replace("15s", "1s").replace("rules.yml", str(DEPLOY / "rules.yml"))
    for job, example in {"jobapi-api": "127.0.0.1:8000", "jobapi-worker": "127.0.0.1:9101"}.items():
        addresses = ", ".join(f"127.0.0.1:{port}" for port in targets[job])
        assert text.count(f"[{example}]") == 1
        text = text.replace(f"[{example}]", f"[{addresses}]")
    return text
