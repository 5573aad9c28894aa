"""What goes wrong in a file, said as a FileError that names the file."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from hepgen.errors import FileError, HepgenError
from hepgen.io import xrootd


@contextlib.contextmanager
def reading(path: str, kind: str = "a ROOT file") -> Iterator[None]:
    """Turn whatever a library says about a broken file of some kind into a FileError."""
    try:
        yield
    except (HepgenError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise FileError(f"no file {path!r}") from error
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it") from error
    except ImportError as error:
        raise FileError(f"{path}: reading it needs a package: {_brief(error)}") from error
    except Exception as error:
        if said := xrootd.words(error):
            raise FileError(f"{path}: {said}") from error
        raise FileError(
            f"{path}: cannot be read as {kind}; it may be truncated or of another kind "
            f"({type(error).__name__}: {_brief(error)})"
        ) from error


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:160] or "no reason given"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a file being written into a FileError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "make room, or choose another folder" if full else "check the folder"
        raise FileError(
            f"{path}: cannot be written: {error.strerror or error}; {remedy}. "
            f"Nothing was left behind"
        ) from error
