"""Load: the folder of any trained model to the object that it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.nn.model_files import model_kind
from hepgen.pipeline.model_folder import behind
from hepgen.surrogates.images.surrogate import KIND as IMAGES
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import KIND, UNFINISHED, Surrogate


def load(path: Path | str) -> Any:
    """The model in a folder, whatever its kind; nothing from its files is executed.

    Returns:
        An :class:`~hepgen.inference.nle.NLE`, an :class:`~hepgen.inference.npe.NPE`, another
        estimator, an :class:`~hepgen.inference.ensemble.Ensemble` or a
        :class:`~hepgen.inference.posterior_ensemble.PosteriorEnsemble` of them; for a surrogate an
        :class:`~hepgen.surrogates.arrays.EventSurrogate`, which takes and gives NumPy, awkward and
        vector arrays, and for one of images an :class:`~hepgen.surrogates.arrays.ShowerSurrogate`.

    Raises:
        FileError: The files are missing, truncated, edited, or from a newer version.
    """
    folder = behind(Path(path).expanduser())
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
    folder = behind(Path(path).expanduser())
    if model_kind(folder) == IMAGES:
        return ImageSurrogate.load(folder)
    return Surrogate.load(folder)


def finished(path: Path | str) -> Surrogate | ImageSurrogate:
    """The surrogate in a folder, whose training came to its end.

    Raises:
        FileError: It is what is left of a training that failed.
    """
    surrogate = load_surrogate(path)
    parts = (
        (surrogate.energies, surrogate.cells)
        if isinstance(surrogate, ImageSurrogate)
        else (surrogate,)
    )
    why = next((p.manifest[UNFINISHED] for p in parts if UNFINISHED in p.manifest), None)
    if why:
        raise FileError(
            f"{path} is what is left of a training that failed ({why}); train it again, or look "
            "at it in Python: hepgen.surrogates.surrogate.Surrogate.load"
        )
    return surrogate


def _estimator(home: str, name: str) -> Callable[[Path], Any]:
    """What loads a class, which is imported only then."""

    def read(folder: Path) -> Any:
        return getattr(import_module(f"hepgen.inference.{home}"), name).load(folder)

    return read


def _sally(folder: Path) -> Any:
    """The likelihood of the observables where there is one, else the observables."""
    from hepgen.inference.sally import SALLY
    from hepgen.inference.score_likelihood import FOLDER, load_score_likelihood

    return load_score_likelihood(folder) if (folder / FOLDER).is_dir() else SALLY.load(folder)


def _ensemble(folder: Path) -> Any:
    from hepgen.inference.ensemble_files import TrainedEnsemble

    return TrainedEnsemble.load(folder, load)


def _posteriors(folder: Path) -> Any:
    from hepgen.inference.posterior_ensemble import PosteriorEnsemble

    return PosteriorEnsemble.load(folder)


def _surrogate(folder: Path) -> Any:
    from hepgen.surrogates.arrays import EventSurrogate

    surrogate = finished(folder)
    assert isinstance(surrogate, Surrogate)
    return EventSurrogate(surrogate)


def _images(folder: Path) -> Any:
    from hepgen.surrogates.arrays import ShowerSurrogate

    surrogate = finished(folder)
    assert isinstance(surrogate, ImageSurrogate)
    return ShowerSurrogate(surrogate)


_KINDS: dict[str, Callable[[Path], Any]] = {
    "nle": _estimator("nle", "NLE"), "npe": _estimator("npe", "NPE"),
    "nre": _estimator("nre", "NRE"), "classifier": _estimator("nre", "ParametrisedClassifier"),
    "rascal": _estimator("rascal", "RASCAL"), "alices": _estimator("alices", "ALICES"),
    "sally": _sally, "ensemble": _ensemble, "posterior-ensemble": _posteriors,
    KIND: _surrogate, IMAGES: _images,
}  # fmt: skip
