"""Load: the folder of any trained model to the object that it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.nn.model_files import model_kind
from hepgen.surrogates.images.surrogate import KIND as IMAGES
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import KIND, Surrogate


def load(path: Path | str) -> Any:
    """The model in a folder, whatever its kind; nothing from its files is executed.

    Returns:
        An :class:`~hepgen.inference.nle.NLE`, an :class:`~hepgen.inference.npe.NPE`, or for a
        surrogate an :class:`~hepgen.surrogates.arrays.EventSurrogate`, which takes and gives
        NumPy, awkward and vector arrays, and for one of images an
        :class:`~hepgen.surrogates.arrays.ShowerSurrogate`.

    Raises:
        FileError: The files are missing, truncated, edited, or from a newer version.
    """
    folder = Path(path).expanduser()
    kind = model_kind(folder)
    if kind not in _KINDS:
        raise FileError(
            f"{folder} holds a model of kind {kind!r}; this version of hepgen knows "
            f"{', '.join(_KINDS)}: update hepgen"
        )
    return _KINDS[kind](folder)


def load_surrogate(path: Path | str) -> Surrogate | ImageSurrogate:
    """The surrogate in a folder, of events or of images.

    Raises:
        FileError: The files are missing, truncated, edited, or hold another kind of model.
    """
    folder = Path(path).expanduser()
    if model_kind(folder) == IMAGES:
        return ImageSurrogate.load(folder)
    return Surrogate.load(folder)


def _nle(folder: Path) -> Any:
    from hepgen.inference.nle import NLE

    return NLE.load(folder)


def _npe(folder: Path) -> Any:
    from hepgen.inference.npe import NPE

    return NPE.load(folder)


def _surrogate(folder: Path) -> Any:
    from hepgen.surrogates.arrays import EventSurrogate

    return EventSurrogate(Surrogate.load(folder))


def _images(folder: Path) -> Any:
    from hepgen.surrogates.arrays import ShowerSurrogate

    return ShowerSurrogate(ImageSurrogate.load(folder))


_KINDS: dict[str, Callable[[Path], Any]] = {
    "nle": _nle, "npe": _npe, KIND: _surrogate, IMAGES: _images
}  # fmt: skip
