r"""The training that RASCAL and ALICES share: a ratio to a reference, with its slope in θ.

.. math:: \ell = \ell_r + \alpha\,[x \sim p(\cdot | \theta)] \sum_j
          \frac{(\partial_j\log\hat r(x | \theta) - t_j)^2}{2 V_j}

with ℓ_r that of the method. The joint score t has the mean ∇ log p(x | θ) = ∇ log r(x | θ) over the
events of θ, and of these only. V is its variance; see :mod:`hepgen.inference.scandal` for why.

Ratio and score are those of selected events (:mod:`hepgen.inference.selection_efficiency`), and the
two classes are given one sum of weights at every θ: an event of θ has been selected with ε(θ), so
one of the reference that stands beside it has the weight ε(θ)/ε(θ_ref), up to a constant. What is
learned is divided by its mean over the reference (:mod:`hepgen.inference.ratio_norm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.ratio import Prepared
from hepgen.inference.ratio_norm import normalise
from hepgen.inference.scores import check_scores, score_variance
from hepgen.inference.training_options import TrainingOptions, fit_network
from hepgen.nn.columns import Column, Derived, taken, whole
from hepgen.nn.rows import Table, standardised
from hepgen.parameters import ParameterSet

RatioLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""log r̂, the joint log r, and which events are of θ, shape ``(B,)`` each, to losses ``(B,)``."""

_DEFAULTS: TrainingOptions = {
    "validation_fraction": 0.05, "batch_size": 1024, "epochs": 12, "max_learning_rate": 4e-3,
    "patience": None,
}  # fmt: skip


def fit_ratio(
    loss: RatioLoss,
    events: AugmentedEvents,
    features: Sequence[Feature],
    parameters: ParameterSet,
    alpha: float,
    hidden: Sequence[int],
    options: TrainingOptions,
) -> dict[str, Any]:
    """Train on events of θ and of the reference; what the constructor of a ratio takes.

    Raises:
        DataError: There is no ratio, or there are no events of one of the two classes.
    """
    at_theta, reference = _classes(events)
    own = at_theta.nonzero()[:, 0]
    check_scores(_of(own, events.score), parameters)
    efficiency = events.efficiency()
    weight = _balanced(events, at_theta, whole(Derived(efficiency.log, events.theta)))
    log_ratio = events.selected_ratio(efficiency)
    assert log_ratio is not None
    data = Prepared.of(
        events.x, events.theta, features, parameters, hidden, options, reference
    )  # fmt: skip
    score = Derived(lambda t: t * data.scale, events.selected_score(efficiency))
    own_weight = None if events.weight is None else _of(own, events.weight)
    factor = (alpha / (2 * score_variance(_of(own, score), own_weight))).float()

    def total(batch: tuple[Tensor, ...]) -> Tensor:
        u, c, log_r, t, of_theta = batch
        value, slope = data.network.scored(u, c)
        miss = ((slope - t).square() * factor.to(t)).sum(-1)
        return loss(value, log_r, of_theta) + torch.where(of_theta, miss, 0.0)

    rows = Table(*standardised(data.u, data.c, log_ratio, score, at_theta))
    curve = fit_network(data.network, total, rows, weight, _DEFAULTS, options)
    there = (~at_theta).nonzero()[:, 0]
    reference_weight = None if events.weight is None else events.weight[there]
    normalise(data, there, reference_weight, options.get("seed", 0))
    return data.arguments(curve)


def _of(index: Tensor, column: Column) -> Derived:
    """The rows ``index`` of a column, shape ``(M,)``."""
    return Derived(lambda rows: taken(column, rows), index)


def _classes(events: AugmentedEvents) -> tuple[Tensor, Tensor]:
    """Which events are of θ, and the reference."""
    ratio, at_theta, reference = events.log_ratio, events.at_theta, events.reference
    if ratio is None or reference is None:
        raise DataError(
            "the events have no joint ratio to a reference; make them with AugmentedEvents.pairs, "
            "or simulate with [augment] points and give `ratio` and `reference`"
        )
    invalid = int((~torch.isfinite(ratio)).sum())
    if invalid:
        raise DataError(f"the joint log-ratio is NaN or infinite in {invalid} of {len(ratio)} rows")
    if at_theta is None or bool(at_theta.all()) or not bool(at_theta.any()):
        raise DataError(
            "the events are all of one kind; expected some of θ and some of the reference: "
            "AugmentedEvents.pairs makes both"
        )
    return at_theta, reference


def _balanced(events: AugmentedEvents, at_theta: Tensor, log_efficiency: Tensor) -> Tensor:
    """Weights of the same sum for both classes, at every θ."""
    w = torch.ones(len(events)).double() if events.weight is None else events.weight.double()
    w = torch.where(at_theta, w, w * log_efficiency.exp())
    sums = w[at_theta].sum(), w[~at_theta].sum()
    if not (sums[0] > 0 and sums[1] > 0):
        raise DataError(
            f"the weights sum to {sums[0].item():g} at θ and {sums[1].item():g} at the reference; "
            "expected positive numbers"
        )
    return torch.where(at_theta, w / sums[0], w / sums[1])
