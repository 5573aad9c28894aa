"""The profile likelihood of electron–positron annihilation, against its exact density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import hepgen
from hepgen.inference.event_sets import EventSets
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.profile import profile_scan
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity


class Annihilation(Likelihood):
    """log L of sets of cos θ, exact, with a luminosity: the number of events counts."""

    def __init__(self) -> None:
        chain = hepgen.process("ee_mumu")
        free = [
            Parameter("sin2_theta_w", 0.2312, role="interest", prior=Uniform(0.21, 0.25)),
            Parameter("m_z", 91.19, "GeV", "nuisance", Uniform(90.0, 92.5)),
        ]
        others = [p for p in chain.parameters if p.name not in ("sin2_theta_w", "m_z")]
        self.chain = chain
        self.parameters = ParameterSet([*free, *others])
        self.exact = ExactLikelihood(
            ElectronPositronDensity.of(chain), self.parameters, luminosity=0.6
        )

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        assert isinstance(sets, EventSets)
        return self.exact.log_likelihoods(sets, theta)

    def generate(self, theta: Tensor, seed: int) -> DataSets:
        raise NotImplementedError

    def asimov(self, theta: Tensor) -> DataSets:
        raise NotImplementedError


def test_the_profile_is_the_maximum_over_a_grid() -> None:
    """t of sin²θ_W, and its interval, with m_Z profiled, beside brute force over m_Z."""
    model = Annihilation()
    events = model.chain.simulate(1000, seed=3)
    x = torch.tensor(np.asarray(events["cos_theta"], dtype=np.float64))[:, None]
    data = model.exact.encode([x], [None])
    scan = profile_scan(model, data, "sin2_theta_w", points=9)
    masses = torch.linspace(90.0, 92.5, 2001, dtype=torch.float64)
    rows = []
    for value in scan.values.tolist():
        theta = torch.stack([torch.full_like(masses, value), masses], dim=-1)
        rows.append(model.log_likelihoods(data, theta[None])[0].max().item())
    brute = -2 * (np.array(rows) - max(rows))
    middle = scan.statistic - scan.statistic.min()
    np.testing.assert_allclose(middle, brute, atol=2e-3)
    assert scan.statistic.min() == pytest.approx(0.0, abs=0.05)
