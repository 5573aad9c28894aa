"""Parton level in e⁺e⁻: γ*/Z → q q̄ at leading order, at a fixed energy."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.distributions import Few, HelicityAngle
from hepgen.simulators.electroweak import HelicitySum, cross_section, helicity_sum
from hepgen.simulators.parton import GAMMA_Z, M_Z, SIN2_THETA_W, azimuth
from hepgen.simulators.stage import Stage, State

ELECTRON = (-1.0, -0.5)
DOWN_TYPE, UP_TYPE = (-1 / 3, -0.5), (2 / 3, 0.5)
#: Charge and isospin of d, u, s, c, b: index + 1 is the PDG id.
QUARKS = (DOWN_TYPE, UP_TYPE, DOWN_TYPE, UP_TYPE, DOWN_TYPE)
COLOURS = 3.0


class QuarkPairs(Stage):
    r"""e⁺e⁻ → γ*/Z → q q̄, massless quarks of five flavours, unpolarised beams.

    .. math:: \frac{d\sigma_q}{dc} = \frac{3 s}{128\pi} \left[(1 + c)^2 (|A_{LL}|^2 + |A_{RR}|^2)
              + (1 - c)^2 (|A_{LR}|^2 + |A_{RL}|^2)\right]

    with c the cosine between the quark and the e⁻, which comes along +z, and the amplitudes of
    :func:`~hepgen.simulators.electroweak.helicity_sum`. No photons off the beams.

    Sites: ``flavour`` (0 to 4: d, u, s, c, b), ``cos_theta``, ``phi``.

    Arguments:
        sqrt_s: GeV.
        running_width: The convention of m_Z, as for muons.
    """

    name = "parton"
    parameters = (M_Z, GAMMA_Z, SIN2_THETA_W)
    provides = ("hard_flavour", "cos_theta", "phi", "sqrt_s")

    def __init__(self, sqrt_s: float = 91.1876, running_width: bool = True) -> None:
        if not 30 <= sqrt_s <= 10_000:
            raise WorkflowError(
                f"√s = {sqrt_s} GeV: expected 30 to 10,000, well above the threshold of b quarks"
            )
        self.sqrt_s = sqrt_s
        self.running_width = running_width

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw flavour and direction of each pair."""
        shape = state["event"].shape
        like, total = self._amplitudes(parameters)
        weights = total.expand(*shape, len(QUARKS))
        flavour = pyro.sample("flavour", Few(weights, validate_args=False))
        share = (like / total).expand(weights.shape).gather(-1, flavour[..., None]).squeeze(-1)
        return state | {
            "hard_flavour": flavour + 1,
            "cos_theta": pyro.sample("cos_theta", HelicityAngle(share)),
            "phi": pyro.sample("phi", azimuth(shape)),
            "sqrt_s": torch.full(shape, self.sqrt_s, dtype=torch.float64),
        }

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """σ(e⁺e⁻ → hadrons) in pb, shape ``(G,)`` or ``(1,)``: leading order, without QCD's α_s/π.

        >>> theta = {p.name: torch.tensor(p.default) for p in QuarkPairs.parameters}
        >>> 39_000 < float(QuarkPairs().cross_section(theta)) < 43_000
        True
        """
        _, total = self._amplitudes(parameters)
        s = torch.tensor(self.sqrt_s, dtype=torch.float64).square()
        both = HelicitySum(total.sum(-1), torch.zeros(()))
        return cross_section(s, both, COLOURS).reshape(-1)

    def _amplitudes(self, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Σ|A|² of equal helicities and of all, by flavour, shape ``(*, 5)``."""
        s = torch.tensor(self.sqrt_s, dtype=torch.float64).square()
        theta = (parameters["m_z"], parameters["gamma_z"], parameters["sin2_theta_w"])
        sums = [
            helicity_sum(s, *theta, *ELECTRON, self.running_width, final=quark) for quark in QUARKS
        ]
        like = torch.stack([one.like for one in sums], dim=-1)
        return like, like + torch.stack([one.unlike for one in sums], dim=-1)
