"""Files that are either whole or not there, and the standard output, which is for results."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to disk, and rename it.

    Raises:
        FileError: It cannot be written, e.g. the disk is full. Nothing is left behind.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            # mkstemp makes it private; what hepgen writes is meant to be read.
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; nothing was left half-written; "
            "free some space or choose another folder, and run the same command again"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


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
