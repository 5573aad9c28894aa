"""Two jets: what they radiate out of their cones, and how they are measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import Exponential, RelativeLogNormal
from hepgen.simulators.stage import Stage, State

OUT_OF_CONE = Parameter("out_of_cone", 0.03, label=r"$\kappa$", low=1e-3, high=0.5)
JET_ENERGY_SCALE = Parameter(
    "jet_energy_scale", 0.0, label=r"$\delta_\mathrm{JES}$", low=-0.2, high=0.2
)
JET_ENERGY_RESOLUTION = Parameter(
    "jet_energy_resolution", 1.0, label=r"$r_\mathrm{JER}$", low=0.05, high=20.0
)


class OutOfCone(Stage):
    r"""Two partons back to back, of which each loses a fraction ℓ of its energy.

    .. math:: P(\ell < x) = x^{\kappa}, \qquad \kappa = \frac{2\alpha_s C_R}{\pi}\ln\frac1R

    is the leading-log probability that nothing is radiated with an energy fraction above x at
    an angle between R and 1 (rate α_s C_R/π · dz/z · dθ²/θ²): with α_s = 0.09 and R = 0.8, κ is
    0.017 for a quark and 0.038 for a gluon. Only the hardest emission is lost; it does not turn
    the jet, and the pair has no transverse momentum.

    Site: ``jet_loss``, t = −ln ℓ of both jets, exponential with rate κ.
    """

    name = "fsr"
    parameters = (OUT_OF_CONE,)
    requires = ("mass", "y", "cos_theta", "phi")
    provides = ("jet_pt", "jet_eta", "jet_phi")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the losses; slot 0 is the jet at cos θ*, slot 1 the one opposite."""
        mass, c = state["mass"], state["cos_theta"]
        rate = parameters["out_of_cone"][..., None].expand(*mass.shape, 2)
        loss = pyro.sample("jet_loss", Exponential(rate).to_event(1))
        pt = parton_pt(mass, c)[..., None] * kept(loss)
        away = torch.atanh(c)
        eta = torch.stack([state["y"] + away, state["y"] - away], dim=-1)
        phi = state["phi"]
        opposite = torch.where(phi > 0, phi - math.pi, phi + math.pi)
        both = torch.stack([phi, opposite], dim=-1)
        return state | {"jet_pt": pt, "jet_eta": eta, "jet_phi": both}


def parton_pt(mass: Tensor, cos_theta: Tensor) -> Tensor:
    """½ m sin θ*, in GeV."""
    return 0.5 * mass * (1 - cos_theta.square()).sqrt()


def kept(loss: Tensor) -> Tensor:
    """1 − ℓ for t = −ln ℓ; at least 10⁻⁶, because a jet's pT has a logarithm."""
    return -torch.expm1(-loss).clamp(max=-1e-6)


class JetResponse(Stage):
    r"""The measured pT of jets: log-normal, with a scale and a resolution.

    The mean is pT·(1 + ``jet_energy_scale``), the relative width is
    ``jet_energy_resolution``·√(n²/pT² + s²/pT + c²), capped at 1 before the factor. Directions
    are exact. The formula is the usual one of a calorimeter, with round numbers of the size of
    the LHC's jets. √((2.5 − 0.15\|η\|)²/pT + 1) of ``delphes_card_CMS.tcl`` is not a resolution:
    it is the ``ScaleFormula`` of its module ``JetEnergyScale``, which multiplies the momentum of
    a jet to restore what that detector loses, by 1.003 at 1 TeV. Here nothing is lost before.

    Site: ``jet_measured_pt`` (GeV) of both jets.

    Arguments:
        noise: n in GeV.
        stochastic: s in √GeV.
        constant: c.
    """

    name = "detector"
    parameters = (JET_ENERGY_SCALE, JET_ENERGY_RESOLUTION)
    requires = ("jet_pt",)
    provides = ("measured_pt",)

    def __init__(self, noise: float = 5.0, stochastic: float = 1.0, constant: float = 0.04) -> None:
        if min(noise, stochastic) < 0 or constant <= 0:
            raise WorkflowError(
                f"jet resolution of noise {noise}, stochastic {stochastic} and constant {constant} "
                "term: expected none below zero, and a constant term above"
            )
        self.terms = (noise, stochastic, constant)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the measured pT."""
        smearing = self.response(state["jet_pt"], parameters)
        return state | {"measured_pt": pyro.sample("jet_measured_pt", smearing.to_event(1))}

    def response(self, pt: Tensor, parameters: Mapping[str, Tensor]) -> RelativeLogNormal:
        """p(measured pT | pT), for pT of shape ``(G, E, K)``."""
        scale, factor = (
            parameters[name][..., None] for name in ("jet_energy_scale", "jet_energy_resolution")
        )
        return RelativeLogNormal(pt * (1 + scale), factor * self.resolution(pt))

    def resolution(self, pt: Tensor) -> Tensor:
        """σ(pT)/pT of a jet of pT [GeV].

        >>> JetResponse(noise=0.0, stochastic=0.8, constant=0.06).resolution(torch.tensor(100.0))
        tensor(0.1000)
        """
        noise, stochastic, constant = self.terms
        variance = (noise / pt).square() + stochastic**2 / pt + constant**2
        return variance.sqrt().clamp(max=1.0)
