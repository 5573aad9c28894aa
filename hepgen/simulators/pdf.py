"""Parton densities: the Les Houches toy set, unevolved."""

from __future__ import annotations

import torch
from torch import Tensor


def toy_densities(log_x: Tensor) -> dict[str, Tensor]:
    """x·f(x) of the Les Houches toy set at Q₀² = 2 GeV², used at every scale.

    Giele et al., hep-ph/0204316, Eq. 31. It is not evolved: sea quarks are far too few at
    small x and large Q, so cross-sections are too low and rapidities too central.

    Arguments:
        log_x: ln x, any shape.

    Returns:
        x·f by flavour: ``u, d, s, ubar, dbar, sbar, g``, each of the shape of ``log_x``.
    """
    x = log_x.exp()
    rest = 1 - x
    power = (0.8 * log_x).exp()
    rest3 = rest * rest * rest
    u_valence = 5.107200 * power * rest3
    d_valence = 3.064320 * power * rest3 * rest
    soft = (-0.1 * log_x).exp()
    rest5 = rest3 * rest * rest
    dbar = 0.1939875 * soft * rest5 * rest
    ubar = rest * dbar
    sbar = 0.2 * (ubar + dbar)
    return {
        "u": u_valence + ubar, "d": d_valence + dbar, "s": sbar,
        "ubar": ubar, "dbar": dbar, "sbar": sbar, "g": 1.7 * soft * rest5,
    }  # fmt: skip


#: Quark flavours of the set, as (name, electric charge, weak isospin).
QUARKS: tuple[tuple[str, float, float], ...] = (
    ("u", 2 / 3, 1 / 2), ("d", -1 / 3, -1 / 2), ("s", -1 / 3, -1 / 2),
)  # fmt: skip


def momentum_sum() -> float:
    """∫ Σ x·f dx over all partons, by Gauss–Legendre in ln x: 1 for a proper set."""
    return float(_integrate(lambda f, x: sum(f.values()) * x))


def valence_sums() -> tuple[float, float]:
    """(∫(u − ubar), ∫(d − dbar)): (2, 1) for a proton."""
    return (
        float(_integrate(lambda f, _: f["u"] - f["ubar"])),
        float(_integrate(lambda f, _: f["d"] - f["dbar"])),
    )


def _integrate(integrand: object) -> Tensor:
    log_x = torch.linspace(-40.0, 0.0, 200_001, dtype=torch.float64)
    values = integrand(toy_densities(log_x), log_x.exp())  # type: ignore[operator]
    return torch.trapezoid(values, log_x)
