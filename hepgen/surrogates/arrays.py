"""Surrogates in the arrays of a columnar analysis: NumPy, awkward and vector, in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import util
from typing import Any, Literal, cast

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, SurrogateError, nearest
from hepgen.events import THETA, Events
from hepgen.surrogates.conditional import Quality
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Domain, Surrogate

_VECTORS = {
    ("pt", "eta", "phi", "mass"): "Momentum4D",
    ("pt", "eta", "phi", "energy"): "Momentum4D",
    ("pt", "eta", "phi"): "Momentum3D",
    ("pt", "phi"): "Momentum2D",
}
"""Columns of one object that make a vector, and the name that vector has for it."""


class EventSurrogate:
    """p(x | θ) with named columns; :func:`hepgen.load` makes it from a folder.

    θ is a mapping from the names of the context to numbers (the same for all events) or to
    arrays of length n (one for each), or an array of shape ``(C,)`` or ``(n, C)``; nothing where
    there is no context. Its columns are also found under ``theta_<name>``, as in simulated files.

    Events are a mapping of arrays, a NumPy structured array, an awkward record array,
    :class:`~hepgen.events.Events`, or an array of shape ``(N, d)``. In records, ``Muon_pt`` is
    also found as the field ``pt`` of ``Muon``, or what vector makes of it.

    Arguments:
        surrogate: In tensors.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate = surrogate

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of an event."""
        return self.surrogate.features.names

    @property
    def context(self) -> tuple[str, ...]:
        """The columns of θ."""
        return self.surrogate.domain.names

    @property
    def domain(self) -> Domain:
        """The range of θ in the training."""
        return self.surrogate.domain

    @property
    def quality(self) -> Quality:
        """What kind of number a log-density is."""
        return self.surrogate.quality

    def sample(
        self, n: int, theta: Any = None, seed: int = 0, library: Literal["ak", "np"] = "ak"
    ) -> Any:
        """n events at θ; the same seed gives the same events.

        Arguments:
            n: How many.
            theta: See the class.
            seed: Of the noise.
            library: ``ak`` for an awkward record array, in which ``Muon_pt``, ``Muon_eta``,
                ``Muon_phi`` and ``Muon_mass`` are one Momentum4D, ``Muon`` (which knows what
                vector does where vector is installed); ``np`` for a structured array.

        Raises:
            SurrogateError: θ is outside the range of the training, or not of n events.
        """
        x = self.surrogate.sample(1, self._theta(n, theta), seed)[0]
        return self._columns(x, library)

    def sample_and_log_prob(
        self, n: int, theta: Any = None, seed: int = 0, library: Literal["ak", "np"] = "ak"
    ) -> tuple[Any, NDArray[np.float64]]:
        """Events as :meth:`sample` makes them, and log p(x | θ) of each, shape ``(n,)``."""
        context = self._theta(n, theta)
        x, density = self.surrogate.sample_and_log_prob(1, context, seed)
        return self._columns(x[0], library), density.value[0].numpy()

    @torch.no_grad()
    def log_prob(self, events: Any, theta: Any = None, seed: int = 0) -> NDArray[np.float64]:
        """log p(x | θ) of N events, shape ``(N,)``; see :attr:`quality`.

        Raises:
            DataError: A column is missing, jagged, or has values that cannot be used.
            SurrogateError: θ is outside the range of the training.
        """
        return self.log_density(events, theta, seed)[0]

    @torch.no_grad()
    def log_density(
        self, events: Any, theta: Any = None, seed: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """log p(x | θ) as :meth:`log_prob` and its Monte Carlo error, shapes ``(N,)``."""
        x = torch.from_numpy(matrix(events, self.features))
        density = self.surrogate.log_density(x, self._theta(len(x), theta), seed)
        return density.value.numpy(), density.error.numpy()

    def __repr__(self) -> str:
        return f"Event{self.surrogate!r}"

    def _theta(self, n: int, theta: Any) -> Tensor:
        return _contexts(self.context, n, theta)

    def _columns(self, x: Tensor, library: str) -> Any:
        columns = dict(zip(self.features, x.numpy().T, strict=True))
        if library == "np":
            table = np.empty(len(x), dtype=[(name, np.float64) for name in columns])
            for name, column in columns.items():
                table[name] = column
            return table
        return records(columns)


class ShowerSurrogate:
    """p(image | θ) in NumPy; :func:`hepgen.load` makes it from a folder.

    θ is as of an :class:`EventSurrogate`.

    Arguments:
        surrogate: In tensors.
    """

    def __init__(self, surrogate: ImageSurrogate) -> None:
        self.surrogate = surrogate

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: layers, cells in η, cells in φ."""
        return self.surrogate.code.shape

    @property
    def context(self) -> tuple[str, ...]:
        """The columns of θ; the first is the energy of the particle, GeV."""
        return self.surrogate.names

    @property
    def domain(self) -> Domain:
        """The range of θ in the training."""
        return self.surrogate.domain

    def sample(self, n: int, theta: Any, seed: int = 0) -> NDArray[np.float64]:
        """n images at θ, GeV, shape ``(n, layers, η, φ)``; the same seed gives the same images.

        Raises:
            SurrogateError: θ is outside the range of the training, or not of n images.
        """
        images = self.surrogate.sample(1, _contexts(self.context, n, theta), seed)
        return images.reshape(n, *self.shape).numpy()

    @property
    def quality(self) -> Quality:
        """What kind of number a log-density is."""
        return self.surrogate.quality

    def sample_and_log_prob(
        self, n: int, theta: Any, seed: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Images as :meth:`sample` makes them, and log p(image | θ) of each, shape ``(n,)``."""
        context = _contexts(self.context, n, theta)
        images, density = self.surrogate.sample_and_log_prob(1, context, seed)
        return images.reshape(n, *self.shape).numpy(), density.value.reshape(n).numpy()

    def log_prob(self, images: Any, theta: Any, seed: int = 0) -> NDArray[np.float64]:
        """log p(image | θ) of N images, shape ``(N,)``; see :attr:`quality`.

        Arguments:
            images: GeV, shape ``(N, layers, η, φ)``.
            theta: As of an :class:`EventSurrogate`.
            seed: Of what is drawn for it.

        Raises:
            DataError: Images of another shape, or with values that cannot be used.
            SurrogateError: θ is outside the range of the training, or the family has no density.
        """
        return self.log_density(images, theta, seed)[0]

    def log_density(
        self, images: Any, theta: Any, seed: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """log p(image | θ) as :meth:`log_prob` and its Monte Carlo error, shapes ``(N,)``."""
        x = np.asarray(images, dtype=np.float64)
        if x.shape[1:] != self.shape:
            raise DataError(
                f"images of shape {x.shape}; expected (N, {', '.join(map(str, self.shape))})"
            )
        rows = torch.from_numpy(x.reshape(len(x), -1))
        found = self.surrogate.log_density(rows, _contexts(self.context, len(x), theta), seed)
        return found.value.numpy(), found.error.numpy()

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"ShowerSurrogate({self.surrogate.method}: {size} | {', '.join(self.context)})"


def records(columns: Mapping[str, Any]) -> ak.Array:
    """A record array with a vector for each object that has the columns of one.

    >>> event = {"Z_pt": [5.0], "Z_eta": [0.1], "Z_phi": [2.0], "Z_mass": [91.2], "nJet": [2]}
    >>> records(event).fields, records(event).Z.fields
    (['Z', 'nJet'], ['pt', 'eta', 'phi', 'mass'])
    """
    objects: dict[str, dict[str, Any]] = {}
    for name in columns:
        owner, _, part = name.rpartition("_")
        objects.setdefault(owner, {})[part] = columns[name]
    fields: dict[str, Any] = {}
    for name in columns:
        owner = name.rpartition("_")[0]
        kind = _vector(objects[owner]) if owner else None
        if kind is None:
            fields[name] = ak.Array(columns[name])
        elif owner not in fields:
            fields[owner] = ak.zip(objects[owner], with_name=kind, behavior=_behavior())
    return ak.zip(fields, depth_limit=1)


def matrix(events: Any, names: Sequence[str], prefix: str = "") -> NDArray[np.float64]:
    """The columns ``names`` of events in any of the forms that :class:`EventSurrogate` takes.

    Arguments:
        events: N events.
        names: d columns.
        prefix: What a column's name may have before it.

    Returns:
        Shape ``(N, d)``.
    """
    if not _named(events):
        values = _numbers("events", events)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise DataError(
                f"an array of shape {values.shape}; expected (N, {len(names)}), a column for "
                f"each of {', '.join(names)}"
            )
        return values
    if not names:
        return np.empty((len(events), 0))
    columns = {name: _column(events, name, prefix) for name in names}
    return Events.from_columns(columns).flat(names)


def _contexts(names: Sequence[str], n: int, theta: Any) -> Tensor:
    """θ of n events, shape ``(n, C)``."""
    if n < 1:
        raise SurrogateError(f"{n} events; expected at least one")
    if not names and theta is None:
        return torch.zeros(n, 0, dtype=torch.float64)
    if theta is None:
        raise SurrogateError(f"no θ; expected a value for each of {', '.join(names)}")
    if isinstance(theta, Mapping):
        for name in theta:
            if name.removeprefix(THETA) not in names:
                raise SurrogateError(f"θ has {name!r}; {nearest(name, names)}")
        theta = {name: _each(name, value, n) for name, value in theta.items()}
    elif not _named(theta):
        theta = _numbers("θ", theta)
        theta = np.tile(theta, (n, 1)) if theta.ndim == 1 else theta
    values = matrix(theta, names, prefix=THETA)
    return torch.from_numpy(_each("θ", values, n))


def _named(events: Any) -> bool:
    if isinstance(events, np.ndarray):
        return events.dtype.names is not None
    return bool(getattr(events, "fields", None)) or hasattr(events, "keys")


def _fields(events: Any) -> list[str]:
    if isinstance(events, np.ndarray):
        return list(events.dtype.names or ())
    # A data frame has keys too.
    return list(events.fields if hasattr(events, "fields") else events.keys())


def _column(events: Any, name: str, prefix: str) -> Any:
    fields = _fields(events)
    for known in (name, prefix + name):
        if known in fields:
            return _whole(known, events[known])
    owner, _, part = name.rpartition("_")
    if owner in fields:
        # What is no field of a vector may be computed from those that are.
        inside = events[owner]
        found = inside[part] if part in ak.fields(inside) else getattr(inside, part, None)
        if found is not None:
            return _whole(name, found)
    raise DataError(f"no column {name!r} in the events; {nearest(name, fields)}")


def _whole(name: str, column: Any) -> ak.Array:
    """The column, if every event has a value."""
    column = ak.Array(column if isinstance(column, ak.Array) else np.asarray(column))
    missing = int(ak.sum(ak.is_none(column)))
    if missing:
        raise DataError(
            f"column {name!r} has no value in {missing} of {len(column)} events; drop those events"
        )
    return column


def _each(name: str, value: Any, n: int) -> NDArray[np.float64]:
    values = _numbers(name, value)
    if values.ndim and len(values) != n:
        raise SurrogateError(
            f"{name} has {len(values)} values for {n} events; expected one number, or one for each"
        )
    return values if values.ndim else np.full(n, values)


def _numbers(name: str, value: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {error}; expected numbers") from error


def _vector(parts: Mapping[str, Any]) -> str | None:
    return next((kind for names, kind in _VECTORS.items() if set(names) <= set(parts)), None)


def _behavior() -> dict[Any, Any] | None:
    if util.find_spec("vector") is None:
        return None
    from vector.backends.awkward import behavior

    return cast("dict[Any, Any]", behavior)
