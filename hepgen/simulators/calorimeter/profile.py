"""The longitudinal profile of a shower, and how it fluctuates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.calorimeter.material import LEAD_TUNGSTATE, Material
from hepgen.simulators.distributions import Exponential, StageDistribution
from hepgen.simulators.stage import Stage, State

ENERGY = Parameter("energy", 50.0, "GeV", "interest", label="$E$", low=0.5, high=1000.0)
SHOWER_DEPTH = Parameter("shower_depth", 1.0, label=r"$r_\mathrm{depth}$", low=0.5, high=2.0)
PARTICLES = ("electron", "photon")
#: Mean depth in X₀ at which a photon converts.
CONVERSION_LENGTH = 9 / 7
#: ln α is drawn above this: the spots' α_s is then above 1.1 in PbWO₄, so both profiles
#: begin at zero.
LOG_ALPHA_MIN = math.log(1.27)


@dataclass(frozen=True)
class LongitudinalMoments:
    r"""The bivariate normal law of (ln T, ln α), T in X₀.

    .. math::
        \langle\ln T\rangle &= \ln(\ln y - 0.812), &
        \sigma_{\ln T} &= (-1.4 + 1.26 \ln y)^{-1}, \\
        \langle\ln\alpha\rangle &= \ln[0.81 + (0.458 + 2.26/Z) \ln y], &
        \sigma_{\ln\alpha} &= (-0.58 + 0.86 \ln y)^{-1}, \\
        \rho &= 0.705 - 0.023 \ln y, & y &= E/E_c

    (Grindhammer, Peters, hep-ex/0001020, for homogeneous media; the constants are those of
    Geant4's ``GVFlashHomoShowerTuning.hh``.)
    """

    log_t: Tensor
    sigma_log_t: Tensor
    log_alpha: Tensor
    sigma_log_alpha: Tensor
    correlation: Tensor

    @classmethod
    def at(cls, energy: Tensor, material: Material = LEAD_TUNGSTATE) -> LongitudinalMoments:
        """The law at an energy in GeV; shapes as ``energy``.

        >>> law = LongitudinalMoments.at(torch.tensor([10.0, 100.0]))
        >>> law.log_t.exp()
        tensor([6.2272, 8.5297])
        """
        log_y = (1000 * energy / material.critical_energy).log()
        return cls(
            (log_y - 0.812).log(),
            1 / (-1.4 + 1.26 * log_y),
            (0.81 + (0.458 + 2.26 / material.z) * log_y).log(),
            1 / (-0.58 + 0.86 * log_y),
            0.705 - 0.023 * log_y,
        )


class ShowerProfile(Stage):
    r"""Where the energy of an electron or a photon goes in depth.

    .. math:: \frac{dE}{dt} = E\,\frac{(\beta t)^{\alpha - 1} \beta e^{-\beta t}}{\Gamma(\alpha)},
              \qquad \beta = \frac{\alpha - 1}{T}

    with (ln T, ln α) of :class:`LongitudinalMoments`, given ln α > ln 1.27: below, the profile
    of the spots would not begin at zero. Of the bivariate normal that leaves out 1.1 % at
    0.5 GeV, 8·10⁻⁴ at 1 GeV and nothing above 10 GeV, and the density is normalised without it.
    A photon converts after an exponential depth of mean 9/7 X₀ and then showers as an electron
    of its energy. ``shower_depth`` multiplies T.

    Sites: ``log_alpha``, ``log_t``, and for a photon ``conversion_depth`` (X₀).

    Arguments:
        particle: ``electron`` or ``photon``.
        material: Of the calorimeter.
    """

    name = "profile"
    parameters = (ENERGY, SHOWER_DEPTH)
    provides = ("shower_t", "shower_alpha", "shower_start")

    def __init__(self, particle: str = "electron", material: Material = LEAD_TUNGSTATE) -> None:
        if particle not in PARTICLES:
            raise WorkflowError(f"particle = {particle!r}: expected {' or '.join(PARTICLES)}")
        self.particle = particle
        self.material = material

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw T and α of each shower, and where it starts."""
        shape = state["event"].shape
        law = LongitudinalMoments.at(parameters["energy"].expand(shape), self.material)
        marginal = NormalAbove(law.log_alpha, law.sigma_log_alpha, LOG_ALPHA_MIN)
        log_alpha = pyro.sample("log_alpha", marginal)
        # Given ln α, the other component of a bivariate normal is normal.
        pull = law.correlation * (log_alpha - law.log_alpha) / law.sigma_log_alpha
        mean = law.log_t + parameters["shower_depth"].log() + law.sigma_log_t * pull
        width = law.sigma_log_t * (1 - law.correlation.square()).sqrt()
        log_t = pyro.sample("log_t", Normal(mean, width, validate_args=False))
        start = self._start(shape)
        return state | {
            "shower_t": log_t.exp(), "shower_alpha": log_alpha.exp(), "shower_start": start,
        }  # fmt: skip

    def _start(self, shape: torch.Size) -> Tensor:
        if self.particle == "electron":
            return torch.zeros(shape, dtype=torch.float64)
        rate = torch.full(shape, 1 / CONVERSION_LENGTH, dtype=torch.float64)
        depth: Tensor = pyro.sample("conversion_depth", Exponential(rate))
        return depth


class NormalAbove(StageDistribution):
    r"""A normal variable, given that it is above a limit.

    .. math:: p(x) = \frac{\varphi(z)}{\sigma\,\Phi(-a)}, \quad z = \frac{x - \mu}{\sigma} > a,
              \quad a = \frac{\mathrm{low} - \mu}{\sigma}

    Arguments:
        mean, scale: μ and σ of the normal, shape ``(*batch)``.
        low: The limit.
    """

    def __init__(self, mean: Tensor, scale: Tensor, low: float) -> None:
        self.mean_, self.scale, self.low = mean, scale, low
        self.above = (mean - low) / scale
        super().__init__(mean.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``, by inversion from the upper end."""
        with torch.no_grad():
            u = self._uniform(sample_shape).clamp_min(1e-300)
            drawn: Tensor = self.mean_ - self.scale * torch.special.ndtri(
                u * torch.special.ndtr(self.above)
            )
            return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), −∞ below the limit."""
        z = (value - self.mean_) / self.scale
        log = -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        inside = torch.where(value >= self.low, log, -math.inf)
        density: Tensor = inside - torch.special.log_ndtr(self.above)
        return density


def deposited(alpha: Tensor, t: Tensor, depth: Tensor) -> Tensor:
    """The share of a gamma profile of maximum T between successive depths.

    Arguments:
        alpha, t: α and T, shape ``(*,)``.
        depth: From the start of the shower, shape ``(*, K + 1)``, in the unit of T.

    Returns:
        Shape ``(*, K)``, by the regularised incomplete gamma function.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> deposited(2 * one, one, torch.tensor([[0.0, 1.0, 100.0]], dtype=torch.float64))
    tensor([[0.2642, 0.7358]], dtype=torch.float64)
    """
    scaled = ((alpha - 1) / t)[..., None] * depth
    inside: Tensor = torch.special.gammainc(alpha[..., None].expand_as(scaled), scaled)
    return inside.diff(dim=-1)
