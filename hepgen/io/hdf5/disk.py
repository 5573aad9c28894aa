"""Files as HDF5 sees them, and what h5py says about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

import h5py

from hepgen.io.failures import reading
from hepgen.io.remote import opened
from hepgen.io.sources import Source

KIND = "an HDF5 file"


@contextlib.contextmanager
def open_file(path: str) -> Iterator[Any]:
    """The file at a local path or a URL, with whatever h5py says about it as a FileError."""
    with contextlib.ExitStack() as stack:
        with reading(path, KIND):
            place = stack.enter_context(opened(path, KIND)) if Source(path).remote else path
            file = stack.enter_context(h5py.File(place, "r"))
        yield file


class Disk:
    """A file as HDF5 sees it: one that never fails.

    A write that fails makes HDF5 crash the process when the file is closed. So what does not
    fit is kept in memory, enough to close, and the first error is there to be raised.

    Arguments:
        handle: An unbuffered binary file.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.error: OSError | None = None
        self._position = 0
        self._lost: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end()}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The byte it is at."""
        return self._position

    def _end(self) -> int:
        return max([os.fstat(self.handle.fileno()).st_size, *(o + len(b) for o, b in self._lost)])

    def write(self, data: Any) -> int:
        """Write all of it, to the file or, from the first error on, to memory."""
        content = bytes(data)
        done = 0
        if self.error is None:
            try:
                self.handle.seek(self._position)
                while done < len(content):
                    done += self.handle.write(content[done:])
            except OSError as error:
                self.error = error
        if done < len(content):
            self._lost.append((self._position + done, content[done:]))
        self._position += len(content)
        return len(content)

    def read(self, size: int) -> bytes:
        """As many bytes as there are, up to a number."""
        start, stop = self._position, min(self._position + size, self._end())
        self.handle.seek(start)
        content = bytearray(
            self.handle.read(max(stop - start, 0)).ljust(max(stop - start, 0), b"\0")
        )
        for offset, lost in self._lost:
            low, high = max(offset, start), min(offset + len(lost), stop)
            if low < high:
                content[low - start : high - start] = lost[low - offset : high - offset]
        self._position = start + len(content)
        return bytes(content)

    def truncate(self, size: int) -> int:
        """Cut the file, or make it longer."""
        if self.error is None:
            try:
                self.handle.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is held back."""
