"""e⁺e⁻ → γ*/Z → μ⁺μ⁻."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu import (
    ANGLE_COLUMNS,
    AngleReconstruction,
    DirectionDetector,
    ElectronPositron,
)


def ee_mumu(
    energies: tuple[float, ...] = (91.1876,),
    luminosities: tuple[float, ...] = (1.0,),
    cos_max: float = 0.95,
) -> Chain:
    """e⁺e⁻ → γ*/Z → μ⁺μ⁻ at one or several energies, with directions measured.

    Arguments:
        energies: √s of each energy point, GeV.
        luminosities: Of each point, in any unit: only their ratios matter.
        cos_max: Largest absolute cos θ of the selected pairs.
    """
    stages = [
        ElectronPositron(energies, luminosities),
        DirectionDetector(),
        AngleReconstruction(cos_max),
    ]
    return Chain(stages, observables=ANGLE_COLUMNS, name="ee_mumu")
