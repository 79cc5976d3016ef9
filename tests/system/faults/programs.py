"""Programs and libraries of the system that a few fault tests need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped on a person's machine and fails in CI."""
    return shutil.which(name) or missing(name)


def faketime() -> str:
    """Return the path of libfaketime's library for programs with threads; without it as with `program`."""
    name = "faketime/libfaketimeMT.so.1"
    found = [path for pattern in (f"lib*/{name}", f"lib*/*/{name}") for path in Path("/usr").glob(pattern)]
    return str(found[0]) if found else missing("libfaketime")


def missing(name: str) -> NoReturn:
    """Skip the test; in CI, which is to install it, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")
