"""A file is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hepgen.errors import FileError
from hepgen.files import open_part, publish_part, write_atomically


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(FileError, match=r"No space left on device.*free some space"):
            write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_ctrl_c_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", b"x")
    assert (tmp_path / "new" / "file").read_bytes() == b"x"


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        write_atomically(tmp_path / "file" / "below", b"")


def test_colleagues_may_read_what_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) & 0o444 == 0o444


# --- what a killed process has left ---------------------------------------------------


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.with_name(".file.part").write_bytes(b"half of something long")
    write_atomically(path, b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"whole"


def test_two_that_write_the_same_file_at_once_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_part(path) as first, open_part(path) as second:
        for part in (second, first):
            part.write(b"by one")
            part.flush()
            publish_part(part.fileno(), Path(part.name), path)
            assert path.read_bytes() == b"by one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_part_is_private_and_follows_no_link(tmp_path: Path) -> None:
    path, mine = tmp_path / "file", tmp_path / "mine"
    with open_part(path) as part:
        assert stat.S_IMODE(os.fstat(part.fileno()).st_mode) == 0o600
    mine.write_bytes(b"mine")
    path.with_name(".file.part").unlink()
    path.with_name(".file.part").symlink_to(mine)
    with pytest.raises(FileError, match="cannot write"):
        write_atomically(path, b"new")
    assert mine.read_bytes() == b"mine"
