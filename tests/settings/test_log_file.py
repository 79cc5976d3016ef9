from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings.log_handlers import FileHandler, StdoutHandler
from settings.log_lines import LineFormatter

FULL_DISK = Path("/dev/full")


def record(message: str = "hello") -> logging.LogRecord:
    return logging.LogRecord("a.logger", logging.INFO, "", 0, message, None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "api.log"


@pytest.fixture
def handler(path: Path) -> Iterator[FileHandler]:
    """Give a handler whose folder is there."""
    path.parent.mkdir()
    made = FileHandler(str(path))
    made.setFormatter(LineFormatter())
    yield made
    made.close()


def messages(path: Path) -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def test_the_file_is_for_owner_and_group_alone(handler: FileHandler, path: Path) -> None:
    handler.handle(record())

    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    assert messages(path) == ["hello"]


def test_after_a_rename_lines_go_to_a_new_file(handler: FileHandler, path: Path) -> None:
    handler.handle(record("before"))
    path.rename(path.with_suffix(".1"))
    handler.handle(record("after"))

    assert messages(path.with_suffix(".1")) == ["before"]
    assert messages(path) == ["after"]


def test_a_missing_folder_costs_lines_and_nothing_else(
    handler: FileHandler, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.parent.rmdir()
    for _ in range(3):
        handler.handle(record("lost"))
    path.parent.mkdir()
    handler.handle(record("found"))

    assert messages(path) == ["found"]
    assert handler.figures().dropped == {"write_error": 3}
    assert handler.figures().sent == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert json.loads(told)["action"] == "log_lines_dropped"


@pytest.mark.skipif(not FULL_DISK.exists(), reason="there is no full disk")
def test_a_full_disk_costs_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    handler = FileHandler(str(FULL_DISK))
    handler.setFormatter(LineFormatter())

    for _ in range(3):
        handler.handle(record())

    handler.close()
    assert handler.figures().dropped == {"write_error": 3}
    assert "No space left" in capsys.readouterr().err


def test_a_line_after_one_that_was_cut_off_is_on_a_line_of_its_own(
    handler: FileHandler, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def cut_off(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:-10])

    handler.handle(record("first"))
    with monkeypatch.context() as patch:
        patch.setattr("settings.log_handlers.os.write", cut_off)
        handler.handle(record("torn"))
    handler.handle(record("last"))

    first, torn, last = path.read_text().splitlines()
    assert json.loads(first)["message"] == "first"
    assert torn.startswith("{")
    assert json.loads(last)["message"] == "last"
    assert handler.figures().dropped == {"write_error": 1}


def test_a_stdout_that_is_gone_costs_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    handler = StdoutHandler()
    handler.setFormatter(LineFormatter())
    closed = io.StringIO()
    closed.close()
    handler.setStream(closed)

    handler.handle(record())

    assert handler.figures().dropped == {"write_error": 1}
    assert "Traceback" not in capsys.readouterr().err
