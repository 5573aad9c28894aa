"""p p → γ*/Z → μ⁺μ⁻."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.pythia.dimuons import PythiaDimuons
from hepgen.simulators.reconstruction import DIMUON_COLUMNS, MUON_COLUMNS, DimuonReconstruction
from hepgen.simulators.recorded import EventSource, FileEvents, TrueMuons
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil
from hepgen.simulators.stage import Stage


def zmumu(
    sqrt_s: float = 7000.0,
    generated_mass: tuple[float, float] = (50.0, 150.0),
    running_width: bool = True,
    photon_x_min: float = 1e-5,
    charge_flip: float = 1e-4,
    pt_min: float = 20.0,
    eta_max: float = 2.1,
    mass: tuple[float, float] = (60.0, 120.0),
    generator: str = "builtin",
    pythia: Mapping[str, Any] = MappingProxyType({}),
    source: EventSource | None = None,
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
        generator: What makes the muons: `builtin`, `pythia`, or a file as `lhe:FILE` or
            `hepmc:FILE`. The detector and all behind it stay.
        pythia: More settings of Pythia, by its own names.
        source: The file that `generator` names, opened.
    """
    if pythia and generator != "pythia":
        raise WorkflowError(
            f"settings of Pythia {sorted(pythia)} with generator = {generator!r}; expected "
            'generator = "pythia", or no settings'
        )
    if generator != "builtin" and (photon_x_min, running_width) != (1e-5, True):
        raise WorkflowError(
            f"photon_x_min and running_width are of the built-in stages, which generator = "
            f"{generator!r} replaces; leave them out"
        )
    first: Sequence[Stage]
    if source is not None:
        first = [FileEvents(source), TrueMuons(source.prefix)]
    elif generator == "pythia":
        first = [PythiaDimuons(sqrt_s, generated_mass, pythia)]
    elif generator == "builtin":
        first = [
            DrellYan(sqrt_s, generated_mass, running_width),
            InitialStateRecoil(),
            FinalStateRadiation(photon_x_min),
        ]
    else:
        raise WorkflowError(
            f"generator = {generator!r}; expected builtin, pythia, lhe:FILE or hepmc:FILE"
        )
    stages = [*first, MuonDetector(charge_flip), DimuonReconstruction(pt_min, eta_max, mass)]
    return Chain(stages, MUON_COLUMNS | DIMUON_COLUMNS | dict(first[0].outputs), name="zmumu")
