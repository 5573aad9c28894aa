"""p p → two jets, with a resonance on the falling spectrum."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.dijet import DijetParton
from hepgen.simulators.dijet_detector import JetResponse, OutOfCone
from hepgen.simulators.dijet_reconstruction import (
    DIJET_COLUMNS,
    JET_COLUMNS,
    DijetReconstruction,
)


def dijet_bump(
    sqrt_s: float = 13_000.0,
    generated_mass: tuple[float, float] = (900.0, 5000.0),
    signal_cross_section: float = 1.0,
    background_cross_section: float = 1000.0,
    spin: int = 1,
    cos_theta_max: float = 0.6,
    resolution_noise: float = 5.0,
    resolution_stochastic: float = 1.0,
    resolution_constant: float = 0.04,
    pt_min: float = 60.0,
    eta_max: float = 2.5,
    delta_y_max: float = 1.3,
    mass: tuple[float, float] = (1200.0, 4500.0),
) -> Chain:
    """p p → two jets: a resonance of strength μ, of either sign, on a falling spectrum.

    Arguments:
        sqrt_s: GeV.
        generated_mass: Range of the mass of the two partons, GeV.
        signal_cross_section: S in pb, of the signal at μ = 1 in the generated range.
        background_cross_section: B in pb, of the background in the generated range.
        spin: Of the resonance, 0 or 1.
        cos_theta_max: Largest absolute cos θ* generated; tanh(``delta_y_max``/2) of it is selected.
        resolution_noise: n of the jet resolution √(n²/pT² + s²/pT + c²), GeV.
        resolution_stochastic: s of it, √GeV.
        resolution_constant: c of it.
        pt_min: GeV, of both jets.
        eta_max: |η| of both jets.
        delta_y_max: |Δy| of the two jets.
        mass: Selected range of the pair's mass, GeV.
    """
    stages = [
        DijetParton(
            sqrt_s, generated_mass, signal_cross_section, background_cross_section, spin,
            cos_theta_max,
        ),
        OutOfCone(),
        JetResponse(resolution_noise, resolution_stochastic, resolution_constant),
        DijetReconstruction(pt_min, eta_max, delta_y_max, mass),
    ]  # fmt: skip
    return Chain(stages, observables=JET_COLUMNS | DIJET_COLUMNS, name="dijet_bump")
