"""What a step makes in the run folder: for each setting a folder of its own, which stays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.store import RunFolder


@dataclass(frozen=True)
class ModelFolder:
    """The files that a step makes with one key: those of other keys are beside them.

    So nothing is replaced where a setting is changed, whoever else works in the run folder; and to
    go back costs nothing.

    Arguments:
        folder: The run folder.
        name: Such as ``models/nle``; a link of this name leads to what was used last.
        key: All that it depends on.
        part: A folder in it, if it is a part of a product.
    """

    folder: RunFolder
    name: str
    key: str
    part: str = ""

    @property
    def place(self) -> str:
        """Its folder, in the run folder."""
        return f"{self.name}-{self.key[:8]}" + (f"/{self.part}" if self.part else "")

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder / self.place

    @property
    def current(self) -> bool:
        """Whether it is there, as it was made."""
        return self.folder.is_current(f"make {self.place}", self.key)

    @contextmanager
    def renewed(
        self, files: Sequence[str], facts: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """Write the files, named as they are in its folder, in here."""
        names = [f"{self.place}/{name}" for name in files]
        with self.folder.renewed(f"make {self.place}", self.key, names, facts or {}):
            yield

    def point(self) -> None:
        """Have the name without the key lead here."""
        link, target = self.folder / self.name, self.path.name
        if link.is_symlink() and str(link.readlink()) == target:
            return
        # A folder that may only be read has no links, and all else.
        with contextlib.suppress(OSError):
            if link.is_dir() and not link.is_symlink():  # by a version that had one for all keys
                link.rename(link.with_name(f"{link.name}-old"))
            part = link.with_name(f".{link.name}.{os.getpid()}")
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(link)
