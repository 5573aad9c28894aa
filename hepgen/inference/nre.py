r"""Neural ratio estimation: classifiers of single events, p(x | θ)/p(x) and p(x | θ)/p(x | θ_ref).

**Binary** (Hermans, Begy, Louppe, arXiv:1903.04057). Of the pairs (x, θ) that belong together and
those whose θ is another event's, the classifier with the smallest cross-entropy has the logit

.. math:: h(x, \theta) = \log\frac{p(x, \theta)}{p(x)p(\theta)} = \log\frac{p(x | \theta)}{p(x)},
          \qquad \ell = \mathrm{sp}(-h(x, \theta)) + \tfrac1K\sum_k \mathrm{sp}(h(x, \theta_k)),

sp(h) = log(1 + eʰ), here with K contrasts to every event, which only lowers the variance.

**Contrastive** (Miller, Weniger, Forré, arXiv:2210.06170, eq. 10 to 14, with γ). Which of K
parameters made x, or none of them? With the classes' probabilities p_K = γ/(K(1 + γ)) each and
p_0 = 1/(1 + γ),

.. math:: \ell = -p_0 \log\frac{K}{K + \gamma\sum_k e^{h(x, \theta'_k)}}
          - K p_K \log\frac{\gamma e^{h(x, \theta)}}{K + \gamma\sum_k e^{h(x, \theta_k)}},

where θ is one of the θ_k and none of the θ'_k. Here, too, e^h = p(x | θ)/p(x), normalised.

**Against a reference** (Cranmer, Pavez, Louppe, arXiv:1506.02169): events of θ against events of
θ_ref that are given the same θ's at random, for the logit log p(x | θ)/p(x | θ_ref).

What is learned is divided by its mean over the events of the denominator, of weight w each, which
is one (:mod:`hepgen.inference.ratio_norm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Unpack

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.inference.event_sets import event_weights
from hepgen.inference.ratio import Prepared, Ratio, RatioNetwork
from hepgen.inference.ratio_norm import check_mean_weight, normalise
from hepgen.inference.training_options import TrainingOptions, fit_network
from hepgen.nn.columns import Column, taken
from hepgen.nn.rows import Table, standardised, window_of
from hepgen.parameters import ParameterSet

_DEFAULTS: TrainingOptions = {
    "validation_fraction": 0.05, "batch_size": 1024, "epochs": 12, "max_learning_rate": 4e-3,
    "patience": None,
}  # fmt: skip


class NRE(Ratio):
    """log p(x | θ)/p(x), with p(x) the mean of p(x | θ) over the training sample."""

    kind = "nre"

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        weight: Tensor | None = None,
        loss: Literal["binary", "contrastive"] = "contrastive",
        contrasts: int = 8,
        gamma: float = 1.0,
        hidden: Sequence[int] = (64, 64, 64),
        **options: Unpack[TrainingOptions],
    ) -> NRE:
        """Learn the ratio from simulated events, each with its own θ.

        Arguments:
            x: Events, shape ``(N, d)``, in physical variables.
            theta: The parameters that made them, shape ``(N, D)``.
            features: What the d columns are, with their bounds.
            parameters: What the D columns of θ are.
            weight: Signed event weights, shape ``(N,)``.
            loss: See the top of this module.
            contrasts: K, other events of the same batch.
            gamma: γ of the contrastive loss.
            hidden: The widths of the network.
            options: Of the training.

        Raises:
            DataError: Events or settings that cannot be used.
            ParameterError: A θ outside its prior.
        """
        if loss not in _LOSSES or contrasts < 1 or not gamma > 0:
            raise DataError(
                f"loss {loss!r} with {contrasts} contrasts and γ = {gamma:g}; expected one of "
                f"{', '.join(_LOSSES)}, and positive numbers"
            )
        data = Prepared.of(x, theta, features, parameters, hidden, options)
        check_mean_weight(data.c, weight)
        of_logits = _LOSSES[loss]
        curve = fit_network(
            data.network,
            lambda batch: of_logits(*_logits(data.network, batch, contrasts), gamma),
            Table(*standardised(data.u, data.c)), weight, _DEFAULTS, options,
        )  # fmt: skip
        normalise(data, torch.arange(len(data.u)), weight, options.get("seed", 0))
        return cls(**data.arguments(curve))


class ParametrisedClassifier(Ratio):
    """log p(x | θ)/p(x | θ_ref), from events of θ and events of the reference."""

    kind = "classifier"

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        x_reference: Tensor,
        reference: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        weight: Tensor | None = None,
        weight_reference: Tensor | None = None,
        hidden: Sequence[int] = (64, 64, 64),
        **options: Unpack[TrainingOptions],
    ) -> ParametrisedClassifier:
        """Learn the ratio; arguments as of :meth:`NRE.fit`, and

        Arguments:
            x_reference: Events of θ_ref, shape ``(M, d)``.
            reference: θ_ref, shape ``(D,)``.
            weight_reference: Their signed weights, shape ``(M,)``.
        """
        data = Prepared.of(
            x, theta, features, parameters, hidden, options, reference.double(), x_reference
        )
        rows = _Classes(*standardised(data.u, data.c))
        check_mean_weight(data.c, weight)
        weights = balanced(weight, len(x), weight_reference, len(x_reference))
        curve = fit_network(
            data.network,
            lambda batch: softplus(torch.where(batch[2], -1.0, 1.0) * data.network(*batch[:2])),
            rows, weights, _DEFAULTS, options,
        )  # fmt: skip
        there = torch.arange(len(x), len(data.u))
        normalise(data, there, weight_reference, options.get("seed", 0))
        return cls(**data.arguments(curve))


class _Classes:
    """Events of θ with it, then events of the reference with a random event's θ."""

    def __init__(self, u: Column, c: Column) -> None:
        self.u, self.c, self.window = u, c, window_of(u, c)

    def __len__(self) -> int:
        return len(self.u)

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """u, c, and whether the event is of θ."""
        at_theta = index < len(self.c)
        if self.window and bool(at_theta.any()):
            # Of this batch: that of any event would be read from anywhere on the disk.
            own = index[at_theta]
            other = own[torch.randint(len(own), index.shape, generator=generator)]
        else:
            other = torch.randint(len(self.c), index.shape, generator=generator)
        c = taken(self.c, torch.where(at_theta, index, other))
        return taken(self.u, index), c, at_theta


def balanced(first: Tensor | None, n: int, second: Tensor | None, m: int) -> Tensor | None:
    """Weights of two classes in a row, of one sum each; ``None`` where all are one."""
    if first is None and second is None and n == m:
        return None
    one, other = event_weights(first, n), event_weights(second, m)
    return torch.cat([one / one.sum(), other / other.sum()])


def _logits(
    network: RatioNetwork, batch: tuple[Tensor, ...], contrasts: int
) -> tuple[Tensor, Tensor]:
    """h of the event's own θ, shape ``(B,)``, and of the θ of K others, shape ``(B, K)``."""
    u, c = batch
    contrasts = max(1, min(contrasts, len(u) - 1))
    shifted = [c.roll(-k, dims=0) for k in range(contrasts + 1)]
    together = network(u[:, None], torch.stack(shifted, dim=1))
    return together[:, 0], together[:, 1:]


def _binary(own: Tensor, others: Tensor, gamma: float) -> Tensor:  # noqa: ARG001
    return softplus(-own) + softplus(others).mean(-1)


def _contrastive(own: Tensor, others: Tensor, gamma: float) -> Tensor:
    number = others.shape[-1]
    start = torch.full_like(own, math.log(number))[:, None]
    offset = math.log(gamma)
    none = torch.logsumexp(torch.cat([start, others + offset], dim=-1), dim=-1)
    mixed = torch.cat([start, own[:, None] + offset, others[:, 1:] + offset], dim=-1)
    right = own + offset - torch.logsumexp(mixed, dim=-1)
    return (none - math.log(number) - gamma * right) / (1 + gamma)


_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "binary": _binary, "contrastive": _contrastive,
}  # fmt: skip
