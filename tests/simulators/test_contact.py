"""High-mass Drell–Yan with a contact interaction against published and independent numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import quad
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Chain
from hepgen.simulators.contact import ContactDrellYan
from hepgen.simulators.electroweak import PICOBARN, Contact, helicity_sum
from hepgen.simulators.luminosity import Rapidity
from hepgen.simulators.processes.registry import process
from hepgen.simulators.shower import InitialStateRecoil
from tests.simulators.test_parton import densities

M_Z, GAMMA_Z, SIN2, ALPHA = 91.1876, 2.4952, 0.2312, 1 / 128
COUPLINGS = {"c_ll": -0.2, "c_lr": 0.1, "c_rl": 0.3, "c_rr": -0.05}
QUARKS = {"u": (2 / 3, 0.5), "d": (-1 / 3, -0.5), "s": (-1 / 3, -0.5)}


def real(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def squares(s: float, quark: tuple[float, float], c: dict[str, float]) -> NDArray[np.float64]:
    """|A_XY|² from complex amplitudes, rows the helicity of the quark (L, R)."""
    charge, isospin = quark

    def couplings(q: float, t3: float) -> NDArray[np.float64]:
        return np.array([t3 - q * SIN2, -q * SIN2]) / math.sqrt(SIN2 * (1 - SIN2))

    resonance = np.outer(couplings(charge, isospin), couplings(-1.0, -0.5))
    propagator = 1 / (s - M_Z**2 + 1j * M_Z * GAMMA_Z)
    contact = 1e-6 * np.array([[c["c_ll"], c["c_lr"]], [c["c_rl"], c["c_rr"]]])
    amplitude = 4 * math.pi * ALPHA * (-charge / s + resonance * propagator) + contact
    return np.asarray(np.abs(amplitude) ** 2)


@pytest.mark.parametrize("quark", QUARKS.values())
@pytest.mark.parametrize("energy", [200.0, 1000.0, 3000.0])
def test_squares_of_complex_amplitudes(energy: float, quark: tuple[float, float]) -> None:
    expected = squares(energy**2, quark, COUPLINGS)
    contact = Contact(*(real(1e-6 * value) for value in COUPLINGS.values()))
    found = helicity_sum(
        real(energy**2), real(M_Z), real(GAMMA_Z), real(SIN2), *quark, contact=contact
    )

    assert found.like.item() == pytest.approx(expected[0, 0] + expected[1, 1], rel=1e-12)
    assert found.unlike.item() == pytest.approx(expected[0, 1] + expected[1, 0], rel=1e-12)


def test_no_contact_interaction_is_bit_for_bit_the_standard_model() -> None:
    theory = (real(M_Z), real(GAMMA_Z), real(SIN2), 2 / 3, 0.5)
    s = torch.linspace(50.0, 3000.0, 500, dtype=torch.float64).square()
    without = helicity_sum(s, *theory)
    zero = helicity_sum(s, *theory, contact=Contact(*[real(0.0)] * 4))

    assert torch.equal(without.like, zero.like)
    assert torch.equal(without.unlike, zero.unlike)


@pytest.mark.parametrize(("sign", "femtobarn"), [(0, 11.2), (1, 45.5), (-1, 68.5)])
def test_cross_sections_between_one_and_three_tev(sign: int, femtobarn: float) -> None:
    """c_LL = ±4π/Λ², Λ = 10 TeV: the negative sign is constructive."""
    stage = ContactDrellYan(13_000.0, (1000.0, 3000.0))
    values = Chain([stage]).parameters.values(None, c_ll=sign * 4 * math.pi / 10**2)

    assert 1000 * stage.cross_section(values).item() == pytest.approx(femtobarn, abs=0.05)


def dsigma(mass: float, c: dict[str, float]) -> float:
    """dσ/dM in pb/GeV by quadrature of the integrand over the rapidity."""
    s, total = mass**2, 0.0
    y_max = math.log(13_000.0 / mass)
    for name, quark in QUARKS.items():

        def luminosity(y: float, name: str = name) -> float:
            one, two = (densities(np.array(mass / 13_000.0 * math.exp(z))) for z in (y, -y))
            return float(one[name] * two[name + "bar"] + one[name + "bar"] * two[name])

        sigma = PICOBARN / 3 * s / (48 * math.pi) * squares(s, quark, c).sum()
        total += 2 / mass * quad(luminosity, -y_max, y_max, epsrel=1e-10, limit=200)[0] * sigma
    return total


@pytest.mark.parametrize("couplings", [dict.fromkeys(COUPLINGS, 0.0), COUPLINGS])
def test_the_table_is_the_spectrum(couplings: dict[str, float]) -> None:
    """Between its nodes too, where the polygon is off by (n h)²/8 for a power n of the mass."""
    stage = ContactDrellYan()
    values = Chain([stage]).parameters.values(None, **couplings)
    masses = [701.3, 1000.0, 1500.3, 2999.0, 3900.1]
    log_mass = torch.tensor(masses, dtype=torch.float64).log()
    found = stage._at(stage.channels(values), log_mass[None]).sum(-1)[0] / log_mass.exp()

    np.testing.assert_allclose(found.numpy(), [dsigma(m, couplings) for m in masses], rtol=3e-4)


@pytest.mark.parametrize(("row", "quark"), list(enumerate(QUARKS)))
def test_the_rapidity_is_that_of_the_luminosity(row: int, quark: str) -> None:
    mass, line = 1234.5, np.linspace(-1.8, 1.8, 7)

    def luminosity(y: float) -> float:
        one, two = (densities(np.array(mass / 13_000.0 * math.exp(z))) for z in (y, -y))
        return float(one[quark] * two[quark + "bar"] + one[quark + "bar"] * two[quark])

    y_max = math.log(13_000.0 / mass)
    total = quad(luminosity, -y_max, y_max, epsrel=1e-10, limit=200)[0]
    log_mass = torch.full((7,), math.log(mass), dtype=torch.float64)
    drawn_from = Rapidity(ContactDrellYan().rapidities, log_mass, torch.full((7,), row))
    found = drawn_from.log_prob(torch.from_numpy(line)).exp().numpy()

    np.testing.assert_allclose(found, [luminosity(y) / total for y in line], rtol=5e-3, atol=1e-3)


def test_interference_has_the_sign_of_the_flavour() -> None:
    """Re A_LL of the photon and the Z is negative for u quarks and positive for d and s."""
    stage = ContactDrellYan()
    chain = Chain([stage])
    plus, minus, none = (
        stage.channels(chain.parameters.values(None, c_ll=c))[0, ::2] for c in (0.1, -0.1, 0.0)
    )
    linear, quadratic = plus - minus, (plus + minus) / 2 - none

    assert (linear[0] < 0).all()
    assert (linear[1:] > 0).all()
    # The u quarks win: in a proton the sum is negative at every mass.
    assert (linear.sum(0) < 0).all()
    assert (quadratic > 0).all()


def test_high_masses_gain_most() -> None:
    chain = process("dy_eft")
    medians = []
    for c in (0.0, -0.5):
        state = chain.simulate(chain.parameters.values(None, c_ll=c), 20_000, seed=3).state
        selected = state["selected"]
        assert (state["Dimuon_mass"][selected] > 1000).all()
        assert (state["Dimuon_mass"][selected] < 3000).all()
        medians.append(state["Dimuon_mass"][selected].median().item())

    assert medians[1] > 1.1 * medians[0]


def test_the_recoil_is_evaluated_where_it_is_told() -> None:
    """α_s at k falls with M at one k/M, so the recoil takes a smaller share of a larger mass."""
    shares = []
    for mass in (91.1876, 1000.0):
        stage = InitialStateRecoil(mass)
        assert stage.grid[0].exp().item() * mass == pytest.approx(0.5)
        spectrum = stage._spectrum({"alpha_s": real(0.1365)})
        below = spectrum.cumulative[0] / spectrum.integral
        shares.append(float(np.interp(0.5, below.numpy(), stage.grid.exp().numpy())))

    assert shares[1] < 0.8 * shares[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContactDrellYan(13_000.0, (100.0, 3000.0)), "150 <= low < high"),
        (lambda: ContactDrellYan(2000.0, (1000.0, 3000.0)), "150 <= low < high"),
        (lambda: process("dy_eft", generated_mass=(700.0, 9000.0)), "tabulated up to 8000 GeV"),
        (lambda: InitialStateRecoil(0.5), "expected more than 1 GeV"),
    ],
)
def test_options_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        make()
