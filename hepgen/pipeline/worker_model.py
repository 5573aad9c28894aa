"""A model on its way to workers: read where the folder is seen, else sent, and kept there."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hepgen.errors import FileError
from hepgen.pipeline.load import load_surrogate
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate

_DESCRIPTION = "model.json"
_SUFFIXES = (".json", ".safetensors")
_Key = tuple[Path, str, bool]
_loaded: dict[_Key, Surrogate | ImageSurrogate] = {}


@dataclass(frozen=True)
class WorkerModel:
    """A surrogate, as it is named in a call to a worker.

    Arguments:
        folder: Of the model.
        digest: The hash of its description, so that another one in such a folder is not taken
            for it.
        extrapolate: Whether contexts outside the range are let through.
        files: What is in the folder, by name, for a worker that does not see it.
    """

    folder: Path
    digest: str
    extrapolate: bool
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, folder: Path, extrapolate: bool) -> WorkerModel:
        """The model in a folder of this machine."""
        return cls(folder.resolve(), _digest(folder / _DESCRIPTION), extrapolate)

    def load(self) -> Surrogate | ImageSurrogate | None:
        """The surrogate, read once in each process; None where its folder is not seen."""
        key = (self.folder, self.digest, self.extrapolate)
        if key not in _loaded:
            surrogate = self._read()
            if surrogate is None:
                return None
            surrogate.extrapolate = self.extrapolate
            _loaded[key] = surrogate
        return _loaded[key]

    def _read(self) -> Surrogate | ImageSurrogate | None:
        if self.files:
            with tempfile.TemporaryDirectory() as place:
                for name, content in self.files.items():
                    path = Path(place) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                return load_surrogate(place)
        try:
            seen = _digest(self.folder / _DESCRIPTION) == self.digest
        except OSError:
            seen = False
        return load_surrogate(self.folder) if seen else None

    def with_files(self) -> WorkerModel:
        """The same with all that a worker needs.

        Raises:
            FileError: Another model is in the folder by now.
        """
        try:
            files = {
                str(path.relative_to(self.folder)): path.read_bytes()
                for path in sorted(self.folder.rglob("*")) if path.suffix in _SUFFIXES
            }  # fmt: skip
        except OSError as error:
            raise FileError(f"{self.folder} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(files.get(_DESCRIPTION, b"")).hexdigest() != self.digest:
            raise FileError(
                f"the model in {self.folder} was replaced while it was sampled; sample it again"
            )
        return replace(self, files=files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
