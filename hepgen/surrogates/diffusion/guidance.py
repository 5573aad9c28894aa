"""Classifier-free guidance: one network with and without its context (arXiv:2207.12598).

In training a row loses its context with some probability. In sampling v = v_∅ + w (v_c − v_∅):
w = 1 is the conditional model, w > 1 sharpens it. Only w = 1 has a density: for another w the
samples are not those of p_c^w p_∅^{1−w}, nor of anything known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.surrogates.diffusion.prediction import Velocity


def flagged(context: Tensor, keep: Tensor | float) -> Tensor:
    """The context times a flag, and the flag itself: ``(B, C)`` to ``(B, C + 1)``.

    Zeros alone would be a context like any other: that of the mean.
    """
    flag = torch.ones_like(context[:, :1]) * keep
    return torch.cat([context * flag, flag], -1)


def dropped(context: Tensor, probability: float) -> Tensor:
    """:func:`flagged`, where each row is without its context with the given probability."""
    kept = torch.rand(len(context), 1, device=context.device) >= probability
    return flagged(context, kept.to(context))


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """v_∅ + w (v_c − v_∅); linear in v, hence the same in ε, x₀ and the score."""
    if scale == 1:
        return conditional

    def velocity(x: Tensor, gamma: Tensor) -> Tensor:
        without = unconditional(x, gamma)
        return without + scale * (conditional(x, gamma) - without)

    return velocity
