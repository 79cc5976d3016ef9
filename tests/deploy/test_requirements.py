"""What is installed: pinned, each file of it known by its hash, from wherever the installer is told to fetch."""

from __future__ import annotations

import re

import pytest

from tests.system.processes import PROJECT

FILES = sorted(PROJECT.glob("requirements*.txt"))


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_every_package_is_pinned_with_its_hashes_and_no_index_is_named(name: str) -> None:
    text = (PROJECT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert lines
    assert [
        line for line in lines if not re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line)
    ] == []
    assert "://" not in "".join(lines)


@pytest.mark.parametrize("name", ["Dockerfile", "Makefile"])
def test_whoever_installs_looks_at_the_hashes(name: str) -> None:
    text = (PROJECT / name).read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if " install " in line and "--requirement" in line]

    assert commands
    assert all("--require-hashes" in command for command in commands)
