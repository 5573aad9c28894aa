"""Which files, and which tree in each: ``data/*.root:Events`` to a list of sources."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hepgen.errors import FileError, nearest

SUFFIXES = (".root", ".parquet", ".h5", ".hdf5")
"""How the names of files of events end."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


@dataclass(frozen=True)
class Source:
    """A file of events, and the table in it.

    Arguments:
        path: A local path or a URL (``root://``, ``https://``).
        tree: The name of a TTree, an RNTuple or a group of HDF5, such as ``Events`` or
            ``dir/Events``; None for the only one in the file, or the one that is called Events.

    >>> str(Source("zmumu.root", "events"))
    'zmumu.root:events'
    """

    path: str
    tree: str | None = None

    def __str__(self) -> str:
        return self.path if self.tree is None else f"{self.path}:{self.tree}"

    @property
    def remote(self) -> bool:
        """Whether the path is a URL."""
        return _URL.match(self.path) is not None


def suffix_of(path: str) -> str:
    """How the name of a file ends, in small letters, without what a URL asks for.

    >>> suffix_of("https://example.org/a.Parquet?token=1")
    '.parquet'
    """
    return Path(path.partition("?")[0] if _URL.match(path) else path).suffix.lower()


def resolve(specs: Sequence[str | Path] | str | Path, tree: str | None = None) -> list[Source]:
    """The files that the arguments of a command mean, in order.

    Each of ``specs`` is ``file.root``, ``file.root:tree``, a glob of either, a folder (its
    ``*.root``, or else its Parquet or HDF5 files), a URL, or several of them with commas
    between. ``tree`` is for those that name none. A file that is meant twice is refused: its
    events would count twice.

    Raises:
        FileError: A file is not there (with the nearest names in its folder), a glob
            matches nothing, or a file is given twice.

    >>> resolve("root://eos.example.org:1094//store/a.root:Events")
    [Source(path='root://eos.example.org:1094//store/a.root', tree='Events')]
    """
    texts = [specs] if isinstance(specs, (str, Path)) else specs
    sources = [
        Source(path, given or tree)
        for text in texts
        for part in _parts(str(text))
        for path, given in _expanded(part)
    ]
    if not sources:
        raise FileError("no files given; expected at least one, such as 'data.root:Events'")
    _check_distinct(sources)
    return sources


def _parts(text: str) -> list[str]:
    if Path(text).exists():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _expanded(spec: str) -> Iterator[tuple[str, str | None]]:
    path, tree = _split(spec.removeprefix("file://"))
    if _URL.match(path):
        if glob.has_magic(path):
            raise FileError(f"{path}: a pattern needs a local folder; list the URLs instead")
        yield path, tree
        return
    for found in _local(os.path.expanduser(path)):  # noqa: PTH111 (patterns are not paths)
        yield found, tree


def _split(spec: str) -> tuple[str, str | None]:
    """The path and the tree: the last colon parts them, unless it belongs to the path."""
    authority = _URL.match(spec)
    start = authority.end() if authority else 0
    head, colon, tail = spec[start:].rpartition(":")
    in_path = tail.endswith(SUFFIXES) or glob.has_magic(tail)
    if not colon or not head or in_path or (not authority and Path(spec).exists()):
        return spec, None
    return spec[:start] + head, tail or None


def _local(path: str) -> list[str]:
    if Path(path).is_file():
        return [path]
    pattern = _inside(Path(path)) if Path(path).is_dir() else path
    if not glob.has_magic(pattern):
        raise FileError(f"no file {path!r}{_nearby(Path(path))}")
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 (patterns are not paths)
    found = sorted(name for name in matches if Path(name).is_file())
    if not found:
        raise FileError(f"no file matches {pattern!r}{_nearby(Path(pattern))}")
    return found


def _inside(folder: Path) -> str:
    """The pattern of the files in a folder: those of the first kind of which there is one."""
    patterns = [str(folder / f"*{suffix}") for suffix in SUFFIXES]
    return next((p for p in patterns if glob.glob(p)), patterns[0])  # noqa: PTH207


def _nearby(path: Path) -> str:
    folder = path.parent
    if glob.has_magic(str(folder)):
        return ""
    if not folder.is_dir():
        return f"; there is no folder {str(folder)!r}"
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    return f" in {str(folder)!r}; {nearest(path.name, names)}"


def _check_distinct(sources: Sequence[Source]) -> None:
    seen: set[tuple[str, str | None]] = set()
    for source in sources:
        path = source.path if source.remote else os.path.realpath(source.path)
        if (path, source.tree) in seen:
            raise FileError(f"{source} is given twice; its events would count twice")
        seen.add((path, source.tree))
