"""Files that are there whole or not at all, and that nobody else can read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from queueing.errors import BackupError


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which becomes `path` at the end; until then it is `path` with `.part` added.

    Raises BackupError when there is such a file, or another process writes it; after an error of the caller's there is
    neither. What a killed process has left is written anew.
    """
    refuse_existing(path)
    draft = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b") as file:
        _take(file, draft)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            refuse_existing(path)
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    _fsync_folder(path.parent)


def refuse_existing(path: Path) -> None:
    """Raise BackupError when there is something at `path` already."""
    if os.path.lexists(path):
        raise BackupError(f"{path} exists; it stays as it is")


def _take(file: BinaryIO, draft: Path) -> None:
    """Lock a draft and empty it, unless another process writes it, or has just given it its name."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.path.samestat(os.fstat(file.fileno()), draft.stat())
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise BackupError(f"another process is writing {draft}")
    os.fchmod(file.fileno(), 0o600)
    file.truncate(0)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
