"""Minuit and hepgen's own fits agree: on histograms, on events, and on an exact likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import iminuit
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import voigt_profile
from torch import Tensor

from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.fit import fit
from hepgen.inference.statistics.intervals import profile_intervals
from hepgen.inference.statistics.minuit import minos_intervals, minuit_fit
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.given_data import GivenData

LOW, HIGH = 80.0, 102.0


@dataclass(frozen=True)
class Masses:
    """Shape ``(S, N)``."""

    m: Tensor

    def __len__(self) -> int:
        return len(self.m)

    def __getitem__(self, part: slice | Tensor) -> Masses:
        return Masses(self.m[part])


class Resonance(GivenData):
    """f·Voigt(m | m₀, σ, Γ) + (1 − f)·exponential, in a window; σ is known to be 1.2.

    The Voigt profile is a Breit–Wigner averaged over Gauss–Hermite nodes.
    """

    sigma = 1.2

    def __init__(self) -> None:
        self.parameters = ParameterSet(
            [
                Parameter("m0", 91.0, "GeV", "interest", Uniform(86.0, 96.0)),
                Parameter("gamma", 2.0, "GeV", prior=Uniform(0.5, 6.0)),
                Parameter("f", 0.6, prior=Uniform(0.0, 1.0)),
                Parameter("slope", 0.05, "1/GeV", prior=Uniform(-0.3, 0.3)),
            ]
        )
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        self.nodes = torch.from_numpy(nodes) * self.sigma
        self.weights = torch.from_numpy(weights / weights.sum())

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        assert isinstance(sets, Masses)
        m0, gamma, f, slope = (t[..., None] for t in theta.double().unbind(-1))
        x = sets.m[:, None] - m0
        half = gamma[..., None] / 2
        peak = half / math.pi / ((x[..., None] - self.nodes).square() + half.square())
        edges = [torch.atan((e - m0[..., None] - self.nodes) / half) / math.pi for e in (LOW, HIGH)]
        norm = ((edges[1] - edges[0]) * self.weights).sum(-1)
        shape = torch.exp(-slope * (sets.m[:, None] - LOW))
        width = HIGH - LOW
        area = -torch.expm1(-slope * width) / slope
        density = f * (peak * self.weights).sum(-1) / norm + (1 - f) * shape / area
        return density.log().sum(-1)


def events(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    random = np.random.default_rng(seed)
    peak = 91.2 + 1.25 * random.standard_cauchy(3 * n) + 1.2 * random.normal(size=3 * n)
    peak = peak[(peak > LOW) & (peak < HIGH)][: int(0.7 * n)]
    u = random.uniform(size=n - len(peak))
    flat = LOW - np.log1p(-u * -np.expm1(-0.06 * (HIGH - LOW))) / 0.06
    return np.concatenate([peak, flat])


def independent(m: np.ndarray[Any, np.dtype[np.float64]]) -> iminuit.Minuit:
    """The same model from scipy's Voigt profile and quadrature, with numerical gradients."""

    def cost(m0: float, gamma: float, f: float, slope: float) -> float:
        def voigt(x: float) -> float:
            return float(voigt_profile(x - m0, 1.2, gamma / 2))

        norm = quad(voigt, LOW, HIGH, epsabs=1e-10)[0]
        area = -np.expm1(-slope * (HIGH - LOW)) / slope
        peak = voigt_profile(m - m0, 1.2, gamma / 2) / norm
        density = f * peak + (1 - f) * np.exp(-slope * (m - LOW)) / area
        return float(-np.log(density).sum())

    fitter = iminuit.Minuit(cost, m0=91.0, gamma=2.0, f=0.6, slope=0.05)
    fitter.limits = [(86, 96), (0.5, 6), (0.01, 0.99), (-0.3, 0.3)]
    fitter.errordef, fitter.tol = 0.5, 1e-3
    fitter.migrad()
    fitter.hesse()
    return fitter


def test_a_voigt_peak_on_an_exponential() -> None:
    """To 1 % of the errors, against a fit that shares no code with ours."""
    m = events(1500, 1)
    model, data = Resonance(), Masses(torch.from_numpy(m)[None])
    mine, same, other = fit(model, data), minuit_fit(model, data), independent(m)
    error = np.array(other.errors)
    assert mine.status == ("converged",)
    assert np.abs(mine.theta[0].numpy() - np.array(other.values)).max() < 0.01 * error.max()
    for found in (mine, same):
        np.testing.assert_allclose(
            (found.theta[0].numpy() - np.array(other.values)) / error, 0.0, atol=0.01
        )
        np.testing.assert_allclose(found.errors[0].numpy(), error, rtol=0.01)
    assert mine.log_likelihood.item() == pytest.approx(-float(other.fval or 0.0), abs=1e-4)
    assert abs(mine.theta[0, 0].item() - 91.2) < 4 * error[0]
    other.minos("m0", cl=0.95)
    merror = other.merrors["m0"]
    (interval,) = profile_intervals(model, data, "m0", levels=(0.95,))[0]
    assert interval.errors == pytest.approx((-merror.lower, merror.upper), rel=5e-3)


@pytest.mark.parametrize("low", [-5.0, 0.0])
def test_minos_is_the_crossing_of_the_profile(low: float) -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=low)
    data = model.observed([51, 48])
    pairs = zip(
        profile_intervals(model, data, "mu")[0], minos_intervals(model, data, "mu"), strict=True
    )
    for mine, minos in pairs:
        assert (mine.low, mine.high) == pytest.approx((minos.low, minos.high), abs=1e-3)
        assert mine.open_low == minos.open_low == (low == 0.0)
        assert minos.method == "minos"
        if low == 0.0:
            assert minos.warnings == ("the interval of mu is open below, at its bound",)


def test_fixed_and_at_bound() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    data = model.observed([51, 48])
    found = minuit_fit(model, data)
    assert found.at_bound.tolist() == [[True, False, False]]
    assert "mu is at its bound" in found.warnings(0)[0]
    held = minuit_fit(model, data, fixed={"mu": 1.0})
    same = fit(model, data, fixed={"mu": 1.0})
    torch.testing.assert_close(held.theta, same.theta, rtol=0, atol=1e-4)
    torch.testing.assert_close(held.errors, same.errors, rtol=1e-2, atol=1e-6)
    assert held.errors[0, 0] == 0
