r"""The likelihood of the chain ``ee_mumu`` without simulation: what estimators are held against.

The density of cos θ times the efficiency is a polynomial of degree four, and smearing on the
sphere multiplies its l-th Legendre moment by A_l(κ) (Mardia and Jupp, Directional Statistics,
2000, §9.3). Gauss–Legendre quadrature of the moments and of the acceptance is therefore exact, up
to rounding, and differentiable in all parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu import AngleReconstruction, ElectronPositron, efficiency

_ORDER = 4
_NODES, _WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_ORDER + 2))


@dataclass(frozen=True)
class ElectronPositronDensity:
    r"""p(i, c | θ, ν, selected) of an event at energy point i with the measured cosine c.

    .. math:: p(i, c) = \frac{Y_i\, g_i(c)}{\sum_j Y_j \int_{-c_{max}}^{c_{max}} g_j},
              \qquad g_i(c) = \sum_{l=0}^{4} s_l A_l(\kappa)\, a_{il}\, P_l(c)

    with Y_i = L_iσ(E_i), a_{il} the Legendre coefficients of ⅜[w_i(1 + c)² + (1 − w_i)(1 − c)²]
    ε(c), and s_l = 1 or, for odd l, 1 − 2p for the charge confusion p. The azimuth is uniform and
    left out.

    Arguments:
        beams: The energies, and the physics.
        cos_max: c_max.

    >>> from hepgen.simulators.processes.registry import process
    >>> chain = process("ee_mumu")
    >>> density = ElectronPositronDensity.of(chain)
    >>> theta = chain.parameters.values()
    >>> c = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    >>> density.log_prob(c, theta).exp()
    tensor([0.4196, 0.5203], dtype=torch.float64)
    """

    beams: ElectronPositron
    cos_max: float

    @classmethod
    def of(cls, chain: Chain) -> ElectronPositronDensity:
        """The density of a chain ``ee_mumu``."""
        beams = [s for s in chain.stages if isinstance(s, ElectronPositron)]
        cuts = [s.cos_max for s in chain.stages if isinstance(s, AngleReconstruction)]
        if not (beams and cuts):
            raise SimulationError(
                f"chain {chain.name!r} has the stages {[s.name for s in chain.stages]}; expected "
                "those of the process 'ee_mumu'"
            )
        return cls(beams[0], cuts[0])

    @property
    def columns(self) -> tuple[str, ...]:
        """The observables it is a density of: those that x holds, in order."""
        scan = ("Dimuon_energy_point",) if len(self.beams.energies) > 1 else ()
        return ("Dimuon_cos_theta", *scan)

    def log_prob(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Log p of selected events; −∞ beyond the selection.

        Arguments:
            x: The ``columns``, shape ``(*, N, d)``.
            parameters: Shape ``(*, 1)`` or ``()`` each.

        Returns:
            Shape ``(*, N)``.
        """
        inside = x[..., 0].abs() < self.cos_max
        density = self.log_differential(x, parameters) - self.rate(parameters)[..., None].log()
        return torch.where(inside, density, -torch.inf)

    def log_differential(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """log(Y_i g_i(c)), dσ/dc of what is found in pb, for any c in (−1, 1); shape ``(*, N)``."""
        coefficients = self._measured(parameters)
        basis = legendre(x[..., 0])
        point = x[..., 1] if x.shape[-1] > 1 else torch.zeros_like(x[..., 0])
        total = torch.zeros((), dtype=torch.float64)
        for i in range(coefficients.shape[-2]):
            here = (basis @ coefficients[..., i, :, None]).squeeze(-1)
            total = torch.where(point == i, here, total)
        return total.log()

    def rate(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The cross-section of selected events σ·ε, pb, shape ``(*,)``; a scan's mean over L."""
        basis = legendre(self.cos_max * _NODES)
        values = self._measured(parameters).sum(-2) @ basis.mT
        return self.cos_max * (values * _WEIGHTS).sum(-1)

    def _measured(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Y_i s_l A_l(κ) a_il, shape ``(*, P, 5)``."""
        like = self.beams.like(parameters)[..., None]
        even, odd = 1 + _NODES.square(), 2 * _NODES
        angle = 0.375 * (even + (2 * like - 1) * odd)
        found = angle * _last(efficiency(_NODES, parameters))
        degrees = torch.arange(_ORDER + 1, dtype=torch.float64)
        moments = (found * _WEIGHTS) @ legendre(_NODES) * (2 * degrees + 1) / 2
        confusion = 1 - 2 * parameters["charge_confusion"]
        sign = torch.where(degrees % 2 == 1, confusion, 1.0)
        factors = smearing_factors(parameters["angular_resolution"] ** -2)
        return self.beams.yields(parameters)[..., None] * moments * _last(sign * factors)


def _last(values: Tensor) -> Tensor:
    """Shape ``(*, n)`` with room for the energy points, ``(*, 1, n)``."""
    return values[..., None, :]


def legendre(c: Tensor) -> Tensor:
    """P₀ … P₄ at c, shape ``(*, 5)``."""
    values = [torch.ones_like(c), c]
    for degree in range(1, _ORDER):
        values.append(((2 * degree + 1) * c * values[-1] - degree * values[-2]) / (degree + 1))
    return torch.stack(values, dim=-1)


def smearing_factors(kappa: Tensor) -> Tensor:
    """A_l(κ) = I_{l+½}(κ)/I_½(κ), by which smearing multiplies the l-th Legendre moment.

    A₀ = 1, A₁ = coth κ − 1/κ, A_{l+1} = A_{l−1} − (2l + 1)A_l/κ, for κ ≥ 4 to 14 digits.

    Arguments:
        kappa: Shape ``(*, 1)`` or ``()``.

    Returns:
        Shape ``(*, 5)``.

    >>> smearing_factors(torch.tensor(1e4))
    tensor([1.0000, 0.9999, 0.9997, 0.9994, 0.9990])
    """
    kappa = kappa.reshape(*kappa.shape[:-1], 1)
    factors = [torch.ones_like(kappa), 1 / torch.tanh(kappa) - 1 / kappa]
    for degree in range(1, _ORDER):
        factors.append(factors[-2] - (2 * degree + 1) * factors[-1] / kappa)
    return torch.cat(factors, dim=-1)
