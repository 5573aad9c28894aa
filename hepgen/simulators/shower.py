"""Shower: recoil against initial-state gluons, and photons radiated by the muons."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import Bernoulli, Normal, Poisson
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import (
    DeadCone,
    Interpolated,
    Padded,
    Tabulated,
    entries,
)
from hepgen.simulators.electroweak import MUON_MASS
from hepgen.simulators.kinematics import FourVector, around, boost_from_rest
from hepgen.simulators.parton import azimuth
from hepgen.simulators.stage import Stage, State

ALPHA_EM = 1 / 137.036
COLOUR_FACTOR = 4 / 3
REFERENCE_MASS = 91.1876  # GeV, where α_s is given

ALPHA_S = Parameter("alpha_s", 0.1365, "", label=r"$\alpha_s(m_Z)$", low=0.05, high=0.25)
PRIMORDIAL_KT = Parameter("primordial_kt", 2.0, "GeV", label=r"$\sigma_{k_T}$", low=0.1, high=10.0)


class InitialStateRecoil(Stage):
    r"""Transverse momentum of the pair: a leading-log Sudakov, and primordial motion.

    .. math:: P(k_T < k) = \exp\left[-\int_{k^2}^{M^2} \frac{d\kappa^2}{\kappa^2}\,
              \frac{\alpha_s(\kappa^2)\,C_F}{\pi} \ln\frac{M^2}{\kappa^2}\right]

    (Dokshitzer, Dyakonov, Troyan, Phys. Rept. 58 (1980) 269), with one-loop α_s, capped at
    1, in x = k/M with the running evaluated at one M, and normalised above k = 0.5 GeV at that
    M: the 7·10⁻⁵ that the Sudakov leaves below at 91.19 GeV are dropped (at α_s = 0.1 they are
    1.4 %). Beyond leading log, and above k = M, there is nothing. A Gaussian of width
    ``primordial_kt`` (both components together) is added.

    Sites: ``recoil`` (ln k/M), ``recoil_phi``, ``primordial_x``, ``primordial_y``.

    Arguments:
        mass: M at which the running is evaluated, GeV: choose a typical one.
    """

    name = "isr"
    parameters = (ALPHA_S, PRIMORDIAL_KT)
    requires = ("mass",)
    provides = ("pt", "pt_phi")

    def __init__(self, mass: float = REFERENCE_MASS) -> None:
        if mass <= 1:
            raise WorkflowError(f"mass {mass} GeV of the recoil: expected more than 1 GeV")
        #: ln(k/M) from the cutoff of 0.5 GeV to the kinematic end.
        self.grid = torch.linspace(math.log(0.5 / mass), 0.0, 200, dtype=torch.float64)
        self.log_mass = math.log(mass / REFERENCE_MASS)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the transverse momentum of each pair."""
        shape = state["mass"].shape
        recoil = state["mass"] * pyro.sample("recoil", self._spectrum(parameters)).exp()
        phi = pyro.sample("recoil_phi", azimuth(shape))
        width = (parameters["primordial_kt"] / math.sqrt(2)).expand(shape)
        gaussian = Normal(torch.zeros_like(width), width, validate_args=False)
        x = pyro.sample("primordial_x", gaussian) + recoil * torch.cos(phi)
        y = pyro.sample("primordial_y", gaussian) + recoil * torch.sin(phi)
        return state | {"pt": torch.hypot(x, y), "pt_phi": torch.atan2(y, x)}

    def _spectrum(self, parameters: Mapping[str, Tensor]) -> Tabulated:
        """dP/d ln(k/M) above the cutoff."""
        scale = 2 * (self.grid + self.log_mass)
        alpha = running_coupling(scale, parameters["alpha_s"].reshape(-1, 1))
        rate = alpha * COLOUR_FACTOR / math.pi * 2 * (-2 * self.grid)
        step = 0.5 * (rate[:, 1:] + rate[:, :-1]) * self.grid.diff()
        exponent = step.flip(-1).cumsum(-1).flip(-1)
        sudakov = torch.exp(-torch.nn.functional.pad(exponent, (0, 1)))
        return Tabulated(self.grid.expand_as(rate), rate * sudakov)


def running_coupling(log_scale: Tensor, alpha_s: Tensor, flavours: int = 5) -> Tensor:
    """One-loop α_s(Q²), capped at 1.

    Arguments:
        log_scale: ln(Q²/m_Z²).
        alpha_s: α_s(m_Z).
        flavours: n_f.
    """
    slope = (33 - 2 * flavours) / (12 * math.pi)
    denominator = 1 + alpha_s * slope * log_scale
    return torch.where(denominator > alpha_s, alpha_s / denominator.clamp_min(1e-3), 1.0)


class FinalStateRadiation(Stage):
    r"""Photons off the muons: a compound Poisson process with an exact density.

    Each leg radiates photons of energy fraction x at an angle ξ = ½(1 − cos θ) to it,

    .. math:: \frac{d^2N}{dx\,d\xi} = \frac{\alpha}{2\pi}\,\frac{1 + (1 - x)^2}{x}\,
              \frac{\xi}{(\xi + \xi_0)^2}, \qquad \xi_0 = \frac{m_\mu^2}{(1 - x) M^2}.

    Over the angle that is the collinear rate with the factor ln[(1 − x)M²/m_μ²] − 1: the
    dead cone is that of the muon that is left, which matters for hard photons only. An
    emission takes the energy xM/2 in the rest frame of the muon pair, so that
    M² → M²(1 − x) exactly, and four-momentum is conserved.

    Sites: ``n_photons``, and the jagged ``photon_fraction`` (ln x), ``photon_leg`` (0: μ⁻,
    1: μ⁺), ``photon_angle`` (ξ), ``photon_azimuth``.

    Arguments:
        x_min: The smallest fraction. The largest is 0.999.
    """

    name = "fsr"
    requires = ("mass", "y", "pt", "pt_phi", "cos_theta", "phi")
    provides = ("muon_pt", "muon_eta", "muon_phi", "bare_mass")

    def __init__(self, x_min: float = 1e-5) -> None:
        if not 0 < x_min < PhotonSpectrum.x_max:
            raise WorkflowError(
                f"smallest photon fraction {x_min}: expected a number between 0 and "
                f"{PhotonSpectrum.x_max}"
            )
        self.spectrum = PhotonSpectrum(x_min)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Draw the photons of each pair, and the muons that are left, in the laboratory."""
        mass = state["mass"]
        log = collinear_log(mass)
        mean = 2 * self.spectrum.mean(log)
        count = pyro.sample("n_photons", Poisson(mean, validate_args=False)).long()
        mask = torch.arange(max(int(count.max()), 1)) < count[..., None]
        photons = self._photons(mask, log)
        muons = Radiating(mass, state["cos_theta"], state["phi"])
        muons.emit(count, photons)
        negative, positive = (
            to_laboratory(p, mass, state["y"], state["pt"], state["pt_phi"]) for p in muons.legs()
        )
        pt, eta, phi = (torch.stack(pair, dim=-1) for pair in zip(negative, positive, strict=True))
        bare = muons.mass.reshape(mass.shape)
        return state | {"muon_pt": pt, "muon_eta": eta, "muon_phi": phi, "bare_mass": bare}

    def _photons(self, mask: Tensor, log: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        log = log[..., None].expand(mask.shape)[mask]
        fraction = pyro.sample("photon_fraction", Padded(self.spectrum.fraction(log), mask))
        leg = Padded(Bernoulli(torch.full_like(log, 0.5), validate_args=False), mask)
        xi0 = (-1 - log).exp() / -torch.expm1(entries(fraction, mask))
        return (
            fraction,
            pyro.sample("photon_leg", leg),
            pyro.sample("photon_angle", Padded(DeadCone(xi0), mask)),
            pyro.sample("photon_azimuth", Padded(azimuth(log.shape), mask)),
        )


def collinear_log(mass: Tensor) -> Tensor:
    """L = ln(M²/m_μ²) − 1."""
    return 2 * (mass / MUON_MASS).log() - 1


class PhotonSpectrum:
    """dN/dx ∝ [L + ln(1 − x)]·(1 + (1 − x)²)/x of one leg, for any L between its rows.

    It is linear in L, so between the rows of a table it is exactly their mixture.
    """

    #: The largest fraction.
    x_max = 0.999
    #: Pair masses in GeV of the two rows.
    masses = torch.tensor([8.0, 8000.0], dtype=torch.float64)

    def __init__(self, x_min: float) -> None:
        # The end x → 1 is steep in ln x: nodes are dense there.
        u = torch.linspace(0.0, 1.0, 400, dtype=torch.float64)
        low, high = math.log(x_min), math.log(self.x_max)
        self.nodes = (high - (high - low) * (1 - u).square()).expand(2, -1)
        x = self.nodes.exp()
        self.logs = collinear_log(self.masses)
        self.values = (1 + (1 - x).square()) * (self.logs[:, None] + torch.log1p(-x))
        self.integrals = Tabulated(self.nodes, self.values).integral

    def _integral(self, log: Tensor) -> Tensor:
        return torch.lerp(self.integrals[0], self.integrals[1], self._position(log))

    def _position(self, log: Tensor) -> Tensor:
        return (log - self.logs[0]) / (self.logs[1] - self.logs[0])

    def mean(self, log: Tensor) -> Tensor:
        """The mean number of photons from one leg, at L."""
        return ALPHA_EM / (2 * math.pi) * self._integral(log)

    def fraction(self, log: Tensor) -> Interpolated:
        """The density of ln x at L."""
        weight = self._position(log) * self.integrals[1] / self._integral(log)
        row = torch.zeros(log.shape, dtype=torch.long)
        return Interpolated(self.nodes, self.values, row, weight)


class Radiating:
    """A muon pair that loses photons one by one, in the rest frame it began in.

    Everything is flat over events. The muons stay back to back along one axis in the
    pair's own rest frame.
    """

    def __init__(self, mass: Tensor, cos_theta: Tensor, phi: Tensor) -> None:
        self.mass = mass.ravel()
        sin_theta = (1 - cos_theta.square()).clamp_min(0).sqrt()
        axis = (sin_theta * torch.cos(phi), sin_theta * torch.sin(phi), cos_theta)
        self.axis = (axis[0].ravel(), axis[1].ravel(), axis[2].ravel())
        zero = torch.zeros_like(self.mass)
        self.pair: FourVector = (self.mass, zero, zero, zero)

    def emit(self, count: Tensor, photons: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Radiate the photons in the order of their slots."""
        log_x, leg, angle, azimuth_ = (p.flatten(0, 1) for p in photons)
        for slot in range(int(count.max())):
            rows = (count.ravel() > slot).nonzero().squeeze(-1)
            self._emit_one(
                rows, log_x[rows, slot].exp(), leg[rows, slot], angle[rows, slot],
                azimuth_[rows, slot],
            )  # fmt: skip

    def _emit_one(
        self, rows: Tensor, x: Tensor, leg: Tensor, angle: Tensor, azimuth_: Tensor
    ) -> None:
        mass = self.mass[rows]
        # Leg 0 is the μ⁻, which moves along the axis; leg 1 moves against it.
        sign = 1 - 2 * leg
        axis = tuple(component[rows] * sign for component in self.axis)
        direction = around((axis[0], axis[1], axis[2]), 1 - 2 * angle, azimuth_)
        energy = 0.5 * x * mass
        x_, y_, z_ = (energy * d for d in direction)
        pair = tuple(component[rows] for component in self.pair)
        frame = (pair[0], pair[1], pair[2], pair[3])
        photon = boost_from_rest((energy, x_, y_, z_), frame, mass)
        left = [p - k for p, k in zip(pair, photon, strict=True)]
        new = [c.index_copy(0, rows, v) for c, v in zip(self.pair, left, strict=True)]
        self.pair = (new[0], new[1], new[2], new[3])
        self.mass = self.mass.index_copy(0, rows, mass * (1 - x).clamp_min(1e-12).sqrt())

    def legs(self) -> tuple[FourVector, FourVector]:
        """Four-momenta of μ⁻ and μ⁺, massless, in the frame where the pair began at rest."""
        half = 0.5 * self.mass
        x, y, z = (half * component for component in self.axis)
        return (
            boost_from_rest((half, x, y, z), self.pair, self.mass),
            boost_from_rest((half, -x, -y, -z), self.pair, self.mass),
        )


def to_laboratory(
    momentum: FourVector, mass: Tensor, y: Tensor, pt: Tensor, pt_phi: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(pT, η, φ) of a massless momentum given on the Collins–Soper axes of a pair.

    x is along the pair's pT and z bisects the beams, so the laboratory is reached by a
    boost along x, a rotation, and a boost along the beam (Phys. Rev. D 16 (1977) 2219).
    """
    energy, px, py, pz = (p.reshape(mass.shape) for p in momentum)
    ratio = pt / mass
    along = px * (1 + ratio.square()).sqrt() + ratio * energy
    transverse = torch.hypot(along, py).clamp_min(1e-9)
    phi = torch.atan2(py, along) + pt_phi
    wrapped = torch.remainder(phi + math.pi, 2 * math.pi) - math.pi
    return transverse, torch.asinh(pz / transverse) + y, wrapped
