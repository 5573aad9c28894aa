"""The spots of a shower: how many fall into each cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.calorimeter.counts import SpotCounts
from hepgen.simulators.calorimeter.material import LEAD_TUNGSTATE, Geometry, Material
from hepgen.simulators.calorimeter.profile import ENERGY, LongitudinalMoments, deposited
from hepgen.simulators.stage import Stage, State

IMPACT_ETA = Parameter("impact_eta", 0.0, "cell", label=r"$\eta_0$", low=-2.0, high=2.0)
IMPACT_PHI = Parameter("impact_phi", 0.0, "cell", label=r"$\phi_0$", low=-2.0, high=2.0)
SHOWER_WIDTH = Parameter("shower_width", 1.0, label=r"$r_\mathrm{width}$", low=0.3, high=3.0)


@dataclass(frozen=True)
class RadialProfile:
    r"""Two components around the axis, in units of R_M.

    .. math:: f(r) = p\,\frac{2 r R_C^2}{(r^2 + R_C^2)^2}
              + (1 - p)\,\frac{2 r R_T^2}{(r^2 + R_T^2)^2}

    Arguments:
        core, tail: R_C and R_T.
        weight: p.
    """

    core: Tensor
    tail: Tensor
    weight: Tensor

    @classmethod
    def at(cls, energy: Tensor, tau: Tensor, material: Material = LEAD_TUNGSTATE) -> RadialProfile:
        r"""The profile at depth τ, in units of the shower's own mean depth.

        .. math::
            R_C &= 0.0251 + 0.00319 \ln E + (0.1162 - 0.000381 Z)\,\tau, \\
            R_T &= (0.659 - 0.00309 Z)\left[e^{-2.59 (\tau - 0.645)}
                   + e^{(0.3585 + 0.0412 \ln E)(\tau - 0.645)}\right], \\
            p &= (2.632 - 0.00094 Z)\,e^{u - e^u}, \quad
            u = \frac{0.401 + 0.00187 Z - \tau}{1.313 - 0.0686 \ln E}

        with E in GeV (hep-ex/0001020; ``GVFlashHomoShowerTuning.hh``). Since u − eᵘ ≤ −1, p is
        below 2.632/e = 0.97 for every material: it needs no cut to [0, 1].
        """
        log, z = energy.log(), material.z
        beyond = tau - 0.645
        tail = torch.exp(-2.59 * beyond) + torch.exp((0.3585 + 0.0412 * log) * beyond)
        u = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * log)
        return cls(
            0.0251 + 0.00319 * log + (0.1162 - 0.000381 * z) * tau,
            (0.659 - 0.00309 * z) * tail,
            (2.632 - 0.00094 * z) * torch.exp(u - u.exp()),
        )


def corner(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    r"""The primitive of one radial component over rectangles.

    .. math:: F(x, y) = \frac{1}{2\pi}\left[
              \frac{x}{\sqrt{x^2 + R^2}} \arctan\frac{y}{\sqrt{x^2 + R^2}} + (x \leftrightarrow y)
              \right], \qquad
              \frac{\partial^2 F}{\partial x\,\partial y} = \frac{R^2}{\pi (x^2 + y^2 + R^2)^2}

    so that a rectangle holds F(x₂, y₂) − F(x₁, y₂) − F(x₂, y₁) + F(x₁, y₁), exactly.

    Arguments:
        x: Shape ``(*, A, 1)``.
        y: Shape ``(*, 1, B)``.
        radius: R, shape ``(*, 1, 1)``.

    >>> far = torch.tensor([-1e9, 1e9], dtype=torch.float64)
    >>> corners = corner(far[:, None], far, torch.ones(1, 1, dtype=torch.float64))
    >>> corners.diff(dim=0).diff(dim=1)
    tensor([[1.]], dtype=torch.float64)
    """
    across, along = torch.hypot(x, radius), torch.hypot(y, radius)
    both = (x / across) * torch.atan(y / across) + (y / along) * torch.atan(x / along)
    return both / (2 * math.pi)


class Spots(Stage):
    r"""The spots that make up a shower, counted in cells.

    A shower of E GeV has a Poisson number of spots of mean 93 ln Z · E^0.876, each at a depth
    from a gamma profile with T_s = T (0.698 + 0.00212 Z), α_s = α (0.639 + 0.00334 Z), at a
    radius from :class:`RadialProfile` and at a uniform azimuth. Points of a Poisson process that
    are sorted into cells are independent Poisson numbers: the count of cell c in layer l has the
    mean

    .. math:: \bar N \sum_{s \in l} w_s \left[p_s\,q_c(R_{C,s}) + (1 - p_s)\,q_c(R_{T,s})\right]

    with w the share of a slice of the layer in the spots' profile and q_c the integral of
    the component over the cell, in closed form (:func:`corner`). Every spot is there, with
    exactly the law of spots that are thrown one by one; where in its cell it lies is integrated
    out. The radial profile is that of the middle of a slice.

    A spot carries the energy of its layer over the number of spots in the layer, so that
    spots move energy about in a layer and not between layers. So that no energy is lost, the
    numbers are drawn given that a layer has a spot. What falls beside the cells is lost.

    Site: ``spots``, for each layer the counts of its cells and of what falls beside them,
    shape ``(G, E, voxels + layers)``.

    Arguments:
        geometry: The cells.
        material: Of the calorimeter.
        slices: Steps in depth for each layer.
    """

    name = "spots"
    parameters = (ENERGY, IMPACT_ETA, IMPACT_PHI, SHOWER_WIDTH)
    requires = ("shower_t", "shower_alpha", "shower_start")
    provides = ("layer_deposit", "cell_share")

    def __init__(
        self,
        geometry: Geometry = Geometry(),  # noqa: B008 (frozen)
        material: Material = LEAD_TUNGSTATE,
        slices: int = 4,
    ) -> None:
        if slices < 1:
            raise WorkflowError(f"slices = {slices}: expected 1 or more")
        self.geometry, self.material, self.slices = geometry, material, slices

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the number of spots in every cell, and share the energy of the layers."""
        law = SpotCounts(self.rates(state, parameters))
        drawn = pyro.sample("spots", law).reshape(law.rates.shape)
        share = drawn / drawn.sum(-1, keepdim=True).clamp_min(1)
        energy = self._layer_energy(state, parameters)
        return state | {"layer_deposit": energy, "cell_share": share[..., :-1].flatten(-2)}

    def _layer_energy(self, state: State, parameters: Mapping[str, Tensor]) -> Tensor:
        depth = (self.geometry.edges() - state["shower_start"][..., None]).clamp_min(0)
        shares = deposited(state["shower_alpha"], state["shower_t"], depth)
        return parameters["energy"][..., None] * shares.clamp_min(0)

    def rates(self, state: State, parameters: Mapping[str, Tensor]) -> Tensor:
        """The mean number of spots in each cell of each layer, and last beside them.

        Shape ``(G, E, layers, cells + 1)``.
        """
        layers, energy = self.geometry.layers, parameters["energy"]
        number = 93 * math.log(self.material.z) * energy**0.876
        share, radial = self._slices(state, energy)
        weight, core, tail, p = (
            value.reshape(*value.shape[:-1], layers, self.slices)
            for value in (number[..., None] * share, radial.core, radial.tail, radial.weight)
        )
        x, y = self._edges(parameters)
        corners = torch.zeros((), dtype=torch.float64)
        for s in range(self.slices):
            for radius, part in ((core, p), (tail, 1 - p)):
                scale = (weight * part)[..., s, None, None]
                corners = corners + scale * corner(x, y, radius[..., s, None, None])
        cells = corners.diff(dim=-1).diff(dim=-2)
        beside = weight.sum(-1) - cells.sum((-2, -1))
        return torch.cat([cells.flatten(-2), beside[..., None]], dim=-1)

    def _slices(self, state: State, energy: Tensor) -> tuple[Tensor, RadialProfile]:
        """The share of each slice in the spots, and its radial profile."""
        t, alpha, z = state["shower_t"], state["shower_alpha"], self.material.z
        edges = self.geometry.edges(self.slices)
        depth = (edges - state["shower_start"][..., None]).clamp_min(0)
        shares = deposited(alpha * (0.639 + 0.00334 * z), t * (0.698 + 0.00212 * z), depth)
        typical = LongitudinalMoments.at(energy, self.material).log_alpha.exp()
        mean = t * alpha / (alpha - 1) * (typical - 1) / typical
        middle = 0.5 * (depth[..., 1:] + depth[..., :-1])
        radial = RadialProfile.at(energy[..., None], middle / mean[..., None], self.material)
        return shares.clamp_min(0), radial

    def _edges(self, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The lines between cells seen from the axis of the shower, in units of its width."""
        unit = self.geometry.cell_size / self.material.moliere_radius / parameters["shower_width"]
        x, y = (
            (torch.arange(n + 1, dtype=torch.float64) - 0.5 * n - parameters[name][..., None])
            * unit[..., None]
            for n, name in (
                (self.geometry.eta_cells, "impact_eta"), (self.geometry.phi_cells, "impact_phi"),
            )
        )  # fmt: skip
        return x[..., None, :, None], y[..., None, None, :]
