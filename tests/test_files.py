"""A file is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hepgen.errors import FileError
from hepgen.files import (
    discard_part,
    is_unfinished,
    open_part,
    publish_part,
    replacing,
    write_atomically,
)
from hepgen.io.newfile import NewFile


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


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for mode in (0o600, 0o664):
        path.write_bytes(b"old")
        path.chmod(mode)
        write_atomically(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(("umask", "mode"), [("077", "600"), ("002", "664")])
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path, umask: str, mode: str) -> None:
    code = (
        "from pathlib import Path\n"
        "from hepgen.files import write_atomically\n"
        "from hepgen.io.newfile import NewFile\n"
        "write_atomically(Path('a'), b'')\n"
        "new = NewFile(Path('b'))\n"
        "new.open().close(); new.publish(); new.discard()\n"
        "print(*(f'{Path(n).stat().st_mode & 0o777:o}' for n in 'ab'))"
    )
    command = ["sh", "-c", f'umask {umask}; exec "$0" -c "$1"', sys.executable, code]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [mode, mode]


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


# --- many writers ---------------------------------------------------------------------


def test_what_was_killed_beside_another_writer_is_swept(tmp_path: Path) -> None:
    path, left = tmp_path / "file", tmp_path / ".file.2.part"
    left.write_bytes(b"half of something")
    write_atomically(path, b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_published_name_is_not_removed_from_who_has_it_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = NewFile(path, overwrite=True)
    first.open().close()
    first.publish()
    with open_part(path) as second:
        first.discard()
        with open_part(path) as third:
            assert third.name != second.name
        publish_part(second.fileno(), Path(second.name), path)


def test_a_part_that_another_has_taken_away_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_part(path) as mine:
        part = Path(mine.name)
        part.unlink()
        part.write_bytes(b"half of another's")
        with pytest.raises(OSError, match="removed by another process"):
            publish_part(mine.fileno(), part, path)
        discard_part(mine.fileno(), part)
    assert [p.name for p in tmp_path.iterdir()] == [part.name]


def test_without_locks_every_writer_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / "file"
    with open_part(path) as first, open_part(path) as second:
        assert first.name != second.name
        for part in (first, second):
            publish_part(part.fileno(), Path(part.name), path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


SECONDS = 1.5


def _write(path: Path, content: bytes, failed: Any) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            write_atomically(path, content)
        except FileError as error:
            failed.put(str(error))


def _read(path: Path, size: int, torn: Any) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        content = path.read_bytes()
        if len(content) != size or len(set(content)) != 1:
            torn.put(f"{len(content)} bytes")


@pytest.mark.parametrize("size", [300, 400_000])
def test_many_processes_that_write_one_file_publish_only_whole_ones(
    tmp_path: Path, size: int
) -> None:
    path, spawn = tmp_path / "file", multiprocessing.get_context("spawn")
    write_atomically(path, b"0" * size)
    wrong = spawn.Queue()
    writers = [
        spawn.Process(target=_write, args=(path, letter * size, wrong))
        for letter in (b"1", b"2", b"3", b"4")
    ]
    reader = spawn.Process(target=_read, args=(path, size, wrong))
    for process in (*writers, reader):
        process.start()
    for process in (*writers, reader):
        process.join()
        assert process.exitcode == 0
    assert wrong.empty()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_take_their_places_when_all_are_written(tmp_path: Path) -> None:
    for name in ("a", "last", "other"):
        (tmp_path / name).write_text("old")
    (tmp_path / "a").chmod(0o640)
    with replacing(tmp_path, "last") as part:
        for name in ("a", "last", "b"):
            (part / name).write_text("new")
        assert (tmp_path / "last").read_text() == "old"
        assert is_unfinished(tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a": "new", "last": "new", "b": "new", "other": "old"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_is_as_it_was_where_writing_stops(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("old")

    def stopped() -> None:
        with replacing(tmp_path, "last") as part:
            (part / "last").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last": "old"}


def test_a_folder_of_the_name_of_a_file_is_said_and_all_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "last").write_text("old")

    def replaced() -> None:
        with replacing(tmp_path, "last") as part:
            for name in ("a", "last"):
                (part / name).write_text("new")

    with pytest.raises(FileError, match="a is a folder"):
        replaced()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "last"]
    assert (tmp_path / "last").read_text() == "old"


def test_who_comes_second_is_asked_again_when_it_is_its_turn(tmp_path: Path) -> None:
    """Two that began while nothing was there: the result of the first is not replaced unasked."""

    def check() -> None:
        if (tmp_path / "last").exists():
            raise FileError("another has been here")

    def write() -> None:
        with replacing(tmp_path, "last", check) as part:
            (part / "last").write_text("mine")

    write()
    with pytest.raises(FileError, match="another has been here"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_full_disk_leaves_nothing_of_new_files(tmp_path: Path) -> None:
    def full() -> None:
        with replacing(tmp_path, "last") as part:
            (part / "a").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(FileError, match=r"cannot write into .*No space left"):
        full()
    assert not list(tmp_path.iterdir())
