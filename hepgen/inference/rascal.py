r"""RASCAL: the ratio to a reference by regression on the joint ratio and the joint score.

.. math:: \ell_r = \tfrac12\begin{cases}
          (r - \hat r)^2 & x \sim p(\cdot | \theta_{ref}) \\
          (1/r - 1/\hat r)^2 & x \sim p(\cdot | \theta) \end{cases}

plus the score (Brehmer, Louppe, Pavez, Cranmer, arXiv:1805.12244, eq. 13; their θ₀ is θ and their
θ₁ the reference). E[r | x] over the reference is p(x | θ)/p(x | θ_ref), and E[1/r | x] over events
of θ its inverse. Squares of ratios have tails: where θ moves the density by much, few events are
all of the loss, and :mod:`hepgen.inference.alices` does better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.augmented_ratio import fit_ratio
from hepgen.inference.ratio import Ratio
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import ParameterSet

_LARGEST = 10.0
"""Of |log r|, so that no square overflows."""


class RASCAL(Ratio):
    """log p(x | θ)/p(x | θ_ref), learned from joint ratios and joint scores."""

    kind = "rascal"

    @classmethod
    def fit(
        cls,
        events: AugmentedEvents,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        alpha: float = 1.0,
        hidden: Sequence[int] = (64, 64, 64),
        **options: Unpack[TrainingOptions],
    ) -> RASCAL:
        """Learn the ratio.

        Arguments:
            events: Selected events of θ and of the reference, as
                :meth:`hepgen.inference.augmented.AugmentedEvents.pairs` makes them.
            features: What the d columns of x are, with their bounds.
            parameters: What the D columns of θ are.
            alpha: Of the score, in units of what its variance allows.
            hidden: The widths of the network.
            options: Of the training.

        Raises:
            DataError: No ratio, no score, or numbers that cannot be used.
        """
        return cls(**fit_ratio(_loss, events, features, parameters, alpha, hidden, options))


def _loss(value: Tensor, log_ratio: Tensor, at_theta: Tensor) -> Tensor:
    # One formula for both: of an event of θ the inverse ratios are compared.
    sign = torch.where(at_theta, -1.0, 1.0)
    found, joint = ((sign * v).clamp(-_LARGEST, _LARGEST).exp() for v in (value, log_ratio))
    return 0.5 * (found - joint).square()
