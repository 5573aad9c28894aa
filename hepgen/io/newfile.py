"""A file that appears under its name when it is complete, and not at all otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from hepgen.errors import FileError
from hepgen.files import discard_part, open_part, publish_part, refuse_special
from hepgen.io.failures import writing


class NewFile:
    """A file in the making, under another name in the same folder.

    Arguments:
        path: Its name at the end, in a folder that exists.
        overwrite: Replace a file that is there.

    Raises:
        FileError: The file exists, or its folder does not.

    >>> import tempfile
    >>> new = NewFile(Path(tempfile.mkdtemp()) / "out.txt")
    >>> with new.open() as handle:
    ...     _ = handle.write(b"all of it")
    >>> new.path.exists(), new.publish(), new.path.read_bytes()
    (False, None, b'all of it')
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path, self.overwrite = path, overwrite
        self._part: Path | None = None
        self._lock = -1
        self._check()

    def _check(self) -> None:
        if not self.path.parent.is_dir():
            raise FileError(f"{self.path}: there is no folder {str(self.path.parent)!r}; make it")
        refuse_special(self.path)
        if self.path.exists() and not self.overwrite:
            raise FileError(
                f"{self.path} exists; remove it, or allow it to be replaced (overwrite=True)"
            )

    def open(self, buffering: int = -1) -> IO[bytes]:
        """The file to write to."""
        with writing(self.path):
            handle = open_part(self.path, buffering)
            self._part = Path(handle.name)
            # Whoever writes may close it: until it has its name the lock is held here.
            self._lock = os.dup(handle.fileno())
            return handle

    def publish(self) -> None:
        """It is complete and closed, or flushed: give it its name."""
        if self._part is None:
            return
        with writing(self.path):
            self._check()
            publish_part(self._lock, self._part, self.path)

    def discard(self) -> None:
        """Leave nothing behind, unless it was published."""
        if self._part is not None:
            discard_part(self._lock, self._part)
            self._part = None
            os.close(self._lock)
