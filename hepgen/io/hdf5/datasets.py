"""The one way to a dataset of a file that may be anybody's.

A link, an external or a virtual dataset would show what is in other files, and a few bytes may
say that they unpack to gigabytes.
"""

from __future__ import annotations

from typing import Any

import h5py

from hepgen.errors import FileError, nearest
from hepgen.files import parse_json

PROVENANCE = "hepgen_provenance"
NUMBERS = "iufb"
MOST_COMPRESSED = 2000
"""What unpacks to so many times the bytes stored of it holds nothing: gzip reaches 1032."""
_MOST_IN_CHUNK = 2**28
"""Bytes that HDF5 unpacks at once to read any of them."""


def dataset(group: Any, name: str, path: Any, *, kinds: str = NUMBERS, rank: int = 1) -> Any:
    """A dataset of a group, whose bytes are in this file.

    Arguments:
        group: Of an open file.
        name: Of the dataset.
        path: Of the file, for errors.
        kinds: Letters of NumPy for the types that it may have.
        rank: The dimensions that it has.

    Raises:
        FileError: There is none, or it is none of these.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise FileError(f"{path}: no dataset {name!r}; {nearest(name, list(group))}")
    if not isinstance(link, h5py.HardLink):
        raise FileError(
            f"{path}: {name!r} is a link to something else, which is not followed; copy what it "
            "leads to into this file"
        )
    data = group[name]
    if not isinstance(data, h5py.Dataset):
        raise FileError(f"{path}: {name!r} is a group; expected a dataset")
    if data.shape is None or len(data.shape) != rank or data.dtype.kind not in kinds:
        raise FileError(
            f"{path}: the dataset {name!r} has the shape {data.shape} and the type {data.dtype}; "
            f"expected {rank} dimensions and a type of the kinds {', '.join(kinds)}"
        )
    check_stored(data, path)
    return data


def is_inside(data: Any) -> bool:
    """Whether the bytes of a dataset are in its own file."""
    return not data.is_virtual and not data.external


def check_stored(data: Any, path: Any) -> None:
    """Refuse a dataset that is not in its file, or says that it holds more than can be there.

    Raises:
        FileError: It is so.
    """
    if not is_inside(data):
        raise FileError(
            f"{path}: the bytes of the dataset {data.name!r} are in other files, which are not "
            "read; copy them into this file"
        )
    stored = int(data.id.get_storage_size())
    # What was never written has no bytes, and is all zeros.
    if data.nbytes > max(MOST_COMPRESSED * stored, int(data.file.id.get_filesize())):
        raise FileError(
            f"{path}: the dataset {data.name!r} says that it holds {data.nbytes} bytes, of which "
            f"{stored} are stored, and cannot be in this file; it is damaged"
        )
    chunk = data.dtype.itemsize
    for length in data.chunks or ():
        chunk *= length
    if chunk > _MOST_IN_CHUNK:
        raise FileError(
            f"{path}: the dataset {data.name!r} has chunks of {chunk} bytes; at most "
            f"{_MOST_IN_CHUNK} are read: write it again with smaller chunks (h5repack -l)"
        )


def provenance(file: Any, path: Any) -> dict[str, Any]:
    """What hepgen noted in a file as JSON; nothing in a file of others.

    Raises:
        FileError: It is no text of this file.
        ValueError: It is no JSON.
    """
    if file.get(PROVENANCE, getlink=True) is None:
        return {}
    # Text of no fixed length (kind O) is how images had it before.
    data = dataset(file, PROVENANCE, path, kinds="SO", rank=0)
    if data.dtype.kind == "O" and h5py.check_string_dtype(data.dtype) is None:
        raise FileError(f"{path}: {PROVENANCE!r} has the type {data.dtype}; expected text")
    return dict(parse_json(data[()]))
