r"""The mean of a ratio over the events of its denominator, which is one at every θ.

.. math:: Z(\theta) = \frac{\sum_i w_i \hat r(x_i | \theta)}{\sum_i w_i}, \qquad
          \log\hat r(x | \theta) \to \log\hat r(x | \theta) - \log Z(\theta)

with the events x_i of the reference, or of all θ where the denominator is p(x). What a training has
wrong is partly a function of θ alone, which counts N times in the likelihood of N events. Of a
ratio that is learned from joint ratios it is the larger part: log r(x, z | θ) scatters by all that
is latent, so that its mean over the events of a training is far less well known than that of
log r̂(x | θ), which scatters by what is seen, over the same events. Division by Z leaves the second.
A classifier is nearer to it, yet only as near as its training came to the minimum of its loss.
Weights whose mean moves with θ are in Z, too, and are taken off with it.

Z is computed at some θ of the training from all events of the denominator, and log Z is a
polynomial in θ, fitted with each Z's statistical error as its weight; zero at the reference.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.monomials import degree_within, polynomial, powers_of
from hepgen.inference.ratio import DEGREES, Prepared, RatioNetwork
from hepgen.nn.columns import Column, taken

_NODES, _TERMS, _OF_A_TERM = 256, 36, 3
_EVALUATIONS = 2**24
_PAIRS, _ROWS = 2**15, 2**17


def check_mean_weight(c: Column, weight: Tensor | None) -> None:
    """Refuse weights whose mean, a polynomial of degree 2 in θ, is not positive at every θ.

    Arguments:
        c: θ in the network's units, shape ``(N, D)``.
        weight: Shape ``(N,)``; ``None`` for ones.

    Raises:
        DataError: With the least mean.
    """
    if weight is None:
        return
    basis = polynomial(c[:].double(), powers_of(torch.ones(c[:1].shape[-1], dtype=torch.bool), 2))
    fit = torch.linalg.lstsq(basis, weight.double()[:, None], driver="gelsd").solution
    mean = basis @ fit
    if not bool((mean > 0).all()):
        raise DataError(
            f"the mean of the event weights falls to {mean.min().item():g} at some θ; expected a "
            "positive one everywhere: a density ratio needs more events, or fewer negative weights"
        )


def normalise(data: Prepared, rows: Tensor, weight: Tensor | None, seed: int) -> None:
    """Divide a trained ratio by its mean over its denominator.

    Arguments:
        data: The training sample, and its network.
        rows: Which of them are events of the denominator, shape ``(M,)``.
        weight: Their signed weights, shape ``(M,)``.
        seed: Of the choice of θ.

    Raises:
        DataError: The mean is not positive at some θ.
    """
    degree, nodes = _nodes(data.c, len(rows), seed)
    mean, error = _means(data.network, nodes, _events(data.u, rows, weight))
    if not bool((mean > 0).all()):
        raise DataError(
            f"the mean of the ratio over its denominator is {mean.min().item():g} at some θ; "
            "expected a positive one everywhere: train on more events, or fewer negative weights"
        )
    powers = powers_of(torch.ones(nodes.shape[-1], dtype=torch.bool), degree)
    basis, origin = polynomial(nodes, powers), data.network.reference
    # A polynomial that is zero where the ratio is one for every event.
    there = None if origin is None else polynomial(origin.cpu().double(), powers)
    if there is not None:
        basis = (basis - there)[:, 1:]
    # One that is known without error, the reference, shall not be all that counts.
    precision = mean / error.clamp_min(0.1 * error.median() + torch.finfo().tiny)
    right = (mean.log() * precision)[:, None]
    found = torch.linalg.lstsq(basis * precision[:, None], right, driver="gelsd").solution[:, 0]
    if there is not None:
        found = torch.cat([-(there[1:] @ found)[None], found])
    data.network.subtract(degree, found)


def _nodes(c: Column, events: int, seed: int) -> tuple[int, Tensor]:
    """The degree of the polynomial, and some of the training's θ in the network's units."""
    some = torch.arange(0, len(c), max(1, len(c) // _ROWS))
    known = torch.unique(taken(c, some).double(), dim=0)
    dimension = known.shape[-1]
    degree = degree_within(dimension, min(_TERMS, len(known) // _OF_A_TERM), DEGREES)
    terms = len(powers_of(torch.ones(dimension, dtype=torch.bool), degree))
    most = max(_OF_A_TERM * terms, min(_NODES, _EVALUATIONS // max(1, events)))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    return degree, known[order[:most]]


def _events(u: Column, rows: Tensor, weight: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and weights, as many at a time as are read at once."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        ones = torch.ones(len(part), dtype=torch.float64)
        yield taken(u, part), ones if weight is None else weight[start : start + _ROWS].double()


def _means(
    network: RatioNetwork, nodes: Tensor, events: Iterator[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Z at each node, and its standard error: shape ``(K,)`` each."""
    like = next(network.parameters())
    c = nodes.to(like)[None]
    total, squares = torch.zeros(2, len(nodes), dtype=torch.float64)
    sum_of_weights = 0.0
    for all_u, all_w in events:
        sum_of_weights += float(all_w.sum())
        size = max(1, _PAIRS // len(nodes))
        for u, w in zip(torch.split(all_u, size), torch.split(all_w, size), strict=True):
            with torch.no_grad():
                ratio = network(u.to(like)[:, None], c).double().cpu().exp()
            total += w @ ratio
            squares += w.square() @ (ratio - 1).square()
    return total / sum_of_weights, squares.sqrt() / abs(sum_of_weights)
