"""Clients generated from the contract, compiled, and run against the served API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.system.http.conftest import NODE_TOOLS, Node
from tests.system.http.server import ApiServer

HERE = Path(__file__).parent
CONTRACT = settings.BASE_DIR / "openapi.yaml"
SEEN = {"submitted": "ready", "inspected": True, "listed": [True], "cancelled": "cancelled", "refused": "invalid"}

pytestmark = pytest.mark.timeout(180)


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_python_client_submits_inspects_lists_and_cancels(api: ApiServer, tmp_path: Path) -> None:
    package = tmp_path / "job_api_client"
    generate = ["-m", "openapi_python_client", "generate", "--path", CONTRACT, "--output-path", package]
    options = ["--meta", "none", "--fail-on-warning", "--config", HERE / "python_client.yaml"]
    run(*generate, *options, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run("-m", "compileall", "-q", package)

    seen: dict[str, Any] = json.loads(run(HERE / "python_client.py", api.url, PYTHONPATH=str(tmp_path)))

    assert seen == SEEN


def test_a_typescript_client_submits_inspects_lists_and_cancels(api: ApiServer, node: Node, tmp_path: Path) -> None:
    modules = NODE_TOOLS / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    for name in ("client.ts", "package.json", "tsconfig.json"):
        shutil.copy(NODE_TOOLS / name, tmp_path)
    options = ["--default-non-nullable", "false", "--output", tmp_path / "contract.d.ts"]
    node(modules / "openapi-typescript" / "bin" / "cli.js", CONTRACT, *options)
    node(modules / "typescript" / "bin" / "tsc", "--project", tmp_path)

    seen: dict[str, Any] = json.loads(node(tmp_path / "built" / "client.js", api.url))

    assert seen == SEEN
