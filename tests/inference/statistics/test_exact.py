"""The profile likelihood of electron–positron annihilation, against its exact density."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from hepgen.inference.event_sets import EventSets
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.scans import profile_scan
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from tests.inference.given_data import GivenData

CHAIN = process("ee_mumu", energies=(89.0,))
CONFUSION = Normal(0.05, 0.01)


class Annihilation(GivenData):
    """log L of sets of cos θ, with a measurement of the charge confusion."""

    def __init__(self) -> None:
        priors = {"sin2_theta_w": Uniform(0.15, 0.30), "charge_confusion": CONFUSION}

        def free(p: Parameter) -> Parameter:
            return dataclasses.replace(p, prior=priors.get(p.name), low=-1.0 if p.name[0] == "c"
                                       else p.low)  # fmt: skip

        self.parameters = ParameterSet([free(p) for p in CHAIN.parameters])
        self.exact = ExactLikelihood(ElectronPositronDensity.of(CHAIN), self.parameters)

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        assert isinstance(sets, EventSets)
        constraint = CONFUSION.log_prob(theta[..., 1].double())
        return self.exact.log_likelihoods(sets, theta) + constraint


def test_the_profile_is_the_maximum_over_a_grid() -> None:
    """t of sin²θ_W, and its set, beside brute force over the charge confusion.

    The asymmetry is the same at a second value, so the set has two pieces.
    """
    model = Annihilation()
    assert model.parameters.free_names == ("sin2_theta_w", "charge_confusion")
    values = CHAIN.parameters.values(None, sin2_theta_w=0.2312, charge_confusion=0.05)
    state = CHAIN.simulate(values, 4000, 3).state
    x = state["Dimuon_cos_theta"][state["selected"]][:, None]
    data = model.exact.encode([x], [None])
    grid = np.linspace(0.21, 0.30, 61)
    scan = profile_scan(model, data, "sin2_theta_w", values=grid)

    confusion = torch.linspace(0.0, 0.1, 401, dtype=torch.float64)
    theta = torch.cartesian_prod(torch.from_numpy(grid), confusion)
    with torch.no_grad():
        height = model.log_likelihoods(data, theta[None])[0].reshape(61, 401).amax(1)
    brute = (2 * (height.max() - height)).numpy()
    np.testing.assert_allclose(scan.statistic - scan.statistic.min(), brute, atol=2e-4)
    assert scan.statistic.min() < 0.02
    assert abs(scan.best - 0.2312) < 4 * scan.error
    for interval, threshold in zip(scan.intervals, (0.988946, 3.841459), strict=True):
        below = scan.statistic < threshold
        inside = [interval.contains(value) for value in grid.tolist()]
        assert below.tolist() == inside
        assert len(interval.pieces) == 2
        assert "2 pieces" in interval.warnings[0]
        assert interval.contains(0.2312)
        assert interval.contains(0.28)
