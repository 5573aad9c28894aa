r"""The mean of a ratio over the events of its denominator, which is one at every θ.

.. math:: Z(\theta) = E[\hat r(x | \theta) \,|\, \theta_{ref}], \qquad
          \log\hat r(x | \theta) \to \log\hat r(x | \theta) - \log Z(\theta)

What a training has wrong is partly a function of θ alone, which counts N times in the likelihood of
N events. Of a ratio that is learned from joint ratios it is the larger part: log r(x, z | θ)
scatters by all that is latent, so that its mean over the events of a training is far less well
known than that of log r̂(x | θ), which scatters by what is seen, over the same events. Division by Z
leaves the second.

Z is computed at some θ of the training from all events of the reference, and log Z is a polynomial
in θ, zero at the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.monomials import degree_within, polynomial, powers_of
from hepgen.inference.ratio import DEGREES, Prepared
from hepgen.nn.columns import Column

_NODES, _TERMS, _OF_A_TERM = 256, 36, 3
_EVALUATIONS = 2**24
_PAIRS = 2**15


def normalise(data: Prepared, reference: Tensor, weight: Tensor | None, seed: int) -> None:
    """Divide a trained ratio by its mean over the reference.

    Arguments:
        data: The training sample, and its network.
        reference: Which rows are events of the reference, shape ``(M,)``.
        weight: Signed weights of all rows, shape ``(N,)``.
        seed: Of the choice of θ.

    Raises:
        DataError: The mean is not positive at some θ.
    """
    degree, nodes = _nodes(data.c, len(reference), seed)
    means = _means(data, nodes, reference, weight)
    if not bool((means > 0).all()):
        raise DataError(
            f"the mean of the ratio over the reference is {means.min().item():g} at some θ; "
            "expected a positive one everywhere: train on more events, or fewer negative weights"
        )
    powers = powers_of(torch.ones(nodes.shape[-1], dtype=torch.bool), degree)
    origin = data.network.reference
    assert origin is not None
    # A polynomial that is zero where the ratio is one for every event.
    there = polynomial(origin.cpu().double(), powers)
    basis = polynomial(nodes, powers) - there
    right = means.log()[:, None]
    found = torch.linalg.lstsq(basis[:, 1:], right, driver="gelsd").solution[:, 0]
    constant = -there[1:] @ found
    data.network.subtract(degree, torch.cat([constant[None], found]))


def _nodes(c: Column, events: int, seed: int) -> tuple[int, Tensor]:
    """The degree of the polynomial, and some of the training's θ in the network's units."""
    known = torch.unique(c[:: max(1, len(c) // 2**17)].double(), dim=0)
    dimension = known.shape[-1]
    degree = degree_within(dimension, min(_TERMS, len(known) // _OF_A_TERM), DEGREES)
    terms = len(powers_of(torch.ones(dimension, dtype=torch.bool), degree))
    most = max(_OF_A_TERM * terms, min(_NODES, _EVALUATIONS // max(1, events)))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    return degree, known[order[:most]]


def _means(data: Prepared, nodes: Tensor, reference: Tensor, weight: Tensor | None) -> Tensor:
    """Z at each node, shape ``(K,)``."""
    network, dtype = data.network, next(data.network.parameters()).dtype
    device = next(data.network.parameters()).device
    total, sum_of_weights = torch.zeros(len(nodes), dtype=torch.float64), 0.0
    c = nodes.to(device, dtype)[None]
    for rows in torch.split(reference, max(1, _PAIRS // len(nodes))):
        u = data.u[rows].to(device, dtype)
        w = torch.ones(len(rows)).double() if weight is None else weight[rows].double()
        with torch.no_grad():
            ratio = network(u[:, None], c).double().cpu().exp()
        total += w @ ratio
        sum_of_weights += float(w.sum())
    return total / sum_of_weights
