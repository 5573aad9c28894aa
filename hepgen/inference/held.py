"""A trained estimator with one of its parameters at a value, e.g. the mass of a hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve


class Held:
    """log p(x | θ, value): a density and a likelihood of the other parameters.

    Arguments:
        model: Trained over all of them.
        name: Which one is held.
        value: In its unit, inside of its prior.

    Raises:
        ParameterError: It is not free, or the value is outside of the prior it was trained over.
    """

    def __init__(self, model: Any, name: str, value: float) -> None:
        own: ParameterSet = model.parameters
        if name not in own.free_names:
            raise ParameterError(
                f"parameter {name!r} is not free; free are {', '.join(own.free_names)}"
            )
        own[name].check_prior(value)
        self.model, self.name, self.value = model, name, value
        self._column = own.free_names.index(name)
        self.parameters = held(own, name, value)

    @property
    def curve(self) -> TrainingCurve:
        """Of its training."""
        curve: TrainingCurve = self.model.curve
        return curve

    def save(self, folder: Path | str) -> None:
        """Write the estimator of all values."""
        self.model.save(folder)

    def at(self, value: float) -> Held:
        """The same at another value."""
        return Held(self.model, self.name, value)

    def double(self) -> Held:
        """In double precision."""
        return Held(self.model.double(), self.name, self.value)

    def prepare(self, x: Tensor) -> Tensor:
        """See :class:`hepgen.inference.density.Density`."""
        prepared: Tensor = self.model.prepare(x)
        return prepared

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`hepgen.inference.density.Density`."""
        found: Tensor = self.model.log_densities(prepared, self._all(theta))
        return found

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> Any:
        """See :class:`hepgen.inference.event_sets.SetLikelihood`."""
        return self.model.encode(x, weight)

    def log_likelihoods(self, sets: Any, theta: Tensor) -> Tensor:
        """See :class:`hepgen.inference.event_sets.SetLikelihood`."""
        found: Tensor = self.model.log_likelihoods(sets, self._all(theta))
        return found

    def _all(self, theta: Tensor) -> Tensor:
        """θ with the column of the parameter that is held."""
        i, value = self._column, torch.full_like(theta[..., :1], self.value)
        return torch.cat([theta[..., :i], value, theta[..., i:]], dim=-1)


def held(parameters: ParameterSet, name: str, value: float) -> ParameterSet:
    """The same with one parameter at a value, no longer free."""
    return ParameterSet(
        [
            replace(p, default=value, prior=None, role="nuisance") if p.name == name else p
            for p in parameters
        ]
    )
