"""e⁺e⁻ → γ*/Z → μ⁺μ⁻ at one or several beam energies, and a detector that measures directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro.distributions import Categorical
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import Chance, HelicityAngle, TruncatedExponential
from hepgen.simulators.electroweak import (
    MUON_CHARGE,
    MUON_ISOSPIN,
    HelicitySum,
    cross_section,
    helicity_sum,
)
from hepgen.simulators.kinematics import around
from hepgen.simulators.parton import GAMMA_Z, M_Z, SIN2_THETA_W, azimuth
from hepgen.simulators.stage import Stage, State

ANGULAR_RESOLUTION = Parameter(
    "angular_resolution", 0.01, "rad", label=r"$\sigma_\mathrm{angle}$", low=1e-3, high=0.5
)
CHARGE_CONFUSION = Parameter(
    "charge_confusion", 0.005, label=r"$p_\mathrm{confusion}$", low=0.0, high=0.5
)
PAIR_EFFICIENCY = Parameter(
    "pair_efficiency", 0.95, label=r"$\varepsilon_0$", low=0.01, high=1.0
)  # fmt: skip
EFFICIENCY_SLOPE = Parameter(
    "efficiency_slope", 0.1, label=r"$\lambda_\varepsilon$", low=0.0, high=0.9
)
#: What the reconstruction adds, with unit and label.
ANGLE_COLUMNS = {
    "Dimuon_cos_theta": ("", r"$\cos\theta(\mu^-)$"),
    "Dimuon_phi": ("rad", r"$\phi(\mu^-)$"),
    "Dimuon_energy": ("GeV", r"$\sqrt{s}$"),
    "Dimuon_energy_point": ("", "energy point"),
}


class ElectronPositron(Stage):
    r"""e⁺e⁻ → γ*/Z → μ⁺μ⁻ at leading order, at beam energies that are known exactly.

    .. math:: p(i) \propto L_i\,\sigma(E_i; \theta), \qquad
              \frac{d\sigma}{dc} = \frac{s}{128\pi} \left[(1 + c)^2 (|A_{LL}|^2 + |A_{RR}|^2)
              + (1 - c)^2 (|A_{LR}|^2 + |A_{RL}|^2)\right]

    with c the cosine between the e⁻ and the μ⁻, and the width in the propagator fixed:
    m_Z here is 34 MeV below that of a width that runs with s. No radiation, no spread of the
    beam energy.

    Sites: ``energy_point`` (an index), ``cos_theta``, ``phi``.

    Arguments:
        energies: √s of each point, GeV.
        luminosities: L_i of each point, in any unit: their ratios matter.
    """

    name = "parton"
    parameters = (SIN2_THETA_W, M_Z, GAMMA_Z)
    provides = ("energy_point", "energy", "cos_theta", "phi")

    def __init__(
        self, energies: Sequence[float] = (91.1876,), luminosities: Sequence[float] = (1.0,)
    ) -> None:
        _check_scan(energies, luminosities)
        self.energies = torch.tensor(energies, dtype=torch.float64)
        shares = torch.tensor(luminosities, dtype=torch.float64)
        self.shares = shares / shares.sum()

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the energy point and the direction of the μ⁻ of each pair."""
        points = len(self.energies)
        shape = state["event"].shape
        weights = self.yields(parameters).reshape(-1, 1, points).expand(*shape, points)
        point = pyro.sample("energy_point", Categorical(weights, validate_args=False))
        like = self.like(parameters).reshape(-1, points).expand(shape[0], points)
        cosine = pyro.sample("cos_theta", HelicityAngle(like.gather(-1, point)))
        phi = pyro.sample("phi", azimuth(shape))
        energy = self.energies[point]
        return state | {"energy_point": point, "energy": energy, "cos_theta": cosine, "phi": phi}

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Σ L_i σ(E_i)/Σ L_i in pb, shape ``(G,)``: with one energy, its cross-section."""
        return self.yields(parameters).sum(-1).reshape(-1)

    def yields(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """L_i σ(E_i)/Σ L_j of each of P points, pb, shape ``(*, P)`` for parameters ``(*, 1)``."""
        return self.shares * cross_section(self.energies.square(), self._squares(parameters), 1.0)

    def like(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The share of equal helicities at each point, shape ``(*, P)``."""
        squares = self._squares(parameters)
        return squares.like / (squares.like + squares.unlike)

    def _squares(self, parameters: Mapping[str, Tensor]) -> HelicitySum:
        m_z, gamma_z, mixing = (parameters[p] for p in ("m_z", "gamma_z", "sin2_theta_w"))
        s = self.energies.square()
        # The electron has the charge and isospin of the muon.
        return helicity_sum(s, m_z, gamma_z, mixing, MUON_CHARGE, MUON_ISOSPIN)


def _check_scan(energies: Sequence[float], luminosities: Sequence[float]) -> None:
    if len(energies) != len(luminosities) or not energies:
        raise WorkflowError(
            f"{len(energies)} energies with {len(luminosities)} luminosities; expected one "
            "luminosity for each energy"
        )
    if min(energies) <= 0 or min(luminosities) <= 0:
        raise WorkflowError(
            f"energies {tuple(energies)} GeV with luminosities {tuple(luminosities)}; expected "
            "positive numbers"
        )


class DirectionDetector(Stage):
    r"""Finds pairs, and measures the direction of the μ⁻ on the sphere.

    A pair is found with the probability ε(c) = ε₀(1 − λc²). The direction is smeared by

    .. math:: p(\hat n' | \hat n) = \frac{\kappa}{4\pi \sinh\kappa}\, e^{\kappa\,
              \hat n' \cdot \hat n}, \qquad \kappa = 1/\sigma^2,

    the density of von Mises and Fisher (Fisher, Proc. R. Soc. A 217 (1953) 295): it is
    normalised on the sphere exactly, and a Gaussian of width σ in each direction where σ ≪ 1.
    With the probability ``charge_confusion`` both charges are mistaken, which turns n̂' round.

    Sites: ``found``, ``deflection`` (1 − n̂'·n̂), ``deflection_azimuth``, ``charge_swap``; the
    last three also for pairs that are lost.
    """

    name = "detector"
    parameters = (ANGULAR_RESOLUTION, CHARGE_CONFUSION, PAIR_EFFICIENCY, EFFICIENCY_SLOPE)
    requires = ("cos_theta", "phi")
    provides = ("found", "measured_cos_theta", "measured_phi")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw whether each pair is found, and its measured direction."""
        c, phi = state["cos_theta"], state["phi"]
        found_as = Chance(efficiency(c, parameters), validate_args=False)
        found = pyro.sample("found", found_as) > 0.5
        kappa = parameters["angular_resolution"].expand(c.shape) ** -2
        deflection = pyro.sample("deflection", TruncatedExponential(kappa, 0.0, 2.0))
        turn = pyro.sample("deflection_azimuth", azimuth(c.shape))
        wrong = parameters["charge_confusion"].expand(c.shape)
        sign = 1 - 2 * pyro.sample("charge_swap", Chance(wrong, validate_args=False))
        s = (1 - c.square()).clamp_min(0).sqrt()
        x, y, z = around((s * torch.cos(phi), s * torch.sin(phi), c), 1 - deflection, turn)
        measured = {"measured_cos_theta": sign * z, "measured_phi": torch.atan2(sign * y, sign * x)}
        return state | measured | {"found": found}


def efficiency(cos_theta: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """ε₀(1 − λc²), the probability to find a pair."""
    slope = parameters["efficiency_slope"]
    return parameters["pair_efficiency"] * (1 - slope * cos_theta.square())


@dataclass(frozen=True)
class AngleReconstruction(Stage):
    """The observables of a pair, and the selection of cos θ within ±c_max. Deterministic.

    Arguments:
        cos_max: c_max.
    """

    cos_max: float = 0.95

    name = "reconstruction"
    requires = ("energy_point", "energy", "found", "measured_cos_theta", "measured_phi")
    provides = (*ANGLE_COLUMNS, "selected")

    def __post_init__(self) -> None:
        if not 0 < self.cos_max <= 1:
            raise WorkflowError(f"cos_max = {self.cos_max}: expected a number between 0 and 1")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the observables of every event, zero for a lost pair, and the flag."""
        found, cosine = state["found"], state["measured_cos_theta"]
        columns = (cosine, state["measured_phi"], state["energy"], state["energy_point"].double())
        observed = {
            name: torch.where(found, column, 0.0)
            for name, column in zip(ANGLE_COLUMNS, columns, strict=True)
        }
        return state | observed | {"selected": found & (cosine.abs() < self.cos_max)}
