"""A trained model in the run folder: for each key a folder of its own, which stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.nn import together
from hepgen.store import RunFolder


@dataclass(frozen=True)
class ModelFolder:
    """The files that a training makes with one key: those of other keys are beside them.

    So nothing is replaced where a setting is changed, whoever else works in the run folder; and to
    go back costs nothing.

    Arguments:
        folder: The run folder.
        name: Such as ``models/nle``; a link of this name leads to what was used last.
        key: All that it depends on.
        part: A folder in it, if it is a part of a model.
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
        return together.agreed(self.folder.is_current(f"make {self.place}", self.key))

    @contextmanager
    def renewed(
        self, files: Sequence[str], facts: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """Write the files, named as they are in its folder, in here."""
        names = [f"{self.place}/{name}" for name in files]
        with self.folder.renewed(f"make {self.place}", self.key, names, facts or {}):
            yield

    def point(self, say: Callable[[str], object]) -> None:
        """Have the name without the key lead here; ``say`` is told where it cannot."""
        link, target = self.folder / self.name, self.path.name
        if not together.leads() or (link.is_symlink() and str(link.readlink()) == target):
            return
        new = link.with_name(f".{link.name}.link")
        try:
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            if link.is_dir() and not link.is_symlink():  # of a version that had one for all keys
                link.rename(_free(link))
            new.replace(link)
        except OSError as error:
            say(f"{link} cannot lead to {target} ({error.strerror}); use the latter name")


def behind(path: Path) -> Path:
    """The folder to which a link leads now; where it leads later is another model."""
    return path.parent / path.readlink() if path.is_symlink() else path


def _free(link: Path) -> Path:
    """A name for a folder that stands where the link is to be."""
    names = (
        link.with_name(f"{link.name}-old{n}") for n in itertools.chain([""], itertools.count(2))
    )
    return next(name for name in names if not name.exists())
