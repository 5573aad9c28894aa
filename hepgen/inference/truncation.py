r"""A truncated prior: the box of parameters that holds all but ε of a posterior.

A posterior under a prior that is cut to a region which holds it is the posterior itself, but for ε
of its mass. An estimator of either kind may so be learned from simulations inside the region
alone: an amortised posterior without any correction (truncated sequential estimation, Deistler,
Goncalves and Macke, arXiv:2210.04815), a likelihood because it never depends on where its θ came
from.

The box is the product of a range of each parameter that leaves out ε/D, half of it on either side.
So far out there are no draws: from the quantile at p = 1 % the tail goes on as that of a Gaussian,

.. math:: u_\epsilon = m - (m - u_p)\, \frac{z(\epsilon/2D)}{z(p)}, \qquad z = -\Phi^{-1},

with the median m, in u of :class:`hepgen.inference.unbounded.UnboundedPrior`, where both what the
data say nothing of and what they fix are nearly Gaussian. No draw is ever left outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.special import ndtri
from torch import Tensor

from hepgen.inference.unbounded import UnboundedPrior
from hepgen.parameters import Parameter, ParameterSet, Uniform

OUTSIDE = 1e-4
"""ε: the share of a posterior that a region leaves out."""

_TAIL = 0.01
_EDGE = 0.05

Region = Mapping[str, tuple[float, float]]
"""The range of each parameter that is truncated, by name."""


def region_of(
    parameters: ParameterSet,
    theta: Tensor,
    widening: Tensor | float = 1.0,
    outside: float = OUTSIDE,
) -> Region:
    """The ranges that hold all but ``outside`` of a posterior, within the uniform priors.

    A Gaussian prior is a constraint: it is narrow already, and stays as it is.

    Arguments:
        parameters: The free ones are the columns of θ.
        theta: Draws of the posterior, shape ``(N, D)``.
        widening: By how much the posterior of a perfect estimator may be wider, ``(D,)``; see
            :func:`widening`.
        outside: ε.

    >>> one = ParameterSet([Parameter("a", 0.0, prior=Uniform(-50.0, 50.0))])
    >>> draws = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> low, high = region_of(one, draws)["a"]
    >>> -5.0 < low < -3.5, 3.5 < high < 5.0  # 3.89 for a Gaussian
    (True, True)
    """
    prior = UnboundedPrior(parameters)
    u = prior.unbounded(theta)
    reach = float(ndtri(0.5 * outside / len(prior)) / ndtri(_TAIL))
    levels = torch.tensor([_TAIL, 0.5, 1 - _TAIL], dtype=torch.float64)
    first, middle, last = torch.quantile(u, levels, dim=0)
    below = torch.maximum(reach * (middle - first), middle - u.amin(0))
    above = torch.maximum(reach * (last - middle), u.amax(0) - middle)
    low, high = middle - widening * below, middle + widening * above
    edges = prior.physical(torch.stack([low, high])).T.tolist()
    return {
        p.name: (max(a, p.prior.low), min(b, p.prior.high))
        for p, (a, b) in zip(parameters.free, edges, strict=True)
        if isinstance(p.prior, Uniform)
    }


def widening(pulls: Tensor, events: int, observed: int) -> Tensor:
    r"""By how much wider than it says a posterior is to be taken, shape ``(D,)``.

    An estimator that has seen few simulations is off by b of its standard deviations, which a
    posterior of many events does not know. Pseudo-data of n events have pulls of a mean square
    1 + b²n/N, those of N events √(1 + b²).

    Arguments:
        pulls: (mean − truth)/σ of the posteriors of M pseudo-data sets, shape ``(M, D)``.
        events: n, in each of them.
        observed: N, in the data.

    >>> widening(torch.tensor([[1.0], [-1.0]]), 100, 100)
    tensor([1.])
    >>> widening(torch.tensor([[3.0], [3.0]]), 100, 200)  # b² = 8 · 2
    tensor([4.1231])
    """
    excess = (pulls.square().mean(0) - 1).clamp(min=0)
    return (1 + excess * observed / events).sqrt()


def inside(parameters: ParameterSet, theta: Tensor) -> Tensor:
    """Whether each θ, shape ``(N, D)``, is in the support of the prior, shape ``(N,)``."""
    low, high = torch.tensor([(p.low, p.high) for p in parameters.priors]).double().T
    found: Tensor = ((theta >= low) & (theta <= high)).all(-1)
    return found


def truncated(parameter: Parameter, region: Region) -> Uniform | None:
    """The prior of a parameter inside the region; ``None`` where it is not truncated."""
    if parameter.name not in region:
        return None
    low, high = region[parameter.name]
    return Uniform(low, high)


def at_edges(whole: ParameterSet, region: Region, theta: Tensor) -> dict[str, float]:
    """The share of draws next to a cut, by the name of the parameter; the larger of two.

    Next to it means in the outer 5 % of the range. A region that holds a posterior has hardly a
    draw there: with its edges 3.9 standard deviations out, one in five thousand.

    Arguments:
        whole: With the priors that were truncated.
        region: To what.
        theta: Draws of the last posterior, shape ``(N, D)``.
    """
    found = {}
    for parameter, column in zip(whole.free, theta.unbind(-1), strict=True):
        if parameter.name not in region or parameter.prior is None:
            continue
        low, high = region[parameter.name]
        margin = _EDGE * (high - low)
        below = (column < low + margin).double().mean().item() if low > parameter.prior.low else 0.0
        above = (
            (column > high - margin).double().mean().item() if high < parameter.prior.high else 0.0
        )
        found[parameter.name] = max(below, above)
    return found
