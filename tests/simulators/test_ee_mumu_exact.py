"""The exact density of e⁺e⁻ → μ⁺μ⁻ against simulation, and against quadrature of its kernel.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, special, stats
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.augment import joint_score
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity, smearing_factors
from hepgen.simulators.processes.registry import process

FALSE_ALARM = 1e-4
CHAINS: dict[str, dict[str, Any]] = {
    "one energy": {"energies": (89.0,)},
    "scan": {"energies": (89.0, 91.1876, 93.0), "luminosities": (2.0, 1.0, 2.0)},
}
POINT = {
    "angular_resolution": 0.25, "charge_confusion": 0.1, "pair_efficiency": 0.8,
    "efficiency_slope": 0.5, "sin2_theta_w": 0.24,
}  # fmt: skip
SCORED = (*POINT, "m_z", "gamma_z")


@cache
def simulated(name: str) -> tuple[Chain, ElectronPositronDensity, Trace, dict[str, Tensor]]:
    chain = process("ee_mumu", **CHAINS[name])
    values = chain.parameters.values(None, **POINT)
    return chain, ElectronPositronDensity.of(chain), chain.simulate(values, 200_000, 1), values


def observed(density: ElectronPositronDensity, trace: Trace) -> Tensor:
    columns = [trace.state[name][0] for name in density.columns]
    return torch.stack(columns, dim=-1)[trace.state["selected"][0]]


def energy_point(x: Tensor) -> Tensor:
    return x[:, 1] if x.shape[1] > 1 else torch.zeros(len(x), dtype=torch.float64)


def events(c: NDArray[np.float64], point: int, density: ElectronPositronDensity) -> Tensor:
    """The columns of events at one energy point."""
    cosine = torch.from_numpy(c)
    both = torch.stack([cosine, torch.full_like(cosine, point)], dim=-1)
    return both[:, : len(density.columns)]


@pytest.mark.parametrize("name", CHAINS)
def test_histograms_of_simulated_events(name: str) -> None:
    """Every energy point in 25 bins: χ² of all bins, the number of events fixed."""
    _, density, trace, values = simulated(name)
    x = observed(density, trace)
    edges = np.linspace(-density.cos_max, density.cos_max, 26)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = 0.5 * np.diff(edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    found, expected = [], []
    for point in range(len(density.beams.energies)):
        inside = (energy_point(x) == point).numpy()
        found.append(np.histogram(x[inside, 0].numpy(), edges)[0])
        at = (middle[:, None] + half[:, None] * nodes).ravel()
        p = density.log_prob(events(at, point, density), values).exp().numpy()
        expected.append(half * (p.reshape(25, 8) @ weights))

    assert np.sum(expected) == pytest.approx(1, rel=1e-12)
    assert stats.chisquare(np.ravel(found), len(x) * np.ravel(expected)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", CHAINS)
def test_rate_is_cross_section_times_efficiency(name: str) -> None:
    chain, density, trace, values = simulated(name)
    share = trace.state["selected"].double().mean().item()
    total = chain.stages[0].cross_section(values)
    assert total is not None

    efficiency = density.rate(values).item() / total.item()
    assert abs(share - efficiency) < 4 * math.sqrt(efficiency * (1 - efficiency) / 200_000)


def kernel(measured: float, c: float, kappa: float) -> float:
    """p(c' | c) of smearing on the sphere, with the azimuth integrated out."""
    both = math.sqrt((1 - measured**2) * (1 - c**2))
    exponent = kappa * (measured * c + both - 1)
    norm = kappa / (1 - math.exp(-2 * kappa))
    return float(norm * math.exp(exponent) * special.ive(0, kappa * both))


@pytest.mark.parametrize("resolution", [0.02, 0.25, 0.5])
def test_an_independent_quadrature_of_the_smearing(resolution: float) -> None:
    """∫ p(c) ε(c) p(c' | c) dc by adaptive quadrature with the Bessel function."""
    _, density, _, values = simulated("one energy")
    values = values | {"angular_resolution": torch.tensor(resolution, dtype=torch.float64)}
    like = density.beams.like(values).item()
    slope, wrong = POINT["efficiency_slope"], POINT["charge_confusion"]

    def smeared(measured: float) -> float:
        def integrand(c: float) -> float:
            angle = 0.375 * (like * (1 + c) ** 2 + (1 - like) * (1 - c) ** 2)
            return angle * 0.8 * (1 - slope * c**2) * kernel(measured, c, resolution**-2)

        near = [max(-1.0, measured - 6 * resolution), min(1.0, measured + 6 * resolution)]
        value, _ = integrate.quad(
            integrand, -1, 1, points=[*near, measured], epsabs=1e-12, limit=200
        )
        return float(value)

    sigma = density.beams.yields(values).item()
    for c in (-0.9, -0.3, 0.0, 0.5, 0.94):
        expected = sigma * ((1 - wrong) * smeared(c) + wrong * smeared(-c))
        found = density.log_differential(torch.tensor([[c]], dtype=torch.float64), values).exp()
        assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("parameter", SCORED)
@pytest.mark.parametrize("name", CHAINS)
def test_score_is_the_mean_joint_score(name: str, parameter: str) -> None:
    """E[∇ log p(x, z | θ) | x] = ∇ log p(x | θ), in 20 bins of x: χ² of the mean differences.

    Where the history adds nothing to x the two are the same event by event.
    """
    chain, density, trace, values = simulated(name)
    x = observed(density, trace)
    joint = joint_score(chain, trace, values, parameter)[trace.state["selected"]]

    def log_density(value: Tensor) -> Tensor:
        at = {**values, parameter: value}
        total = chain.stages[0].cross_section(at)
        assert total is not None
        return density.log_differential(x, at) - total.log()

    at = values[parameter]
    exact = torch.func.jvp(log_density, (at,), (torch.ones_like(at),))[1]
    difference = (joint - exact).numpy()
    if difference.std() < 1e-9 * np.abs(exact.numpy()).max():
        assert np.abs(difference).max() < 1e-9 * np.abs(exact.numpy()).max()
        return
    bins = np.digitize(x[:, 0].numpy(), np.linspace(-density.cos_max, density.cos_max, 21)) - 1
    z = [
        part.mean() / part.std() * math.sqrt(len(part))
        for part in (difference[bins == b] for b in range(20))
    ]
    assert stats.chi2.sf(np.sum(np.square(z)), 20) > FALSE_ALARM


def test_many_points_at_once_are_each_alone() -> None:
    _, density, trace, values = simulated("scan")
    x = observed(density, trace)[:50]
    column = torch.tensor([[0.22], [0.24]], dtype=torch.float64)
    together = density.log_prob(x, values | {"sin2_theta_w": column})

    assert together.shape == (2, 50)
    for row, value in zip(together, column, strict=True):
        torch.testing.assert_close(
            row, density.log_prob(x, values | {"sin2_theta_w": value.squeeze()})
        )


def test_beyond_the_selection_there_is_nothing() -> None:
    _, density, _, values = simulated("one energy")
    x = torch.tensor([[0.949], [0.951], [-1.0]], dtype=torch.float64)

    assert density.log_prob(x, values).isfinite().tolist() == [True, False, False]


@pytest.mark.parametrize("kappa", [4.0, 16.0, 400.0, 1e4, 1e6])
def test_smearing_factors_are_ratios_of_bessel_functions(kappa: float) -> None:
    found = smearing_factors(torch.tensor(kappa, dtype=torch.float64)).numpy()
    expected = special.ive(np.arange(5) + 0.5, kappa) / special.ive(0.5, kappa)

    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_another_chain_has_no_such_density() -> None:
    with pytest.raises(SimulationError, match="expected those of the process 'ee_mumu'"):
        ElectronPositronDensity.of(process("zmumu"))
