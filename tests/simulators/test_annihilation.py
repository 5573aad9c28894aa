"""e⁺e⁻ → q q̄ against the form of the Review of Particle Physics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.annihilation import QUARKS, QuarkPairs
from hepgen.simulators.chain import Chain

M_Z, GAMMA_Z, S_W, ALPHA = 91.1876, 2.4952, 0.2312, 1 / 128
EVENTS = 200_000


def total(energy: float, charge: float, isospin: float) -> float:
    """σ(e⁺e⁻ → q q̄) in pb, PDG review of cross-section formulae."""
    s = energy**2
    d = (s - M_Z**2) ** 2 + M_Z**2 * GAMMA_Z**2
    chi1 = s * (s - M_Z**2) / (16 * S_W * (1 - S_W) * d)
    chi2 = s**2 / (256 * S_W**2 * (1 - S_W) ** 2 * d)
    v_e, a_f, v_f = -1 + 4 * S_W, 2 * isospin, 2 * isospin - 4 * charge * S_W
    even = charge**2 - 2 * chi1 * v_e * v_f * charge + chi2 * (1 + v_e**2) * (a_f**2 + v_f**2)
    return 3.8938e8 * 2 * math.pi * ALPHA**2 / (4 * s) * 3 * even * 8 / 3


def theta() -> dict[str, Tensor]:
    return Chain([QuarkPairs()]).parameters.values()


@pytest.mark.parametrize("energy", [30.0, 60.0, 89.0, M_Z, 93.0, 200.0])
def test_cross_section_is_that_of_the_review(energy: float) -> None:
    stage = QuarkPairs(energy, running_width=False)
    expected = sum(total(energy, *quark) for quark in QUARKS)

    assert stage.cross_section(theta()).item() == pytest.approx(expected, rel=1e-9)


def test_flavours_come_with_their_cross_sections() -> None:
    """χ² of five counts, false alarm 10⁻⁴: 23.5 for four degrees of freedom."""
    chain = Chain([QuarkPairs(running_width=False)])
    flavour = chain.simulate(theta(), EVENTS, seed=1).state["hard_flavour"]
    each = torch.tensor([total(M_Z, *quark) for quark in QUARKS], dtype=torch.float64)
    expected = EVENTS * each / each.sum()
    counts = torch.bincount(flavour.flatten(), minlength=6)[1:]

    assert ((counts - expected).square() / expected).sum() < 23.5


def test_quarks_follow_the_electron_as_the_asymmetry_says() -> None:
    """A_FB of b quarks at the pole: ¾ A_e A_b, with 4 standard errors and the photon's part."""
    state = Chain([QuarkPairs()]).simulate(theta(), EVENTS, seed=2).state
    c = state["cos_theta"][state["hard_flavour"] == 5]
    v_e, v_b = 1 - 4 * S_W, 1 - 4 / 3 * S_W
    expected = 0.75 * (2 * v_e / (1 + v_e**2)) * (2 * v_b / (1 + v_b**2))

    assert c.sign().mean().item() == pytest.approx(expected, abs=4 / math.sqrt(len(c)) + 0.005)


def test_an_energy_without_five_quarks_is_an_error() -> None:
    with pytest.raises(WorkflowError, match="√s = 3"):
        QuarkPairs(3.0)
