"""The Les Houches toy densities: sum rules, positivity, the published coefficients."""

from __future__ import annotations

import pytest
import torch
from scipy.integrate import quad

from hepgen.simulators.pdf import QUARKS, momentum_sum, toy_densities, valence_sums


def density(flavour: str, x: float) -> float:
    return float(toy_densities(torch.tensor(x, dtype=torch.float64).log())[flavour])


def test_valence_quarks_of_a_proton() -> None:
    up, down = valence_sums()

    assert up == pytest.approx(2, abs=1e-5)
    assert down == pytest.approx(1, abs=1e-5)


def test_partons_carry_all_the_momentum() -> None:
    assert momentum_sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("quark", "number"), [("u", 2), ("d", 1), ("s", 0)])
def test_valence_number_by_another_quadrature(quark: str, number: int) -> None:
    """With x = t⁵, which removes the singularity at x → 0, and scipy's adaptive rule."""

    def integrand(t: float) -> float:
        x = t**5
        return 5 / t * (density(quark, x) - density(quark + "bar", x))

    assert quad(integrand, 1e-9, 1)[0] == pytest.approx(number, abs=1e-5)


def test_published_coefficients() -> None:
    """hep-ph/0204316, Eq. 31, written once more."""
    for x in (1e-4, 0.03, 0.5, 0.9):
        dbar = 0.1939875 * x**-0.1 * (1 - x) ** 6
        ubar = (1 - x) * dbar
        assert density("dbar", x) == pytest.approx(dbar, rel=1e-12)
        assert density("ubar", x) == pytest.approx(ubar, rel=1e-12)
        assert density("s", x) == pytest.approx(0.2 * (ubar + dbar), rel=1e-12)
        assert density("g", x) == pytest.approx(1.7 * x**-0.1 * (1 - x) ** 5, rel=1e-12)
        assert density("u", x) - ubar == pytest.approx(5.1072 * x**0.8 * (1 - x) ** 3, rel=1e-12)
        assert density("d", x) - dbar == pytest.approx(3.06432 * x**0.8 * (1 - x) ** 4, rel=1e-12)


def test_densities_are_positive_and_vanish_at_the_end() -> None:
    log_x = torch.linspace(-15, 0, 2000, dtype=torch.float64)
    for values in toy_densities(log_x).values():
        assert (values[:-1] > 0).all()
        assert values[-1] == 0


def test_quantum_numbers_of_the_quarks() -> None:
    """Gell-Mann–Nishijima for left-handed quarks: Q = T₃ + 1/6."""
    for _, charge, isospin in QUARKS:
        assert charge == pytest.approx(isospin + 1 / 6)
