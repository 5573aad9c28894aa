"""e⁺e⁻ → μ⁺μ⁻: published numbers, the form of the PDG, Fisher information, and a detector.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.augment import fisher_information, joint_score
from hepgen.simulators.chain import Chain
from hepgen.simulators.distributions import HelicityAngle
from hepgen.simulators.ee_mumu import AngleReconstruction, DirectionDetector, ElectronPositron
from hepgen.simulators.electroweak import PICOBARN
from hepgen.simulators.processes.registry import process
from tests.simulators.test_electroweak import ELECTRON, pdg

FALSE_ALARM = 1e-4
ENERGIES = (60.0, 89.0, 91.1876, 93.0, 120.0)


def defaults(**changed: float) -> dict[str, Tensor]:
    return Chain([ElectronPositron()]).parameters.values(None, **changed)


@pytest.mark.parametrize(
    ("energy", "sigma", "asymmetry"),
    [
        (60.0, 29.58, -0.374),
        (89.0, 487.8, -0.188),
        (91.1876, 2011.3, 0.0167),
        (93.0, 672.0, 0.176),
        (120.0, 11.81, 0.736),
    ],
)
def test_cross_section_and_asymmetry(energy: float, sigma: float, asymmetry: float) -> None:
    beams = ElectronPositron((energy,), (1.0,))
    found = 0.75 * (2 * beams.like(defaults()).item() - 1)

    assert beams.cross_section(defaults()).item() == pytest.approx(sigma, rel=1e-3)
    # The asymmetries are given to three digits.
    assert found == pytest.approx(asymmetry, abs=5e-5 if abs(asymmetry) < 0.1 else 5e-4)


@pytest.mark.parametrize("sin2", [0.2, 0.2312, 0.3])
def test_the_angle_is_that_of_the_pdg(sin2: float) -> None:
    beams = ElectronPositron(ENERGIES, (1.0,) * 5)
    theta = defaults(sin2_theta_w=sin2)
    for c in (-0.9, 0.0, 0.4, 1.0):
        density = (
            HelicityAngle(beams.like(theta)).log_prob(torch.tensor(c, dtype=torch.float64)).exp()
        )
        found = 5 * beams.yields(theta) * density
        expected = [PICOBARN * pdg(e**2, c, ELECTRON, sin2) for e in ENERGIES]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def derivative(function: Any, name: str = "sin2_theta_w") -> Tensor:
    theta = defaults()
    one = torch.ones((), dtype=torch.float64)
    slope: Tensor = torch.func.jvp(lambda v: function({**theta, name: v}), (theta[name],), (one,))[
        1
    ]
    return slope


INFORMATION = [(91.1876, 3.53), (89.0, 7.68), (93.0, 1.34)]


@pytest.mark.parametrize(("energy", "expected"), INFORMATION)
def test_information_of_the_angle_by_quadrature(energy: float, expected: float) -> None:
    beams = ElectronPositron((energy,), (1.0,))
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(40))

    def log_density(theta: dict[str, Tensor]) -> Tensor:
        return HelicityAngle(beams.like(theta)).log_prob(nodes)

    score = derivative(log_density)
    found = (weights * log_density(defaults()).exp() * score.square()).sum().item()

    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("energy", "expected"), INFORMATION)
def test_information_of_the_angle_from_the_joint_score(energy: float, expected: float) -> None:
    chain = Chain([ElectronPositron((energy,), (1.0,))])
    trace = chain.simulate(defaults(), 400_000, seed=3)
    score = joint_score(chain, trace, defaults(), "sin2_theta_w")[0].numpy()
    found = fisher_information({"sin2_theta_w": score})

    assert found.error[0, 0] < 0.003 * expected
    assert found.matrix[0, 0] == pytest.approx(expected, rel=0.01)


def test_information_of_the_rate_at_the_peak() -> None:
    """(∂ ln σ)²: what the number of events adds for each expected event."""
    beams = ElectronPositron()
    slope = derivative(lambda theta: beams.cross_section(theta).log()).item()

    assert slope**2 == pytest.approx(51.9, rel=1e-2)


def test_a_scan_visits_each_energy_as_luminosity_times_cross_section() -> None:
    energies, luminosities = (89.0, 91.1876, 93.0), (3.0, 1.0, 2.0)
    chain = Chain([ElectronPositron(energies, luminosities)])
    drawn = chain.simulate(defaults(), 200_000, seed=4).state
    single = [ElectronPositron((e,), (1.0,)).cross_section(defaults()).item() for e in energies]
    expected = np.array(luminosities) * single
    share = expected / expected.sum()

    found = np.bincount(drawn["energy_point"][0].numpy(), minlength=3)
    assert stats.chisquare(found, 200_000 * share).pvalue > FALSE_ALARM
    at = torch.tensor(energies, dtype=torch.float64)[drawn["energy_point"]]
    assert torch.equal(drawn["energy"], at)
    mean = ElectronPositron(energies, luminosities).cross_section(defaults()).item()
    assert mean == pytest.approx(expected.sum() / 6, rel=1e-12)


def test_only_the_ratios_of_luminosities_matter() -> None:
    one, ten = (ElectronPositron((89.0, 93.0), (x, 3 * x)) for x in (1.0, 10.0))

    torch.testing.assert_close(one.yields(defaults()), ten.yields(defaults()))


@pytest.mark.parametrize("resolution", [0.001, 0.05, 0.5])
def test_smearing_is_that_of_von_mises_and_fisher(resolution: float) -> None:
    """⟨n̂'·n̂⟩ = coth κ − 1/κ; for small angles each component has the width σ."""
    chain = process("ee_mumu")
    theta = chain.parameters.values(None, angular_resolution=resolution, charge_confusion=0.0)
    state = chain.simulate(theta, 100_000, seed=5).state
    angles = [(state["cos_theta"], state["phi"])]
    angles.append((state["measured_cos_theta"], state["measured_phi"]))
    (c, phi), (c2, phi2) = [(a[0].numpy(), b[0].numpy()) for a, b in angles]
    cosine = c * c2 + np.sqrt((1 - c**2) * (1 - c2**2)) * np.cos(phi - phi2)

    kappa = resolution**-2
    deflection = (1 - cosine) * kappa
    expected = kappa * (1 - (1 / math.tanh(kappa) - 1 / kappa))
    error = deflection.std() / math.sqrt(len(c))
    assert abs(deflection.mean() - expected) < 4 * error
    if resolution < 0.1:
        assert deflection.mean() == pytest.approx(1.0, rel=0.02)


def test_charge_confusion_turns_the_pair_round() -> None:
    chain = process("ee_mumu", energies=(120.0,))
    asymmetries = []
    for confusion in (0.0, 0.25, 0.5):
        theta = chain.parameters.values(None, charge_confusion=confusion)
        state = chain.simulate(theta, 100_000, seed=6).state
        forward = (state["Dimuon_cos_theta"][state["selected"]] > 0).double()
        asymmetries.append(2 * forward.mean().item() - 1)

    error = 4 / math.sqrt(85_000)
    assert asymmetries[1] == pytest.approx(asymmetries[0] / 2, abs=2 * error)
    assert asymmetries[2] == pytest.approx(0, abs=error)


def test_lost_pairs_are_not_selected_and_have_no_angle() -> None:
    chain = process("ee_mumu", cos_max=0.8)
    theta = chain.parameters.values(None, pair_efficiency=0.5)
    state = chain.simulate(theta, 10_000, seed=7).state

    assert 0.4 < state["found"].double().mean() < 0.5
    assert (state["Dimuon_cos_theta"][~state["found"]] == 0).all()
    assert (state["Dimuon_cos_theta"][state["selected"]].abs() < 0.8).all()
    assert not (state["selected"] & ~state["found"]).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ElectronPositron((91.0, 92.0), (1.0,)), "2 energies with 1 luminosities"),
        (lambda: ElectronPositron((), ()), "0 energies"),
        (lambda: ElectronPositron((-91.0,), (1.0,)), "expected positive numbers"),
        (lambda: ElectronPositron((91.0,), (0.0,)), "expected positive numbers"),
        (lambda: AngleReconstruction(1.5), "cos_max = 1.5"),
        (lambda: process("ee_mumu", energies=[]), "expected a list of numbers"),
        (lambda: process("ee_mumu", energies="91"), "expected a list of numbers"),
    ],
)
def test_options_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        make()


def test_stages_have_parameters_of_their_own() -> None:
    names = [p.name for p in (*ElectronPositron.parameters, *DirectionDetector.parameters)]

    assert len(set(names)) == len(names)
