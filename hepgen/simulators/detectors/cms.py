"""The whole detector."""

from __future__ import annotations

from hepgen.simulators.detectors.calorimeter import Calorimeter
from hepgen.simulators.detectors.identification import Identification
from hepgen.simulators.detectors.particle_flow import ParticleFlow
from hepgen.simulators.detectors.tracker import Tracker
from hepgen.simulators.stage import Stage


def cms_detector(
    ratio: float = 0.12, muon_ratio: float = 0.25, cone: float = 0.5
) -> tuple[Stage, ...]:
    """Tracker, calorimeter, particle flow and identification, in this order.

    Arguments:
        ratio, muon_ratio, cone: Isolation, see :class:`.Identification`.

    >>> [stage.name for stage in cms_detector()]
    ['tracker', 'calorimeter', 'particle_flow', 'identification']
    """
    return Tracker(), Calorimeter(), ParticleFlow(), Identification(ratio, muon_ratio, cone)
