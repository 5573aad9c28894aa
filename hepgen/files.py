"""Files that are either whole or not there, and the standard output, which is for results."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hepgen.errors import FileError


def refuse_special(path: Path) -> None:
    """Refuse the name of a folder, a device or anything else that is no regular file.

    Raises:
        FileError: It is one, or a link to one.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, or something else that is no file"
        raise FileError(f"{path} is {kind}; expected the name of a file")


def refuse_inputs(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to replace a file that is read.

    Raises:
        FileError: It is one of ``inputs``, whatever it is called.
    """
    for one in inputs:
        if path.exists() and one.exists() and path.samefile(one):
            raise FileError(
                f"{path} is an input of this simulation and is not replaced; choose another output"
            )


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is no JSON, or nested deeper than anything that hepgen writes.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to disk, and rename it.

    Raises:
        FileError: It cannot be written, e.g. the disk is full. Nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_part(path) as out:
            try:
                out.write(content)
                out.flush()
                publish_part(out.fileno(), Path(out.name), path)
            finally:
                discard_part(out.fileno(), Path(out.name))
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; nothing was left half-written; "
            "free some space or choose another folder, and run the same command again"
        ) from error


def open_part(path: Path, buffering: int = -1) -> IO[bytes]:
    """An empty file beside ``path``, to be written and then renamed to it.

    Its name is always the same, so that what a killed process left is written over by the next;
    while it is open it is locked, and a second process that writes the same file at the same
    time takes the next of :func:`_parts`. Where there are no locks, every name is another.
    """
    for number, part in enumerate(_parts(path)):
        try:
            handle = _taken(part, create=True)
        except _NoLocksError:
            part.unlink(missing_ok=True)
            break
        if handle is not None:
            os.ftruncate(handle, 0)
            if number == 0:
                _sweep(path)
            return _opened(handle, part, buffering)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    return _opened(handle, Path(name), buffering)


def publish_part(descriptor: int, part: Path, path: Path) -> None:
    """Flush a written file, which is still open, and its new name to disk.

    It is as readable as the file that it replaces, or as the umask says.

    Raises:
        OSError: Also where another file has the name ``part`` by now.
    """
    os.fchmod(descriptor, _mode(path))
    os.fsync(descriptor)
    if not _is_at(descriptor, part):
        raise OSError(f"{part.name} was removed by another process while it was written")
    part.replace(path)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard_part(descriptor: int, part: Path) -> None:
    """Remove a file that is still open and was not published.

    After it was published its name is free, and may be that of another process's file.
    """
    if _is_at(descriptor, part):
        part.unlink(missing_ok=True)


_UNFINISHED = ".unfinished"


@contextmanager
def replacing(folder: Path, last: str, check: Callable[[], object] | None = None) -> Iterator[Path]:
    """A place for new files, which replace those in ``folder`` when all of them are written.

    Until then the old ones stay as they are. The file ``last`` says that the others are there: it
    goes before they do, and comes after them. One process at a time does this in a folder, and
    asks ``check``, which may refuse, when it is its turn.

    Raises:
        FileError: The folder cannot be made, or a file in it not be replaced.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder}: {error.strerror}") from error
    with locked(folder / f".{last}.lock"):
        if check is not None:
            check()
        part = folder / _UNFINISHED
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            yield part
            names = sorted((path.name for path in part.iterdir()), key=lambda name: name == last)
            for name in names:
                refuse_special(folder / name)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if isinstance(error, OSError):
                raise FileError(f"cannot write into {folder}: {error.strerror or error}") from error
            raise
        _replace(part, folder, names)


def _replace(part: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files over those of their names; the last is gone until the others are there."""
    try:
        for name in names:
            (part / name).chmod(_mode(folder / name))
        (folder / names[-1]).unlink(missing_ok=True)
        for name in names[:-1]:
            (part / name).replace(folder / name)
        _flush(folder)
        (part / names[-1]).replace(folder / names[-1])
        part.rmdir()
        _flush(folder)
    except OSError as error:
        raise FileError(
            f"cannot replace {error.filename}: {error.strerror}; run the same command again when "
            "it can be"
        ) from error


def is_unfinished(folder: Path) -> bool:
    """Whether somebody is :func:`replacing` files in a folder, or was killed at it."""
    return (folder / _UNFINISHED).is_dir()


def append_line(path: Path, line: str, *, durable: bool = False) -> None:
    """Append a line to a file, on a line of its own also where the last one was cut short.

    Arguments:
        path: Made where it does not exist.
        line: Without its end.
        durable: Wait until it is on the disk.

    Raises:
        OSError: It cannot be written.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        # One call, so that lines of several processes do not mix.
        os.write(handle, b"\n" * torn + line.encode() + b"\n")
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time in here; ``path`` is a file that is there meanwhile.

    It is removed afterwards, also after a process that was killed. On a file system without
    locks nobody waits.

    Raises:
        FileError: It cannot be made.
    """
    try:
        handle = _held(path)
    except OSError as error:
        raise FileError(
            f"cannot make {path}: {error.strerror or error}; check the permissions of its folder"
        ) from error
    try:
        yield
    finally:
        discard_part(handle, path)
        os.close(handle)


def _held(path: Path) -> int:
    """A descriptor of the file of a lock, when nobody else has it any more."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return handle
        except BaseException:
            os.close(handle)
            raise
        if _is_at(handle, path):
            return handle
        os.close(handle)


class _NoLocksError(Exception):
    """The file system has no locks."""


def _parts(path: Path) -> Iterator[Path]:
    """``.NAME.part``, and ``.NAME.2.part`` and on for those that write at the same time."""
    yield path.with_name(f".{path.name}.part")
    for number in range(2, 1000):
        yield path.with_name(f".{path.name}.{number}.part")


def _sweep(path: Path) -> None:
    """Remove what others left that were killed while they wrote at the same time."""
    # A few: further ones need as many writers at once, the next of which takes them over.
    for part in itertools.islice(_parts(path), 1, 4):
        with contextlib.suppress(OSError, _NoLocksError):
            handle = _taken(part, create=False)
            if handle is not None:
                part.unlink(missing_ok=True)
                os.close(handle)


def _taken(part: Path, *, create: bool) -> int | None:
    """A descriptor of a file that is locked for this process; None where another has it.

    Raises:
        OSError: It cannot be opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        handle = os.open(part, flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            raise _NoLocksError from error
        # Whoever had the lock before may have renamed or removed it meanwhile.
        if _is_at(handle, part):
            return handle
        os.close(handle)


def _is_at(descriptor: int, part: Path) -> bool:
    """Whether an open file has this name, and no other file."""
    try:
        return os.path.samestat(os.fstat(descriptor), part.lstat())
    except FileNotFoundError:
        return False


def _opened(handle: int, name: Path, buffering: int) -> IO[bytes]:
    """A file object that knows its name, over an open file."""
    return open(name, "w+b", buffering, opener=lambda *_: handle)


def _mode(path: Path) -> int:
    """The permissions of a file that is written: those of the one that it replaces."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    except OSError:
        return 0o666 & ~_UMASK


def _umask() -> int:
    """The permissions that new files do not have."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    # It can only be read by setting it: to one that gives nothing away to another thread's file.
    known = os.umask(0o077)
    os.umask(known)
    return known


_UMASK = _umask()


@contextmanager
def stdout_to(descriptor: int) -> Iterator[None]:
    """Send what is written to standard output elsewhere, also what C++ writes past Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what a library prints to standard error."""
    with stdout_to(2):
        yield
