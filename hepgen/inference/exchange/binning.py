r"""What binning costs: the error that is expected with bins, over that without.

.. math:: I_{ij}^\mathrm{bins} = \sum_b \frac{1}{\lambda_b}
          \frac{\partial\lambda_b}{\partial\theta_i}\frac{\partial\lambda_b}{\partial\theta_j}
          \;\to\; \int \frac{dx}{\lambda(x)}\,
          \frac{\partial\lambda(x)}{\partial\theta_i}\frac{\partial\lambda(x)}{\partial\theta_j}

as bins become narrow, plus 1/σ² for each constraint; the error of a parameter is √(I⁻¹)ᵢᵢ, the
others profiled (Cramér and Rao's bound, reached by the maximum-likelihood estimate of many events).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.parameters import Normal, ParameterSet

Array = NDArray[np.float64]
Rates = Callable[[Tensor, Tensor], Tensor]
"""λ in bins, shape ``(B,)``, for θ ``(D,)`` and edges ``(B + 1,)``; differentiable in θ."""


@dataclass(frozen=True)
class BinningCost:
    """Expected errors of one parameter.

    Arguments:
        parameter: Its name.
        bins: The numbers of bins, shape ``(K,)``.
        error: With them, shape ``(K,)``.
        unbinned: Without bins: with as many as there were narrow ones to merge.
    """

    parameter: str
    bins: NDArray[np.int64]
    error: Array
    unbinned: float

    @property
    def ratio(self) -> Array:
        """Error with bins over error without, from 1."""
        return self.error / self.unbinned


def slopes_of(rates: Rates, theta: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """∂λ/∂θ, shape ``(D, B)``, and λ, shape ``(B,)``."""
    theta = theta.double()
    columns = []
    for i in range(len(theta)):
        unit = torch.zeros_like(theta)
        unit[i] = 1.0
        found = torch.func.jvp(lambda t: rates(t, edges), (theta,), (unit,))
        columns.append(found[1].detach())
    return torch.stack(columns), found[0].detach()


def binning_cost(
    rates: Rates,
    parameters: ParameterSet,
    poi: str,
    edges: Tensor,
    bins: Sequence[int],
    *,
    theta: Tensor | None = None,
) -> BinningCost:
    """The expected error of one parameter for several numbers of bins, and without bins.

    Arguments:
        rates: See :data:`Rates`.
        parameters: The free ones make θ; a normal prior constrains its parameter.
        poi: Whose error is asked for.
        edges: Narrow bins, F of them, that resolve everything; wide ones are runs of those.
        bins: The numbers of wide bins, which divide F.
        theta: Where, shape ``(D,)``; the defaults by default.

    Raises:
        ParameterError: The parameter is not free, or nothing fixes a parameter.
        DataError: A number of bins that does not divide F.
    """
    if poi not in parameters.free_names:
        raise ParameterError(
            f"parameter {poi!r} is not free; free are {', '.join(parameters.free_names)}"
        )
    point = torch.tensor([p.default for p in parameters.free]) if theta is None else theta
    slopes, expected = slopes_of(rates, point.double(), edges)
    narrow = len(expected)
    errors = []
    for number in (*bins, narrow):
        if number < 1 or narrow % number:
            raise DataError(f"{number} bins of {narrow} narrow ones; expected a divisor")
        wide, counts = (t.reshape(*t.shape[:-1], number, -1).sum(-1) for t in (slopes, expected))
        errors.append(_error(wide, counts, parameters, poi))
    return BinningCost(poi, np.asarray(bins), np.array(errors[:-1]), errors[-1])


def _error(slopes: Tensor, expected: Tensor, parameters: ParameterSet, poi: str) -> float:
    stds = [p.std if isinstance(p, Normal) else torch.inf for p in parameters.priors]
    found = (slopes / expected) @ slopes.T + torch.tensor(stds, dtype=torch.float64).pow(-2).diag()
    scale = found.diagonal().clamp(min=1e-300).rsqrt()
    scaled = found * scale * scale[:, None]
    values, vectors = torch.linalg.eigh(scaled)
    if values[0] < 1e-10:
        worst = vectors[:, 0].abs()
        names = [n for n, v in zip(parameters.free_names, worst.tolist(), strict=True) if v > 0.1]
        raise ParameterError(
            f"{len(expected)} bins do not fix {', '.join(names)}; constrain one of them, or take "
            "more bins"
        )
    i = parameters.free_names.index(poi)
    return float((scaled.inverse()[i, i].sqrt() * scale[i]).item())
