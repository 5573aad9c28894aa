r"""The spectrum of reconstructed dijets without Monte Carlo: an exact extended likelihood.

Partons are back to back and directions are exact, so ln m_jj = ½ ln pT₁ + ½ ln pT₂ + ln(2/sin θ*),
which is Gaussian given (m, c, ℓ₁, ℓ₂), and \|Δy\| = 2 artanh\|c\|. What is left is an integral
over the mass, the angle and the two losses of smooth functions, by Gauss–Legendre.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.chain import Chain
from hepgen.simulators.dijet import DijetParton
from hepgen.simulators.dijet_detector import JetResponse, OutOfCone, kept, parton_pt
from hepgen.simulators.dijet_reconstruction import DijetReconstruction


@dataclass(frozen=True)
class DijetSpectrum:
    r"""The expected rate of selected dijets, in bins of the reconstructed mass.

    .. math:: \sigma_k(\theta) = \frac{\mathcal L}{\mathcal L_0} \int dm\,dc\,
              \left[\mu S\,s(m)\,p_s(c) + B\,b(m)\,p_b(c)\right] A_\eta(m, c)\,
              P(m_{jj} \in k \mid m, c)

    with A_η the acceptance of \|η\| over the pair's rapidity, in closed form, and \|c\| up to
    tanh(½ \|Δy\|_max). The cut on pT is left out: with the options of ``dijet_bump`` a pair that
    passes the other cuts has its softer jet above 60 GeV.

    With the default nodes and parameters bins of 3 % of the mass are right to 10⁻³, the sum to
    10⁻⁴. A resolution or a resonance much narrower than a bin, or much of the spectrum beyond the
    window, needs more nodes: several per cent are lost at a tenth of the nominal resolution.

    Arguments:
        parton, detector, selection: Stages of the chain; radiation has no options.
        masses, angles, losses: Nodes of the quadrature.

    >>> from hepgen.simulators.processes.registry import process
    >>> chain = process("dijet_bump")
    >>> edges = torch.tensor([1200.0, 4500.0], dtype=torch.float64)
    >>> nothing = chain.parameters.values(signal_strength=0.0)
    >>> print(f"{DijetSpectrum.of(chain)(nothing, edges).item():.0f} of 1000 pb")
    218 of 1000 pb
    """

    parton: DijetParton
    detector: JetResponse
    selection: DijetReconstruction
    masses: int = 240
    angles: int = 5
    losses: int = 30

    @classmethod
    def of(cls, chain: Chain) -> DijetSpectrum:
        """That of a chain made by :func:`~hepgen.simulators.processes.dijet_bump.dijet_bump`."""
        match chain.stages:
            case (
                DijetParton() as parton,
                OutOfCone(),
                JetResponse() as detector,
                DijetReconstruction() as selection,
            ):
                return cls(parton, detector, selection)
        raise SimulationError(
            f"chain {chain.name!r} of the stages {[s.name for s in chain.stages]}: expected that "
            "of the process 'dijet_bump'"
        )

    def __call__(self, parameters: Mapping[str, Tensor], edges: Tensor) -> Tensor:
        """σ in pb of the selected events in each bin, times ``luminosity``; shape ``(B,)``.

        Differentiable in every parameter.

        Arguments:
            parameters: One point, values of shape ``()``.
            edges: In GeV, increasing, shape ``(B + 1,)``; clipped to the selected masses.
        """
        return self.background(parameters, edges) + self.signal(parameters, edges)

    def in_angles(self, parameters: Mapping[str, Tensor], edges: Tensor, delta_y: Tensor) -> Tensor:
        r"""σ in bins of the mass and of \|Δy\|, shape ``(B, K)``; directions are exact.

        Arguments:
            parameters, edges: As of a call.
            delta_y: Ends of bins of \|Δy\|, increasing from 0 on, shape ``(K + 1,)``; clipped to
                the selection. Each has :attr:`angles` nodes of its own.
        """
        ends = torch.tanh(0.5 * delta_y).clamp(max=self._limit)
        parts = []
        for low, high in pairwise(ends.tolist()):
            background, signal = (self._part(n, parameters, edges, (low, high)) for n in (0, 1))
            parts.append(background + signal)
        return torch.stack(parts, -1)

    def background(self, parameters: Mapping[str, Tensor], edges: Tensor) -> Tensor:
        """The part of the background, in pb, shape ``(B,)``."""
        return self._part(0, parameters, edges, (0.0, self._limit))

    def signal(self, parameters: Mapping[str, Tensor], edges: Tensor) -> Tensor:
        """The part that is proportional to the signal strength, in pb, shape ``(B,)``."""
        return self._part(1, parameters, edges, (0.0, self._limit))

    @property
    def _limit(self) -> float:
        """The largest |c|."""
        return min(self.parton.angles[0].limit, math.tanh(self.selection.delta_y_max / 2))

    def _part(
        self,
        number: int,
        parameters: Mapping[str, Tensor],
        edges: Tensor,
        between: tuple[float, float],
    ) -> Tensor:
        """σ of background or signal with |c| between two values."""
        parton, selection = self.parton, self.selection
        log_edges = edges.clamp(*selection.mass).log()
        c, width = gauss(self.angles, *between)
        mass, rate = self._partons(parameters)[number]
        weight = rate[:, None] * 2 * width * parton.angles[number].log_prob(c).exp()
        weight = weight * accepted(selection.eta_max - torch.atanh(c), mass, parton.sqrt_s)
        return self._smeared(mass, c, weight, parameters, log_edges) * parameters["luminosity"]

    def density(self, parameters: Mapping[str, Tensor], edges: Tensor) -> Tensor:
        """p(m_jj | selected) in 1/GeV, averaged over each bin, shape ``(B,)``."""
        whole = self(parameters, torch.tensor(self.selection.mass, dtype=torch.float64))
        return self(parameters, edges) / whole / edges.diff()

    def _partons(
        self, parameters: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Masses and their rates in pb, of background and of signal."""
        parton = self.parton
        low, high = map(math.log, parton.window)
        log_mass, width = gauss(self.masses, low, high)
        mass = log_mass.exp()
        falling, line = parton.spectra(parameters)
        background = parton.background * falling.log_prob(mass[None]).exp()[0] * mass * width
        share, step = gauss(self.masses, 0.0, 1.0)
        signal = parameters["signal_strength"] * parton.signal * step
        return (mass, background), (line.quantile(share), signal)

    def _smeared(
        self, mass: Tensor, c: Tensor, weight: Tensor, parameters: Mapping[str, Tensor],
        log_edges: Tensor,
    ) -> Tensor:  # fmt: skip
        """Σ weight·P(m_jj in a bin), for masses (M,), angles (C,) and weights (M, C)."""
        loss, chance = self._losses(parameters["out_of_cone"])
        pt = parton_pt(mass[:, None], c)[..., None] * kept(loss)
        response = self.detector.response(pt, parameters)
        i, j = torch.triu_indices(len(loss), len(loss))
        pairs = chance[i] * chance[j] * torch.where(i == j, 1.0, 2.0)
        mean = 0.5 * (response.location[..., i] + response.location[..., j])
        mean = mean + math.log(2) - 0.5 * torch.log1p(-c.square())[:, None]
        width = 0.5 * torch.hypot(response.scale[..., i], response.scale[..., j])
        below = [
            (weight[..., None] * pairs * torch.special.ndtr((edge - mean) / width)).sum()
            for edge in log_edges
        ]
        return torch.stack(below).diff()

    def _losses(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Losses t of a jet and their probabilities: dense where a jet loses much."""
        g, width = gauss(self.losses, 0.0, 1.0)
        # The share of jets that lose less is 1 − (1 − g)³.
        return -torch.log1p(-((1 - g) ** 3)) / rate, 3 * (1 - g).square() * width


def gauss(nodes: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss–Legendre on (low, high)."""
    x, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
    return 0.5 * (low + high) + 0.5 * (high - low) * x, 0.5 * (high - low) * w


def accepted(reach: Tensor, mass: Tensor, sqrt_s: float) -> Tensor:
    """P(|y| < reach) of a pair, for masses (M,) and reaches (C,), shape ``(M, C)``."""
    t = (reach / (sqrt_s / mass).log()[:, None]).clamp(0.0, 1.0)
    return 0.5 * t * (3 - t.square())
