"""p p → γ*/Z → μ⁺μ⁻."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.reconstruction import DIMUON_COLUMNS, MUON_COLUMNS, DimuonReconstruction
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil


def zmumu(
    sqrt_s: float = 7000.0,
    generated_mass: tuple[float, float] = (50.0, 150.0),
    running_width: bool = True,
    photon_x_min: float = 1e-5,
    charge_flip: float = 1e-4,
    pt_min: float = 20.0,
    eta_max: float = 2.1,
    mass: tuple[float, float] = (60.0, 120.0),
) -> Chain:
    """p p → γ*/Z → μ⁺μ⁻ through recoil, photon radiation and a muon detector.

    Arguments:
        sqrt_s: GeV.
        generated_mass: Range of the mass before radiation, GeV.
        running_width: m_Z as the world average defines it, with a width that runs with s.
        photon_x_min: The smallest photon energy fraction.
        charge_flip: Probability to mistake a charge.
        pt_min: GeV, of both muons.
        eta_max: |η| of both muons.
        mass: Selected range of the pair's mass, GeV.
    """
    stages = [
        DrellYan(sqrt_s, generated_mass, running_width),
        InitialStateRecoil(),
        FinalStateRadiation(photon_x_min),
        MuonDetector(charge_flip),
        DimuonReconstruction(pt_min, eta_max, mass),
    ]
    return Chain(stages, observables=MUON_COLUMNS | DIMUON_COLUMNS, name="zmumu")
