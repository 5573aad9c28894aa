"""Particle guns: sources of particles for tests of detector and reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
import torch
from pyro.distributions import Normal, Uniform
from torch import Tensor

from hepgen.parameters import Parameter
from hepgen.simulators.coordinates import cartesian
from hepgen.simulators.distributions import RelativeLogNormal
from hepgen.simulators.stage import Stage, State

GUN_SCALE = Parameter("gun_scale", 20.0, "GeV", low=1.0, high=500.0)
PARTICLE = ("Particle_px", "Particle_py", "Particle_pz", "Particle_e", "Particle_id", "nParticle")
PARTON = ("Parton_px", "Parton_py", "Parton_pz", "Parton_e", "Parton_id", "nParton")
MASS = {211: 0.13957, 321: 0.49368, 2212: 0.93827, 11: 0.000511, 13: 0.105658, 130: 0.49761}
#: Charged and neutral hadrons, photons, leptons and a neutrino.
MIXTURE = (211, 22, -211, 130, 321, 22, -13, 310, 11, 12)


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def collection(
    pt: Tensor, eta: Tensor, phi: Tensor, ids: Sequence[int], names: Sequence[str]
) -> State:
    """Columns of particles of given ids, shape ``(G, E, K)``."""
    px, py, pz = cartesian(pt, eta, phi)
    mass = real(*(MASS.get(abs(i), 0.0) for i in ids))
    e = (px.square() + py.square() + pz.square() + mass.square()).sqrt()
    pdg_id = torch.tensor(list(ids)).expand(pt.shape)
    count = torch.full(pt.shape[:2], len(ids))
    return dict(zip(names, (px, py, pz, e, pdg_id, count), strict=True))


class Gun(Stage):
    """The same particles in every event: pT [GeV], η, φ and PDG id of each."""

    name = "gun"
    provides = PARTICLE

    def __init__(
        self, pt: Sequence[float], eta: Sequence[float], phi: Sequence[float], ids: Sequence[int]
    ) -> None:
        self.pt, self.eta, self.phi, self.ids = real(*pt), real(*eta), real(*phi), tuple(ids)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        shape = (*state["event"].shape, len(self.ids))
        pt, eta, phi = (c.expand(shape) for c in (self.pt, self.eta, self.phi))
        return state | collection(pt, eta, phi, self.ids, PARTICLE)


class Sprayer(Stage):
    """Two back-to-back sprays of a mixture of particles, a b quark along one, a u along the other.

    Sites: ``spray_phi``, of the axis, and ``spray_pt``, ``spray_eta``, ``spray_dphi`` of the
    particles.

    Arguments:
        ids: PDG ids; every other particle is in the first spray.
        width: Of the sprays in η and φ; 3 fills the detector.
    """

    name = "gun"
    parameters = (GUN_SCALE,)
    provides = (*PARTICLE, *PARTON, "hard_flavour", "spray_phi")

    def __init__(self, ids: Sequence[int] = MIXTURE, width: float = 0.2) -> None:
        self.ids, self.width = tuple(ids), width

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        events = state["event"].shape
        axis = Uniform(torch.full(events, -3.0).double(), real(3.0), validate_args=False)
        phi = pyro.sample("spray_phi", axis)
        shape = (*events, len(self.ids))
        scale = parameters["gun_scale"][..., None].expand(shape)
        pt = pyro.sample("spray_pt", RelativeLogNormal(scale, real(0.5).expand(shape)).to_event(1))
        spread = Normal(torch.zeros(shape).double(), real(self.width), validate_args=False)
        eta = pyro.sample("spray_eta", spread.to_event(1))
        dphi = pyro.sample("spray_dphi", spread.to_event(1))
        side = torch.pi * (torch.arange(len(self.ids)) % 2)
        particles = collection(pt, eta, phi[..., None] + side + dphi, self.ids, PARTICLE)
        half = pt.sum(-1, keepdim=True).expand(*events, 2) / 2
        axes = phi[..., None] + real(0.0, torch.pi)
        partons = collection(half, torch.zeros_like(half), axes, (5, 2), PARTON)
        flavour = torch.full(events, 5)
        return state | particles | partons | {"hard_flavour": flavour, "spray_phi": phi}
