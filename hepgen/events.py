"""Events: the columnar record that passes between simulation, files and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError, nearest

WEIGHT = "genWeight"
THETA = "theta_"
LATENT = "latent_"
SCORE = "score_"
LOG_RATIO = "logr_"
EXTRAPOLATED = "extrapolated"


@dataclass(frozen=True)
class Events:
    """A table of events: one awkward record array and where it came from.

    Columns are flat, shape ``(N,)``, or jagged, shape ``(N, var)``. hepgen's own are
    prefixed: ``theta_*`` (the parameters an event was made with), ``latent_*`` (the
    truth of a stage), ``score_*`` and ``logr_*`` (its joint scores and log-ratios).
    ``genWeight`` is the signed event weight, 1 where it is absent.

    Arguments:
        columns: A record array of length N.
        provenance: What made the events: versions, seed, configuration.

    >>> events = Events.from_columns({"Dimuon_mass": np.array([91.2, 88.0])})
    >>> len(events), events.fields, events.weight
    (2, ['Dimuon_mass'], array([1., 1.]))
    """

    columns: ak.Array
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Any], provenance: Mapping[str, Any] | None = None
    ) -> Events:
        """Events from arrays of one length, NumPy or awkward, by name."""
        if not columns:
            raise DataError("events without columns: expected at least one column")
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns of different lengths: {lengths}; expected one length")
        return cls(ak.zip(dict(columns), depth_limit=1), dict(provenance or {}))

    @classmethod
    def concatenate(cls, parts: Sequence[Events]) -> Events:
        """The events of all ``parts`` in order, with the provenance of the first."""
        if not parts:
            raise DataError("nothing to concatenate: expected at least one set of events")
        for part in parts:
            if set(part.fields) != set(parts[0].fields):
                raise DataError(
                    f"events with the columns {part.fields} cannot follow events with "
                    f"{parts[0].fields}; expected the same columns"
                )
        return cls(ak.concatenate([part.columns for part in parts]), parts[0].provenance)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: str) -> bool:
        return name in self.columns.fields

    def __getitem__(self, name: str) -> ak.Array:
        if name not in self:
            raise DataError(f"no column {name!r} in the events; {nearest(name, self.fields)}")
        return self.columns[name]

    @property
    def fields(self) -> list[str]:
        """The column names."""
        return list(self.columns.fields)

    @property
    def weight(self) -> NDArray[np.float64]:
        """The signed event weights, shape ``(N,)``."""
        if WEIGHT not in self:
            return np.ones(len(self))
        return self.flat([WEIGHT])[:, 0]

    def flat(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The flat columns ``names`` as a matrix, shape ``(N, len(names))``."""
        for name in names:
            if self[name].ndim != 1:
                raise DataError(
                    f"column {name!r} is jagged; expected one number an event "
                    f"(an expression such as {name}[0] makes one)"
                )
        if not names:
            return np.empty((len(self), 0))
        return np.stack([self._numbers(name) for name in names], axis=-1)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        try:
            return np.asarray(ak.to_numpy(self[name]), dtype=np.float64)
        except (TypeError, ValueError) as error:
            kind = self[name].type.content
            raise DataError(f"column {name!r} holds {kind}; expected numbers") from error

    def theta(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The parameters the events were made with, shape ``(N, len(names))``."""
        return self.flat([THETA + name for name in names])

    def select(self, mask: NDArray[np.bool_] | slice) -> Events:
        """The events where ``mask``, shape ``(N,)``, is true (or those in a slice)."""
        if not isinstance(mask, slice) and len(mask) != len(self):
            raise DataError(f"a mask of {len(mask)} for {len(self)} events; expected one for each")
        return Events(self.columns[mask], self.provenance)
