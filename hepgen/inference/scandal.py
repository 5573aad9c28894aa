r"""SCANDAL: a density of one event that is held to the joint score, too.

.. math:: \ell = -\log\hat p(x | \theta)
          + \alpha \sum_j \frac{(\partial_j\log\hat p(x | \theta) - t_j)^2}{2 V_j}

(Brehmer, Louppe, Pavez, Cranmer, arXiv:1805.12244, eq. 21). Both terms have the true density as
their minimum, where they are expectations: the first by the events' number, the second because t
has the mean ∇ log p(x | θ) at fixed x. How much each knows of the slope of log p in θ decides what
α is to be. An event says with a variance of 1 what the slope is in units of θ's spread over the
sample, by its being there at one θ rather than another; its joint score says so with the variance V
of t around its mean, in these units. With α = 1 and V the variance of t the two are combined as two
measurements are, by their inverse variances. α = 0 is :class:`hepgen.inference.nle.NLE`.

What a selection adds to the score, ∇ log ε(θ), is taken off first
(:mod:`hepgen.inference.selection_efficiency`). A normalised density could not follow it anyhow: the
mean of ∇ log p̂ is zero at every θ. For the same reason it needs no normalisation afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.nle import NLE, build_estimator, check_theta
from hepgen.inference.scores import check_scores, score_variance
from hepgen.inference.training_options import TrainingOptions, fit_network, seeded
from hepgen.nn.columns import Derived
from hepgen.nn.density_weights import check_density_weights
from hepgen.nn.rows import Table, standardised
from hepgen.parameters import ParameterSet

_DEFAULTS: TrainingOptions = {
    "validation_fraction": 0.05, "batch_size": 1024, "epochs": 12, "max_learning_rate": 6e-3,
    "patience": None,
}  # fmt: skip


def fit_scandal(
    events: AugmentedEvents,
    *,
    features: Sequence[Feature],
    parameters: ParameterSet,
    alpha: float = 1.0,
    components: int = 8,
    hidden: Sequence[int] = (64, 64, 64),
    negative_weights: bool = False,
    **options: Unpack[TrainingOptions],
) -> NLE:
    """Learn p(x | θ) from events and their joint scores; it is stored as, and answers as, an NLE.

    Arguments:
        events: Selected events at their own θ; those of a reference are left out.
        features: What the d columns of x are, with their bounds.
        parameters: What the D columns of θ are.
        alpha: α.
        components, hidden, negative_weights: See :meth:`hepgen.inference.nle.NLE.fit`.
        options: Of the training.

    Raises:
        DataError: Events or scores that cannot be used, or negative weights that were not asked
            for.
        ParameterError: A θ outside its prior.
    """
    own = events.own
    check_density_weights(own.weight, negative_weights)
    check_theta(own.theta, parameters, len(own))
    check_scores(own.score, parameters)
    space = FeatureSpace.from_sample(as_continuous(features), own.x)
    location, scale = own.theta.double().mean(0), own.theta.double().std(0)
    architecture = {"components": components, "hidden": list(hidden)}
    sizes = len(space), len(parameters.free)
    estimator: Any = seeded(lambda: build_estimator(*sizes, architecture), options)
    score = Derived(lambda t: t * scale, own.selected_score(own.efficiency()))
    variance = score_variance(score, own.weight).float()
    c = Derived(lambda theta: (theta - location) / scale, own.theta)
    rows = Table(*standardised(Derived(space.forward, own.x), c, score))
    factor = alpha / (2 * variance)
    curve = fit_network(
        estimator, lambda batch: _loss(estimator, batch, factor.to(batch[0])),
        rows, own.weight, _DEFAULTS, options,
    )  # fmt: skip
    return NLE(
        estimator, space, parameters,
        location=location, scale=scale, architecture=architecture, curve=curve,
    )  # fmt: skip


def _loss(estimator: Any, batch: tuple[Tensor, ...], factor: Tensor) -> Tensor:
    """The two terms, shape ``(B,)``; the gradient in c can be trained, also where none is asked."""
    u, c, score = batch
    with torch.enable_grad():
        c = c.detach().requires_grad_(True)
        log_prob = estimator.net(c).log_prob(u)
        (slope,) = torch.autograd.grad(log_prob.sum(), c, create_graph=True)
    loss: Tensor = -log_prob + ((slope - score).square() * factor).sum(-1)
    return loss
