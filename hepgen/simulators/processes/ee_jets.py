"""e⁺e⁻ → q q̄ → hadrons."""

from __future__ import annotations

from hepgen.simulators.annihilation import QuarkPairs
from hepgen.simulators.chain import Chain
from hepgen.simulators.dipole_shower import DipoleShower
from hepgen.simulators.fragmentation import Hadronisation
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


def ee_jets(
    sqrt_s: float = 91.1876,
    running_width: bool = True,
    running_coupling: bool = True,
    alpha_s_max: float = 0.15,
    jet_stop: float = 1.0,
    decay_kaons: bool = True,
) -> Chain:
    """e⁺e⁻ → γ*/Z → q q̄ through a dipole shower and independent fragmentation to hadrons.

    Arguments:
        sqrt_s: GeV.
        running_width: m_Z as the world average defines it, with a width that runs with s.
        running_coupling: Whether α_s runs in the shower.
        alpha_s_max: The largest α_s(m_Z) that is asked for.
        jet_stop: A jet ends where E + p is below this, GeV.
        decay_kaons: Whether K_S decay.
    """
    stages: list[Stage] = [
        QuarkPairs(sqrt_s, running_width),
        DipoleShower(alpha_s_max, running_coupling),
        Hadronisation(jet_stop, decay_kaons),
    ]
    return Chain(stages, observables=PARTICLE_COLUMNS, name="ee_jets")
