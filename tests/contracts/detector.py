"""Detector and reconstruction for the contract tests, behind a particle gun."""

from __future__ import annotations

from hepgen.simulators.btag import BTagging
from hepgen.simulators.chain import Chain
from hepgen.simulators.detectors.cms import cms_detector
from hepgen.simulators.event_shapes import EventShapes
from hepgen.simulators.jet_energy import JetEnergy
from hepgen.simulators.jets import JetFinder
from hepgen.simulators.missing_momentum import MissingMomentum
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case
from tests.simulators.gun import Sprayer

POINT = {
    "gun_scale": 25.0,
    "track_efficiency": 0.95,
    "track_resolution": 1.2,
    "muon_scale": 0.003,
    "muon_resolution": 1.4,
    "muon_efficiency": 0.9,
    "ecal_scale": 0.01,
    "ecal_resolution": 1.1,
    "hcal_scale": -0.02,
    "hcal_resolution": 0.9,
    "jet_energy_scale": 0.02,
    "jet_energy_resolution": 0.08,
    "btag_efficiency": 0.95,
    "mistag_rate": 1.5,
}
MOVED = {name: 1.02 * value for name, value in POINT.items()} | {
    "muon_scale": 0.004, "jet_energy_scale": 0.03, "track_efficiency": 0.96,
}  # fmt: skip
VARIED = {"gun_scale": (15.0, 25.0, 60.0), "jet_energy_scale": (-0.05, 0.0, 0.1)}

#: One of each kind.
FEW = (211, 22, -13, 130, -211, 11)

HADRON_COLLIDER: tuple[Stage, ...] = (
    *cms_detector(),
    JetFinder(pt_min=15.0),
    JetEnergy(),
    BTagging(),
    MissingMomentum(corrected=True),
)
LEPTON_COLLIDER: tuple[Stage, ...] = (
    *cms_detector(),
    JetFinder("durham"),
    JetEnergy(corrected=False),
    BTagging("hard"),
    MissingMomentum(),
    EventShapes(),
)


def case(gun: Stage, stages: tuple[Stage, ...], scored: bool) -> Case:
    chain = Chain([gun, *stages])
    own = {name: POINT[name] for name in chain.parameters.names}
    return Case(
        chain, own, {n: MOVED[n] for n in own}, "spray_phi", "MET_pt",
        VARIED, scored, events=6_000,
    )  # fmt: skip


CASES: dict[str, Case] = {
    "detector and jets": case(Sprayer(FEW), HADRON_COLLIDER, scored=True),
    "detector and event shapes": case(Sprayer(width=1.0), LEPTON_COLLIDER, scored=False),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    f"{kind} {stage.name}": (stage, (Sprayer(), *stages[:number]))
    for kind, stages in (("detector:", HADRON_COLLIDER), ("e+e-:", LEPTON_COLLIDER))
    for number, stage in enumerate(stages)
}
