"""Files that are either whole or not there, and the standard output, which is for results."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
                # Until now it was private; what hepgen writes is meant to be read.
                os.fchmod(out.fileno(), 0o644)
                out.flush()
                publish_part(out.fileno(), Path(out.name), path)
            finally:
                Path(out.name).unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; nothing was left half-written; "
            "free some space or choose another folder, and run the same command again"
        ) from error


def open_part(path: Path, buffering: int = -1) -> IO[bytes]:
    """An empty file beside ``path``, to be written and then renamed to it.

    Its name is always the same, so that what a killed process left is written over by the next;
    while it is open it is locked, and a second process that writes the same file at the same
    time takes a name of its own.
    """
    part = path.with_name(f".{path.name}.part")
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(part, flags, 0o600)
        if not _locked(handle):
            os.close(handle)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            return _opened(handle, Path(name), buffering)
        # Whoever had the lock before may have renamed it meanwhile.
        if part.exists() and os.path.samestat(os.fstat(handle), part.stat()):
            os.ftruncate(handle, 0)
            return _opened(handle, part, buffering)
        os.close(handle)


def publish_part(descriptor: int, part: Path, path: Path) -> None:
    """Flush a written file, which is still open, and its new name to disk."""
    os.fsync(descriptor)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _opened(handle: int, name: Path, buffering: int) -> IO[bytes]:
    """A file object that knows its name, over an open file."""
    return open(name, "w+b", buffering, opener=lambda *_: handle)


def _locked(handle: int) -> bool:
    """Lock an open file until it is closed; False where another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also on a file system without locks
        return False
    return True


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
