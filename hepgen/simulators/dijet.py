"""Parton level of p p → two jets: a resonance, or a deficit, on a falling spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import Beta
from torch import Tensor

from hepgen.errors import ParameterError, WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.dijet_distributions import (
    BreitWigner,
    DecayAngle,
    ExchangeAngle,
    SignedMixture,
)
from hepgen.simulators.distributions import StageDistribution, Tabulated
from hepgen.simulators.parton import azimuth
from hepgen.simulators.stage import Stage, State

SIGNAL_STRENGTH = Parameter(
    "signal_strength", 1.0, "", "interest", label=r"$\mu$", low=-1e4, high=1e4
)
M_X = Parameter("m_x", 2000.0, "GeV", "interest", label="$m_X$", low=100.0, high=10_000.0)
GAMMA_X = Parameter("gamma_x", 60.0, "GeV", "interest", label=r"$\Gamma_X$", low=1.0, high=2000.0)
BACKGROUND_P1 = Parameter("background_p1", 9.0, label="$p_1$", low=0.0, high=40.0)
BACKGROUND_P2 = Parameter("background_p2", 5.0, label="$p_2$", low=0.0, high=12.0)
BACKGROUND_P3 = Parameter("background_p3", 0.1, label="$p_3$", low=-1.0, high=1.0)
LUMINOSITY = Parameter("luminosity", 1.0, label=r"$\mathcal{L}/\mathcal{L}_0$", low=0.1, high=10.0)


class DijetParton(Stage):
    r"""Mass and direction of a pair of partons: signal of strength μ and background.

    .. math:: \frac{d\sigma}{dm\,dc} = \mu S\, s(m)\, p_s(c) + B\, b(m)\, p_b(c), \qquad
              b \propto (1 - x)^{p_1} x^{-p_2 - p_3 \ln x}, \quad x = m/\sqrt S

    with s the relativistic Breit–Wigner in m², c = cos θ* to the beam, p_s ∝ 1 or 1 + c²
    (spin 0 or 1) and p_b ∝ 1/(1 − \|c\|)². All are normalised over the generated window, so S
    and B are the cross-sections in it. Signal and background carry no label: events are drawn
    from the sum, which is a density for μ < 0 too, as long as it is positive. b is the polygon
    through 801 nodes, equally far in ln m, that agrees with the formula to 10⁻⁴.

    The pair's rapidity is a toy, p(y) ∝ 1 − (y/y_max)² with y_max = ln(√S/m), the same for all
    parameters. Sites: ``mass``, ``cos_theta`` (given the mass), ``rapidity``, ``phi``.

    Arguments:
        sqrt_s: GeV.
        window: Range of the generated mass, GeV: wider than the selection.
        signal: S in pb, at μ = 1.
        background: B in pb.
        spin: Of the resonance, 0 or 1.
        cos_theta_max: Largest \|cos θ*\| that is generated.

    >>> one = torch.tensor(1.0)
    >>> DijetParton().cross_section({"signal_strength": -2 * one, "luminosity": one})
    tensor([998.])
    """

    name = "parton"
    parameters = (
        SIGNAL_STRENGTH, M_X, GAMMA_X, BACKGROUND_P1, BACKGROUND_P2, BACKGROUND_P3, LUMINOSITY,
    )  # fmt: skip
    provides = ("mass", "y", "cos_theta", "phi")

    def __init__(
        self,
        sqrt_s: float = 13_000.0,
        window: tuple[float, float] = (900.0, 5000.0),
        signal: float = 1.0,
        background: float = 1000.0,
        spin: int = 1,
        cos_theta_max: float = 0.6,
    ) -> None:
        if not 0 < window[0] < window[1] < sqrt_s:
            raise WorkflowError(
                f"generated masses {tuple(window)} GeV at √s = {sqrt_s} GeV: expected "
                "0 < low < high < √s"
            )
        if min(signal, background) <= 0:
            raise WorkflowError(
                f"cross-sections of {signal} pb (signal) and {background} pb (background): "
                "expected positive ones; signal_strength carries the sign"
            )
        if spin not in (0, 1):
            raise WorkflowError(f"spin {spin} of the resonance: expected 0 or 1")
        if not 0 < cos_theta_max < 1:
            raise WorkflowError(f"largest |cos θ*| {cos_theta_max}: expected between 0 and 1")
        self.sqrt_s, self.window = sqrt_s, window
        self.signal, self.background = signal, background
        inner = torch.linspace(0.0, 1.0, 801, dtype=torch.float64)[1:-1]
        ends = torch.tensor(window, dtype=torch.float64)
        between = window[0] * (inner * math.log(window[1] / window[0])).exp()
        self.nodes = torch.cat([ends[:1], between, ends[1:]])[None]
        #: p_b(c) and p_s(c).
        self.angles = (ExchangeAngle(cos_theta_max), DecayAngle(cos_theta_max, spin))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw mass, direction, rapidity and azimuth of each pair."""
        self._refuse_negative(parameters)
        shape = state["event"].shape
        falling, line = self.spectra(parameters)
        rate = parameters["signal_strength"] * self.signal
        share = rate / (rate + self.background)
        mass = pyro.sample("mass", SignedMixture(share, falling, line).expand(shape))
        background, signal = self.rates(mass, parameters)
        # Where a mass is impossible there is neither.
        here = (signal / (signal + background)).nan_to_num(0.0)
        c = pyro.sample("cos_theta", SignedMixture(here, *self.angles))
        y = pyro.sample("rapidity", Parabola((self.sqrt_s / mass).log()))
        phi = pyro.sample("phi", azimuth(shape))
        return state | {"mass": mass, "y": y, "cos_theta": c, "phi": phi}

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """(μS + B)·``luminosity`` in pb, shape ``(G,)``: the rate at the nominal luminosity."""
        sigma = parameters["signal_strength"] * self.signal + self.background
        if bool((sigma <= 0).any()):
            raise ParameterError(
                f"signal_strength = {parameters['signal_strength'].min().item():g}: the "
                f"cross-section would be {sigma.min().item():g} pb; expected a positive one: "
                "choose a weaker deficit"
            )
        return (sigma * parameters["luminosity"]).reshape(-1)

    def spectra(self, parameters: Mapping[str, Tensor]) -> tuple[Tabulated, BreitWigner]:
        """b(m) and s(m), each normalised over the window."""
        falling = falling_spectrum(self.nodes / self.sqrt_s, parameters)
        line = BreitWigner(parameters["m_x"], parameters["gamma_x"], self.window)
        return Tabulated(self.nodes, falling), line

    def rates(self, mass: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """B·b(m) and μS·s(m) in pb/GeV, without the factor of the luminosity."""
        falling, line = (spectrum.log_prob(mass).exp() for spectrum in self.spectra(parameters))
        return self.background * falling, parameters["signal_strength"] * self.signal * line

    def _refuse_negative(self, parameters: Mapping[str, Tensor]) -> None:
        """A deficit deeper than the background: at c = 0, where background is least likely."""
        strength = parameters["signal_strength"].detach()
        if bool((strength >= 0).all()):
            return
        peak = parameters["m_x"].reshape(-1, 1).clamp(*self.window)
        mass = torch.cat([self.nodes.expand(len(peak), -1), peak], dim=-1).detach()
        centre = torch.zeros((), dtype=torch.float64)
        density = sum(
            rate * angle.log_prob(centre).exp()
            for rate, angle in zip(self.rates(mass, parameters), self.angles, strict=True)
        )
        total = torch.as_tensor(density).detach()
        if bool((total > 0).all()):
            return
        point, node = divmod(int(total.argmin()), total.shape[-1])
        mu, at = strength.expand(len(total), 1)[point].item(), mass.expand_as(total)[point, node]
        raise ParameterError(
            f"signal_strength = {mu:g}: the density at m = {at:.0f} GeV and cos θ* = 0 would be "
            f"{total[point, node]:.3g} pb/GeV; expected a positive one, but the deficit is deeper "
            "than the background: choose a weaker one, a wider gamma_x, or an m_x where there is "
            "more background"
        )


def falling_spectrum(x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """(1 − x)^p₁ x^(−p₂ − p₃ ln x), the usual parametrisation of dijet searches."""
    p1, p2, p3 = (parameters[f"background_p{i}"] for i in (1, 2, 3))
    log = x.log()
    return (p1 * torch.log1p(-x) - (p2 + p3 * log) * log).exp()


class Parabola(StageDistribution):
    """p(y) = ¾ [1 − (y/y_max)²]/y_max.

    Arguments:
        y_max: Half the width, shape ``(*batch)``.
    """

    def __init__(self, y_max: Tensor) -> None:
        self.y_max = y_max
        super().__init__(y_max.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        two = torch.full(self.batch_shape, 2.0, dtype=torch.float64)
        drawn: Tensor = (2 * Beta(two, two).sample(sample_shape) - 1) * self.y_max
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(y), −∞ beyond y_max."""
        scaled = value / self.y_max
        inside = (scaled.abs() < 1) & (self.y_max > 0)
        density = (0.75 * (1 - torch.where(inside, scaled, 0.0).square()) / self.y_max).log()
        return torch.where(inside, density, -math.inf)
