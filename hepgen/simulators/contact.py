"""High-mass Drell–Yan with a contact interaction between quarks and muons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import pyro
import torch
from pyro.distributions import Categorical
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import Chance, HelicityAngle, Tabulated
from hepgen.simulators.electroweak import Contact, HelicitySum, cross_section, helicity_sum
from hepgen.simulators.luminosity import Luminosity, Rapidity
from hepgen.simulators.parton import (
    GAMMA_Z,
    M_Z,
    SIN2_THETA_W,
    azimuth,
    forward_probability,
)
from hepgen.simulators.pdf import QUARKS
from hepgen.simulators.stage import Stage, State

#: In 1/TeV², by the helicity of the quark and of the muon; the same for all flavours.
COUPLINGS = tuple(
    Parameter(
        f"c_{xy}", 0.0, "1/TeV^2", "interest", label=rf"$c_{{{xy.upper()}}}$", low=-20, high=20
    )
    for xy in ("ll", "lr", "rl", "rr")
)
_PER_TEV2 = 1e-6  # in 1/GeV²
_NODES = 801


class ContactDrellYan(Stage):
    r"""q q̄ → γ*/Z → μ⁺μ⁻ far above the Z, with a contact interaction, at leading order.

    .. math:: A_{XY} = 4\pi\alpha\left[\frac{Q_q Q_\mu}{s}
              + \frac{g_X^q g_Y^\mu}{s - m_Z^2 + i m_Z \Gamma_Z}\right] + c_{XY}

    (Eichten, Lane, Peskin, Phys. Rev. Lett. 50 (1983) 811, with c = ±4π/Λ²). A negative c_LL
    interferes constructively with the photon and the Z for u quarks, destructively for d and s;
    in proton collisions the u quarks win. The channel, a flavour with equal or opposite
    helicities, is a site. Its density over ln M is a polygon through fixed nodes whose heights
    are quadratic in c, and all that follows depends on the channel alone. So σ(c) p(z | c) is
    exactly quadratic in c for every event: see :mod:`hepgen.simulators.morphing`.

    Sites: ``log_mass`` (M in GeV), ``channel``, ``rapidity``, ``quark_forward``, ``cos_theta``,
    ``phi``.

    Arguments:
        sqrt_s: GeV.
        window: Range of the generated mass, GeV, from 150 GeV: the nodes do not follow a
            resonance.
    """

    name = "parton"
    parameters = (SIN2_THETA_W, *COUPLINGS)
    provides = ("mass", "y", "cos_theta", "phi", "flavour")

    def __init__(
        self, sqrt_s: float = 13_000.0, window: tuple[float, float] = (700.0, 4000.0)
    ) -> None:
        if not 150 <= window[0] < window[1] < sqrt_s:
            raise WorkflowError(
                f"generated masses {tuple(window)} GeV at √s = {sqrt_s} GeV: expected "
                "150 <= low < high < √s"
            )
        self.sqrt_s = sqrt_s
        self.window = window

    @cached_property
    def luminosity(self) -> Luminosity:
        """The parton luminosity, with a row at each node of the mass."""
        return Luminosity(self.sqrt_s, self.window, masses=_NODES)

    @cached_property
    def rapidities(self) -> Luminosity:
        """The same with fewer rows: the shape in rapidity varies little with the mass."""
        return Luminosity(self.sqrt_s, self.window, masses=81)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw mass, channel, rapidity, direction and angles of each pair."""
        shape = state["event"].shape
        channels = self.channels(parameters)
        spectrum = Tabulated(self.luminosity.log_mass[None], channels.sum(1))
        log_mass = pyro.sample("log_mass", spectrum.expand(shape))
        weights = self._at(channels, log_mass)
        channel = pyro.sample("channel", Categorical(weights, validate_args=False))
        flavour, like = channel // 2, (channel % 2 == 0).double()
        y = pyro.sample("rapidity", Rapidity(self.rapidities, log_mass, flavour))
        ahead = forward_probability(self.luminosity, log_mass, y, flavour)
        forward = pyro.sample("quark_forward", Chance(ahead, validate_args=False)) > 0.5
        c = pyro.sample("cos_theta", HelicityAngle(like))
        phi = pyro.sample("phi", azimuth(shape))
        return state | {
            "mass": log_mass.exp(), "y": y, "flavour": flavour,
            "cos_theta": torch.where(forward, c, -c), "phi": phi,
        }  # fmt: skip

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """σ(pp → μμ) in the mass window, pb, shape ``(G,)``."""
        nodes = self.luminosity.log_mass[None]
        return Tabulated(nodes, self.channels(parameters).sum(1)).integral

    def channels(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """dσ/d ln M at the nodes in pb, of channel 2·flavour + (0 equal, 1 opposite helicities).

        Shape ``(G, 6, B)``.
        """
        log_mass = self.luminosity.log_mass
        s = (2 * log_mass).exp()
        zero = torch.zeros((), dtype=torch.float64)
        parts = []
        for (_, charge, isospin), density in zip(
            QUARKS, self.luminosity.integrated(log_mass), strict=True
        ):
            squares = self._squares(s, parameters, charge, isospin)
            for one in (HelicitySum(squares.like, zero), HelicitySum(zero, squares.unlike)):
                parts.append(2 * density * cross_section(s, one, 1 / 3))
        # A channel that its couplings leave alone has one row for all parameter points.
        groups = max(part.numel() for part in parts) // len(s)
        return torch.stack([part.expand(groups, len(s)) for part in parts], dim=1)

    def _squares(
        self, s: Tensor, parameters: Mapping[str, Tensor], charge: float, isospin: float
    ) -> HelicitySum:
        m_z, gamma_z = (s.new_tensor(p.default) for p in (M_Z, GAMMA_Z))
        contact = Contact(*(parameters[p.name] * _PER_TEV2 for p in COUPLINGS))
        mixing = parameters["sin2_theta_w"]
        return helicity_sum(s, m_z, gamma_z, mixing, charge, isospin, contact=contact)

    def _at(self, channels: Tensor, log_mass: Tensor) -> Tensor:
        """The polygons of all channels at ln M, shape ``(G, E, 6)``."""
        index, fraction = self.luminosity.bracket(log_mass)
        row = torch.arange(len(channels))[:, None].expand(log_mass.shape[0], 1)
        table = channels.transpose(1, 2)
        return torch.lerp(table[row, index], table[row, index + 1], fraction[..., None])
