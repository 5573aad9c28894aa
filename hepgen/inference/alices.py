r"""ALICES: the improved cross-entropy with the joint score.

A classifier is told not from which of two parameters an event is, but the probability of that,
given its whole history, s = r/(1 + r):

.. math:: \ell_r = s\,\mathrm{sp}(-\log\hat r) + (1 - s)\,\mathrm{sp}(\log\hat r), \qquad
          \mathrm{sp}(h) = \log(1 + e^h)

over events of θ and of the reference alike, plus the score (Stoye, Brehmer, Louppe, Pavez, Cranmer,
arXiv:1808.00973, eq. 13 and 18). It has the minimum of the cross-entropy with labels 1 and 0, with
less variance, and no tails. ``alpha = 0`` is ALICE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor
from torch.nn.functional import softplus

from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.augmented_ratio import fit_ratio
from hepgen.inference.ratio import Ratio
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import ParameterSet


class ALICES(Ratio):
    """log p(x | θ)/p(x | θ_ref), learned from joint ratios and joint scores."""

    kind = "alices"

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
    ) -> ALICES:
        """Learn the ratio; arguments as of :meth:`hepgen.inference.rascal.RASCAL.fit`.

        At every θ there have to be as many events of θ as of the reference, as those of
        :meth:`hepgen.inference.augmented.AugmentedEvents.pairs` are.
        """
        return cls(**fit_ratio(_loss, events, features, parameters, alpha, hidden, options))


def _loss(value: Tensor, log_ratio: Tensor, at_theta: Tensor) -> Tensor:  # noqa: ARG001
    s = log_ratio.sigmoid()
    return s * softplus(-value) + (1 - s) * softplus(value)
