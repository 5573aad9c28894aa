"""p p → γ*/Z → μ⁺μ⁻ at high mass, with a contact interaction."""

from __future__ import annotations

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Chain
from hepgen.simulators.contact import ContactDrellYan
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.reconstruction import DIMUON_COLUMNS, MUON_COLUMNS, DimuonReconstruction
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil, PhotonSpectrum


def dy_eft(
    sqrt_s: float = 13_000.0,
    generated_mass: tuple[float, float] = (700.0, 4000.0),
    photon_x_min: float = 1e-5,
    charge_flip: float = 1e-4,
    pt_min: float = 50.0,
    eta_max: float = 2.4,
    mass: tuple[float, float] = (1000.0, 3000.0),
) -> Chain:
    """p p → γ*/Z → μ⁺μ⁻ at high mass with a contact interaction, as a detector sees it.

    Arguments:
        sqrt_s: GeV.
        generated_mass: Range of the mass before radiation, GeV.
        photon_x_min: The smallest photon energy fraction.
        charge_flip: Probability to mistake a charge.
        pt_min: GeV, of both muons.
        eta_max: |η| of both muons.
        mass: Selected range of the pair's mass, GeV.
    """
    reach = float(PhotonSpectrum.masses[1])
    if generated_mass[1] > reach:
        raise WorkflowError(
            f"generated masses {tuple(generated_mass)} GeV: the radiation off the muons is "
            f"tabulated up to {reach:g} GeV; choose a lower end"
        )
    stages = [
        ContactDrellYan(sqrt_s, generated_mass),
        InitialStateRecoil(mass[0]),
        FinalStateRadiation(photon_x_min),
        MuonDetector(charge_flip),
        DimuonReconstruction(pt_min, eta_max, mass),
    ]
    return Chain(stages, observables=MUON_COLUMNS | DIMUON_COLUMNS, name="dy_eft")
