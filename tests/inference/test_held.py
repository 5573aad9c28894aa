"""An estimator with a parameter at a value is the same estimator there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.held import Held
from hepgen.parameters import Parameter, ParameterSet, Uniform

PARAMETERS = ParameterSet(
    [
        Parameter(name, 0.5, role="interest", prior=Uniform(0.0, 1.0))
        for name in ("first", "mass", "last")
    ]
)


class Digits:
    """Any function of θ in which no two parameters can be mistaken for one another."""

    parameters = PARAMETERS

    def log_likelihoods(self, sets: Tensor, theta: Tensor) -> Tensor:
        return sets + theta @ torch.tensor([1.0, 10.0, 100.0]).double()

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        return prepared + self.log_likelihoods(torch.zeros(1), theta)[:, None]


def test_the_others_keep_their_places() -> None:
    held = Held(Digits(), "mass", 0.2)
    assert held.parameters.free_names == ("first", "last")
    assert held.parameters["mass"].default == 0.2
    theta = torch.tensor([[[0.3, 0.4]]]).double()
    assert held.log_likelihoods(torch.zeros(1), theta).item() == pytest.approx(0.3 + 2 + 40)
    found = held.at(0.7).log_densities(torch.zeros(1, 5, 1), theta)
    assert found.shape == (1, 5, 1)
    assert found[0, 0, 0].item() == pytest.approx(0.3 + 7 + 40)


def test_what_it_cannot_be_held_at_is_refused() -> None:
    with pytest.raises(ParameterError, match="'width' is not free"):
        Held(Digits(), "width", 0.2)
    with pytest.raises(ParameterError, match="mass"):
        Held(Digits(), "mass", 1.2)
