"""The muon detector: the numbers of the Delphes card, and what is drawn from them.

Statistical tests are refused at 4 standard errors or p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detector import MuonDetector, efficiency, relative_resolution
from hepgen.simulators.stage import Stage, State

FALSE_ALARM = 1e-4


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Gun(Stage):
    """Two muons of given pT and η in every event."""

    name = "gun"
    provides = ("muon_pt", "muon_eta", "muon_phi")

    def __init__(self, pt: tuple[float, float], eta: tuple[float, float]) -> None:
        self.pt, self.eta = real(*pt), real(*eta)

    def __call__(self, state: State, parameters: object) -> State:  # noqa: ARG002
        shape = (*state["event"].shape, 2)
        phi = torch.zeros(shape, dtype=torch.float64)
        muons = {"muon_pt": self.pt.expand(shape), "muon_eta": self.eta.expand(shape)}
        return state | muons | {"muon_phi": phi}


def shoot(
    pt: tuple[float, float],
    eta: tuple[float, float],
    n: int = 40_000,
    charge_flip: float = 1e-4,
    **changed: float,
) -> Trace:
    chain = Chain([Gun(pt, eta), MuonDetector(charge_flip)])
    return chain.simulate(chain.parameters.values(None, **changed), n, seed=1)


@pytest.mark.parametrize(
    ("pt", "eta", "expected"),
    [
        (9.9, 0.3, 0.0),
        (10.1, 0.3, 0.95 * 0.99),
        (45.0, 1.49, 0.95 * 0.99),
        (45.0, 1.51, 0.95 * 0.98),
        (45.0, 2.39, 0.95 * 0.98),
        (45.0, 2.41, 0.0),
        (2000.0, 0.3, 0.95 * 0.99 * math.exp(0.5 - 1.0)),
    ],
)
def test_efficiency_of_the_card(pt: float, eta: float, expected: float) -> None:
    assert efficiency(real(pt), real(eta)).item() == pytest.approx(expected, rel=1e-12)


def test_efficiency_is_continuous_at_one_tev() -> None:
    below, above = efficiency(real(1000.0, 1000.001), real(0.3, 0.3)).tolist()

    assert above == pytest.approx(below, rel=1e-5)


@pytest.mark.parametrize(
    ("eta", "constant", "slope"),
    [(0.2, 0.010, 1.0e-4), (0.9, 0.015, 1.5e-4), (2.0, 0.025, 3.5e-4)],
)
def test_resolution_of_the_card(eta: float, constant: float, slope: float) -> None:
    for pt in (10.0, 45.0, 500.0):
        expected = math.sqrt(constant**2 + (slope * pt) ** 2)
        assert relative_resolution(real(pt), real(eta)).item() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.05])
def test_share_of_muons_found(scale: float) -> None:
    """In one event a barrel and an endcap muon are found independently."""
    found = shoot((45.0, 30.0), (0.3, -2.0), muon_efficiency=scale).state["found"][0].double()
    expected = scale * 0.95 * np.array([0.99, 0.98])
    error = 4 * np.sqrt(expected * (1 - expected) / len(found))

    assert (np.abs(found.mean(0).numpy() - expected) <= error).all()
    both = expected.prod()
    tolerance = 4 * math.sqrt(both * (1 - both) / len(found))
    assert found.prod(-1).mean().item() == pytest.approx(both, abs=tolerance)


def test_nothing_is_found_outside_the_acceptance() -> None:
    state = shoot((9.0, 45.0), (0.3, 2.5)).state

    assert not state["found"].any()
    assert (state["measured_pt"] == 0).all()


@pytest.mark.parametrize(("scale", "resolution"), [(0.0, 1.0), (0.01, 1.6), (-0.02, 10.0)])
def test_measured_momentum_is_log_normal(scale: float, resolution: float) -> None:
    """With the mean pT(1 + scale) and the relative width resolution·√(a² + b²pT²)."""
    pt, eta = (45.0, 30.0), (0.3, -2.0)
    state = shoot(pt, eta, muon_scale=scale, muon_resolution=resolution).state
    for slot in (0, 1):
        found = state["found"][0, :, slot]
        measured = state["measured_pt"][0, found, slot].numpy()
        width = resolution * relative_resolution(real(pt[slot]), real(abs(eta[slot]))).item()
        sigma = math.sqrt(math.log1p(width**2))
        mean = pt[slot] * (1 + scale)
        expected = stats.lognorm(s=sigma, scale=mean * math.exp(-(sigma**2) / 2))

        assert expected.mean() == pytest.approx(mean)
        assert expected.std() / mean == pytest.approx(width)
        assert stats.kstest(measured, expected.cdf).pvalue > FALSE_ALARM


def test_charges() -> None:
    """Slot 0 is the μ⁻, slot 1 the μ⁺; a share of those found is flipped."""
    state = shoot((45.0, 45.0), (0.3, 0.3), charge_flip=0.1).state
    found, charge = state["found"][0], state["measured_charge"][0]
    truth = real(-1.0, 1.0)

    assert (charge.abs() == 1).all()
    wrong = (charge != truth)[found].double()
    error = 4 * math.sqrt(0.1 * 0.9 / len(wrong))
    assert wrong.mean().item() == pytest.approx(0.1, abs=error)


def test_charges_are_right_when_none_is_flipped() -> None:
    charge = shoot((45.0, 45.0), (0.3, 0.3), charge_flip=0.0).state["measured_charge"]

    assert (charge == real(-1.0, 1.0)).all()


def test_score_of_the_momentum_scale() -> None:
    """∂ log p/∂scale of a log-normal is Σ z/(b(1 + scale)), summed over muons found."""
    chain = Chain([Gun((45.0, 30.0), (0.3, -2.0)), MuonDetector()])
    values = chain.parameters.values()
    trace = chain.simulate(values, 1000, seed=2)
    scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    log_prob = chain.log_prob(trace, values | {"muon_scale": scale})
    (gradient,) = torch.autograd.grad(log_prob.sum(), scale)

    pt, found = real(45.0, 30.0), trace.state["found"][0]
    b2 = torch.log1p(relative_resolution(pt, real(0.3, 2.0)).square())
    measured = torch.where(found, trace.state["measured_pt"][0], 1.0)
    score = torch.where(found, (measured.log() - pt.log() + b2 / 2) / b2, 0.0)
    assert log_prob.shape == (1, 1000)
    assert gradient.item() == pytest.approx(score.sum().item(), rel=1e-9)


def test_score_of_the_efficiency() -> None:
    """∂ log p/∂ε-scale is found/s − (1 − found)·ε/(1 − sε), summed over muons."""
    chain = Chain([Gun((45.0, 30.0), (0.3, -2.0)), MuonDetector()])
    values = chain.parameters.values(None, muon_efficiency=0.8)
    trace = chain.simulate(values, 1000, seed=2)
    scale = values["muon_efficiency"].clone().requires_grad_()
    log_prob = chain.log_prob(trace, values | {"muon_efficiency": scale})
    (gradient,) = torch.autograd.grad(log_prob.sum(), scale)

    found = trace.state["found"][0].double()
    card = 0.95 * real(0.99, 0.98)
    score = found / 0.8 - (1 - found) * card / (1 - 0.8 * card)
    assert gradient.item() == pytest.approx(score.sum().item(), rel=1e-6)
