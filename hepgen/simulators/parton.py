"""Parton level: p p → γ*/Z → μ⁺μ⁻ at leading order, and a falling background beneath it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro.distributions import Categorical, Uniform
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import (
    Chance,
    HelicityAngle,
    Select,
    StageDistribution,
    Tabulated,
    TruncatedExponential,
)
from hepgen.simulators.electroweak import HelicitySum, cross_section, helicity_sum
from hepgen.simulators.luminosity import Luminosity, Rapidity
from hepgen.simulators.pdf import QUARKS
from hepgen.simulators.stage import Stage, State

M_Z = Parameter(
    "m_z", 91.1876, "GeV", "interest", label=r"$m_Z$", reference=91.1876, low=80.0, high=100.0
)
GAMMA_Z = Parameter(
    "gamma_z", 2.4952, "GeV", "interest", label=r"$\Gamma_Z$", reference=2.4952, low=0.5, high=10.0
)
SIN2_THETA_W = Parameter(
    "sin2_theta_w", 0.2312, "", "interest", label=r"$\sin^2\theta_W$", low=0.05, high=0.6
)
BACKGROUND_FRACTION = Parameter(
    "background_fraction", 0.0, label=r"$f_\mathrm{bkg}$", low=0.0, high=1.0
)
BACKGROUND_SLOPE = Parameter(
    "background_slope", 0.04, "1/GeV", label=r"$\lambda_\mathrm{bkg}$", low=-1.0, high=1.0
)


class DrellYan(Stage):
    r"""q q̄ → γ*/Z → μ⁺μ⁻ in proton–proton collisions at leading order.

    .. math:: \frac{d^3\sigma}{dM\,dy\,dc} = \frac{2}{M} \sum_q \left[ x_1 f_q(x_1)\,
              x_2 f_{\bar q}(x_2)\,\hat\sigma'_q(c) + (1 \leftrightarrow 2, c \to -c)\right]

    Sites: ``background``, ``mass``, ``flavour``, ``rapidity``, ``quark_forward``,
    ``cos_theta``, ``phi``. The mass spectrum is normalised by the trapezium rule over nodes
    that follow the resonance, differentiable in m_Z, Γ_Z and sin²θ_W.

    A pair is background with probability ``background_fraction``; its mass then falls as
    exp(−λM) over the window, and everything else is as for the signal.

    Arguments:
        sqrt_s: GeV.
        window: Range of the generated mass, GeV: wider than the selection, because
            radiation and resolution move pairs in and out.
        running_width: The convention of m_Z, see
            :func:`~hepgen.simulators.electroweak.helicity_sum`.
    """

    name = "parton"
    parameters = (M_Z, GAMMA_Z, SIN2_THETA_W, BACKGROUND_FRACTION, BACKGROUND_SLOPE)
    provides = ("background", "mass", "y", "cos_theta", "phi", "flavour")

    def __init__(
        self,
        sqrt_s: float = 7000.0,
        window: tuple[float, float] = (50.0, 150.0),
        running_width: bool = True,
    ) -> None:
        if not 0 < window[0] < window[1] < sqrt_s:
            raise WorkflowError(
                f"generated masses {tuple(window)} GeV at √s = {sqrt_s} GeV: expected "
                "0 < low < high < √s"
            )
        self.sqrt_s = sqrt_s
        self.window = window
        self.running_width = running_width

    @cached_property
    def luminosity(self) -> Luminosity:
        """The tables of the parton luminosity."""
        return Luminosity(self.sqrt_s, self.window)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw mass, flavour, rapidity, direction and angles of each pair."""
        shape = state["event"].shape
        fraction = parameters["background_fraction"].expand(shape)
        background = pyro.sample("background", Chance(fraction, validate_args=False)) > 0.5
        mass = pyro.sample("mass", self._mass(background, parameters))
        weights, amplitudes = self._flavours(mass, parameters)
        flavour = pyro.sample("flavour", Categorical(weights, validate_args=False))
        log_mass = mass.log()
        y = pyro.sample("rapidity", Rapidity(self.luminosity, log_mass, flavour))
        c, forward = self._angle(log_mass, y, flavour, amplitudes)
        phi = pyro.sample("phi", azimuth(shape))
        return state | {
            "background": background, "mass": mass, "y": y, "flavour": flavour,
            "cos_theta": torch.where(forward, c, -c), "phi": phi,
        }  # fmt: skip

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Of pairs in the mass window, pb, shape ``(G,)``: σ(pp → μμ)/(1 − f_bkg)."""
        signal = self._spectrum(parameters).integral
        return signal / (1 - parameters["background_fraction"]).reshape(-1)

    def _mass(self, background: Tensor, parameters: Mapping[str, Tensor]) -> Select:
        low, high = self.window
        falling = TruncatedExponential(parameters["background_slope"], low, high)
        return Select(background, falling, ResonantMass(self._spectrum(parameters), parameters))

    def _spectrum(self, parameters: Mapping[str, Tensor]) -> Tabulated:
        """dσ/du over u = arctan[(M² − m_Z²)/(m_Z Γ_Z)], in which a resonance is flat."""
        low, high = self.window
        m_z, width = (_column(parameters[name]) for name in ("m_z", "gamma_z"))
        even = torch.linspace(low, high, int(2 * (high - low)) + 1, dtype=torch.float64)
        ends = resonance_angle(torch.tensor([[low], [high]], dtype=torch.float64), m_z, width)
        inner = torch.linspace(0.0, 1.0, 98, dtype=torch.float64)[1:-1]
        flat = ends[0] + (ends[1] - ends[0]) * inner[:, None]
        u = torch.cat([resonance_angle(even[:, None], m_z, width), flat]).sort(dim=0).values.T
        mass = resonance_mass(u, m_z.T, width.T)
        # Rounding at the ends must not leave the window.
        return Tabulated(
            u, self._dsigma(mass.clamp(low, high), parameters) * _jacobian(mass, m_z.T, width.T)
        )

    def _dsigma(self, mass: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """dσ/dM in pb/GeV, for masses of shape ``(G, B)``."""
        up, down = self._amplitudes(mass, parameters)
        s = mass.square()
        up_lumi, d_lumi, s_lumi = self.luminosity.integrated(mass.log())
        total = up_lumi * cross_section(s, up, 1 / 3)
        total = total + (d_lumi + s_lumi) * cross_section(s, down, 1 / 3)
        density: Tensor = 2 * total / mass
        return density

    def _amplitudes(
        self, mass: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[HelicitySum, HelicitySum]:
        s = mass.square()
        theta = (parameters["m_z"], parameters["gamma_z"], parameters["sin2_theta_w"])
        up, down = (
            helicity_sum(s, *theta, charge, isospin, self.running_width)
            for _, charge, isospin in QUARKS[:2]
        )
        return up, down

    def _flavours(
        self, mass: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[HelicitySum, HelicitySum]]:
        up, down = amplitudes = self._amplitudes(mass, parameters)
        lumi = self.luminosity.integrated(mass.log())
        weights = [
            lumi[0] * (up.like + up.unlike),
            lumi[1] * (down.like + down.unlike),
            lumi[2] * (down.like + down.unlike),
        ]
        return torch.stack(weights, dim=-1), amplitudes

    def _angle(
        self,
        log_mass: Tensor,
        y: Tensor,
        flavour: Tensor,
        amplitudes: tuple[HelicitySum, HelicitySum],
    ) -> tuple[Tensor, Tensor]:
        """cos θ* to the quark, and whether the quark came along +z."""
        probability = forward_probability(self.luminosity, log_mass, y, flavour)
        forward = pyro.sample("quark_forward", Chance(probability, validate_args=False)) > 0.5
        up, down = (a.like / (a.like + a.unlike) for a in amplitudes)
        return pyro.sample("cos_theta", HelicityAngle(torch.where(flavour == 0, up, down))), forward


class ResonantMass(StageDistribution):
    """The mass, from a table of its density in u = arctan[(M² − m_Z²)/(m_Z Γ_Z)].

    Arguments:
        spectrum: dσ/du, one table for each of G parameter points.
        parameters: With ``m_z`` and ``gamma_z``, shape ``(G, 1)`` or ``()``.
    """

    def __init__(self, spectrum: Tabulated, parameters: Mapping[str, Tensor]) -> None:
        self.spectrum = spectrum
        self.m_z, self.width = parameters["m_z"], parameters["gamma_z"]
        super().__init__(spectrum.batch_shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws in GeV, shape ``(*sample_shape, *batch)``."""
        u = self.spectrum.expand(self.batch_shape).sample(sample_shape)
        return resonance_mass(u, self.m_z, self.width)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(M) in 1/GeV."""
        u = resonance_angle(value, self.m_z, self.width)
        jacobian = _jacobian(value, self.m_z, self.width).log()
        density: Tensor = self.spectrum.expand(self.batch_shape).log_prob(u)
        return density - jacobian


def forward_probability(
    luminosity: Luminosity, log_mass: Tensor, y: Tensor, flavour: Tensor
) -> Tensor:
    """The probability that the quark, and not the antiquark, came along +z."""
    ahead, behind = (
        _choose(flavour, parts)
        for parts in zip(*(luminosity.directions(log_mass, y, q[0]) for q in QUARKS), strict=True)
    )
    return (ahead / (ahead + behind)).nan_to_num(0.5)


def azimuth(shape: torch.Size) -> Uniform:
    """An angle, uniform on (−π, π)."""
    bound = torch.tensor(math.pi, dtype=torch.float64)
    return Uniform(-bound, bound, validate_args=False).expand(shape)


def resonance_angle(mass: Tensor, m_z: Tensor, width: Tensor) -> Tensor:
    """u = arctan[(M² − m_Z²)/(m_Z Γ_Z)]."""
    return torch.atan((mass.square() - m_z.square()) / (m_z * width))


def resonance_mass(u: Tensor, m_z: Tensor, width: Tensor) -> Tensor:
    """M = √(m_Z² + m_Z Γ_Z tan u)."""
    return (m_z.square() + m_z * width * torch.tan(u)).sqrt()


def _jacobian(mass: Tensor, m_z: Tensor, width: Tensor) -> Tensor:
    """dM/du."""
    scale = m_z * width
    return (scale + (mass.square() - m_z.square()).square() / scale) / (2 * mass)


def _column(parameter: Tensor) -> Tensor:
    """A parameter of shape ``(G, 1)`` or ``()`` as a row ``(1, G)``."""
    return parameter.reshape(1, -1)


def _choose(index: Tensor, options: tuple[Tensor, ...]) -> Tensor:
    """options[index], element by element."""
    chosen = options[0]
    for i, option in enumerate(options[1:], start=1):
        chosen = torch.where(index == i, option, chosen)
    return chosen
