from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from queueing import BackupError
from queueing.files import new_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_file_has_its_name_once_it_is_whole(path: Path) -> None:
    with new_file(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")

    assert path.read_bytes() == b"half and half"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_there_is_no_file(path: Path) -> None:
    with pytest.raises(TypeError), new_file(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("target", ["there", "not there"])
def test_what_is_there_stays_even_a_link_that_leads_nowhere(path: Path, target: str) -> None:
    (path.parent / "there").touch()
    path.symlink_to(target)

    with pytest.raises(BackupError, match="exists; it stays as it is"), new_file(path):
        pass

    assert path.is_symlink()


def test_what_appears_meanwhile_is_not_overwritten(path: Path) -> None:
    with pytest.raises(BackupError, match="exists"), new_file(path):
        path.write_text("precious")

    assert path.read_text() == "precious"


def test_only_one_writes_a_file_at_a_time(path: Path) -> None:
    with new_file(path) as file:
        with pytest.raises(BackupError, match="another process is writing"), new_file(path):
            pass
        file.write(b"the first one's")

    assert path.read_bytes() == b"the first one's"


def test_a_file_that_was_finished_in_the_last_moment_is_not_emptied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process gives its draft its name after we have opened it, and before we lock it."""
    draft = path.with_name("file.part")
    draft.write_text("precious")
    flock = "queueing.files.fcntl.flock"
    monkeypatch.setattr(flock, lambda *_: draft.rename(path))

    with pytest.raises(BackupError, match="another process is writing"), new_file(path):
        pass

    assert path.read_text() == "precious"


def test_a_draft_that_is_a_link_is_not_followed(path: Path) -> None:
    (path.parent / "elsewhere").write_text("precious")
    path.with_name("file.part").symlink_to("elsewhere")

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), new_file(path):
        pass

    assert (path.parent / "elsewhere").read_text() == "precious"
