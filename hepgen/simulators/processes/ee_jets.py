"""e⁺e⁻ → q q̄ → hadrons → jets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hepgen.errors import WorkflowError
from hepgen.simulators.annihilation import QuarkPairs
from hepgen.simulators.btag import BTAG_COLUMNS, BTagging
from hepgen.simulators.chain import Chain
from hepgen.simulators.detectors.cms import cms_detector
from hepgen.simulators.detectors.identification import ISOLATED_COLUMNS
from hepgen.simulators.dipole_shower import DipoleShower
from hepgen.simulators.event_shapes import EVENT_SHAPES, ChargedMultiplicity, EventShapes
from hepgen.simulators.fragmentation import Hadronisation
from hepgen.simulators.hadronic_selection import SELECTION_COLUMNS, HadronicSelection
from hepgen.simulators.jet_energy import JET_COLUMNS, JetEnergy
from hepgen.simulators.jets import JetFinder
from hepgen.simulators.leading_jets import LEADING_COLUMNS, LeadingJets
from hepgen.simulators.missing_momentum import MET_COLUMNS, MissingMomentum
from hepgen.simulators.pythia.particles import PythiaParticles
from hepgen.simulators.recorded import EventSource, FileEvents
from hepgen.simulators.stage import Stage

#: What leaves the interaction, with unit and label.
PARTICLE_COLUMNS = {
    "Particle_px": ("GeV", r"$p_x$"),
    "Particle_py": ("GeV", r"$p_y$"),
    "Particle_pz": ("GeV", r"$p_z$"),
    "Particle_e": ("GeV", r"$E$"),
    "Particle_id": ("", "PDG id"),
    "nCharged": ("", r"$n_\mathrm{ch}$"),
}
#: What the detector and the reconstruction make of it.
DETECTOR_COLUMNS = {
    **{n: description for n, description in EVENT_SHAPES.items() if n != "nCharged"},
    "nTrack": ("", r"$n_\mathrm{track}$"),
    **SELECTION_COLUMNS,
    **MET_COLUMNS,
    **JET_COLUMNS,
    **BTAG_COLUMNS,
    **ISOLATED_COLUMNS,
}


def ee_jets(
    sqrt_s: float = 91.1876,
    running_width: bool = True,
    running_coupling: bool = True,
    alpha_s_max: float = 0.145,
    jet_stop: float = 1.0,
    decay_kaons: bool = True,
    detector: bool = True,
    particles: bool = False,
    jet_algorithm: str = "antikt",
    jet_radius: float = 0.7,
    jet_pt_min: float = 5.0,
    n_jets: int = 2,
    visible_min: float = 0.5,
    tracks_min: int = 5,
    leading_jets: bool = False,
    generator: str = "builtin",
    pythia: Mapping[str, Any] = MappingProxyType({}),
    source: EventSource | None = None,
) -> Chain:
    """e⁺e⁻ → γ*/Z → q q̄ through shower, fragmentation, a detector and jets.

    Arguments:
        sqrt_s: GeV.
        running_width: m_Z as the world average defines it, with a width that runs with s.
        running_coupling: Whether α_s runs in the shower.
        alpha_s_max: The largest α_s(m_Z) that is asked for.
        jet_stop: A jet ends where E + p is below this, GeV.
        decay_kaons: Whether K_S decay.
        detector: Whether hadrons go through detector, reconstruction and selection; else the
            chain ends with them.
        particles: Whether files keep the hadrons too.
        jet_algorithm: `antikt`, or `durham` for `n_jets` jets in every event.
        jet_radius: R of anti-kT.
        jet_pt_min: GeV, of measured jets.
        n_jets: Of Durham.
        visible_min: Of selected events, the smallest visible energy in units of √s.
        tracks_min: Of selected events, the smallest number of tracks. They have two jets or more.
        leading_jets: Whether files also have the leading jets as a fixed number of columns.
        generator: What makes the hadrons: `builtin`, `pythia`, or a file as `hepmc:FILE`. The
            detector and all behind it stay.
        pythia: More settings of Pythia, by its own names.
        source: The file that `generator` names, opened.

    >>> [stage.name for stage in ee_jets(detector=False).stages]
    ['parton', 'shower', 'hadronisation']
    """
    if pythia and generator != "pythia":
        raise WorkflowError(
            f"settings of Pythia {sorted(pythia)} with generator = {generator!r}; expected "
            'generator = "pythia", or no settings'
        )
    stages: list[Stage]
    if source is not None and source.prefix == "Particle":
        stages = [FileEvents(source), ChargedMultiplicity()]
    elif generator == "pythia":
        stages = [PythiaParticles(sqrt_s, pythia), ChargedMultiplicity()]
    elif generator == "builtin":
        stages = [
            QuarkPairs(sqrt_s, running_width),
            DipoleShower(alpha_s_max, running_coupling),
            Hadronisation(jet_stop, decay_kaons),
        ]
    else:
        raise WorkflowError(
            f"generator = {generator!r}; expected builtin, pythia, or hepmc:FILE with hadrons"
        )
    observables = dict(stages[0].outputs)
    if particles or not detector:
        observables |= PARTICLE_COLUMNS
    if detector:
        observables |= DETECTOR_COLUMNS
        stages += [
            *cms_detector(),
            JetFinder(jet_algorithm, jet_radius, jet_pt_min / 2, n_jets),
            JetEnergy(corrected=False, pt_min=jet_pt_min),
            BTagging("hard"),
            MissingMomentum(corrected=True),
            EventShapes(charged=False),
            HadronicSelection(sqrt_s, visible_min, tracks_min, balanced=generator == "builtin"),
        ]
        if leading_jets:
            observables |= LEADING_COLUMNS
            stages.append(LeadingJets(jet_pt_min))
    return Chain(stages, observables, name="ee_jets")
