r"""Counts as real numbers whose spread hardly depends on their mean.

.. math:: y = 2\sqrt{v + \tfrac12 + \tfrac38}, \qquad v = 0, 1, 2, \dots

of a Poisson number v has a variance near 1, whatever its mean (Anscombe, Biometrika 35 (1948) 246;
½ makes room for the noise of a unit that turns v into a real number). A network that sees y, or
learns its density, resolves 0 from 3 as well as 500 from 550.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.feature_space import FeatureSpace

_OFFSET = 0.875


def counted(space: FeatureSpace) -> Tensor:
    """Which features are counts, shape ``(d,)``."""
    return torch.tensor([feature.kind == "discrete" for feature in space.features])


def stabilised(v: Tensor, counts: Tensor) -> Tensor:
    """y where v is a count, else v, shape ``(*, d)``; ``counts`` from :func:`counted`.

    >>> stabilised(torch.tensor([[0.125, 3.0]]), torch.tensor([True, False]))
    tensor([[2., 3.]])
    """
    return torch.where(counts.to(v.device), 2 * (v + _OFFSET).clamp(min=1e-6).sqrt(), v)


def whole(y: Tensor, counts: Tensor) -> Tensor:
    """The inverse of :func:`stabilised`, shape ``(*, d)``."""
    return torch.where(counts, (0.5 * y.clamp(min=0)).square() - _OFFSET, y)


def log_slope(v: Tensor, counts: Tensor) -> Tensor:
    """log |dy/dv| summed over the features, shape ``(*,)`` for v of shape ``(*, d)``."""
    slope = -0.5 * (v.double() + _OFFSET).clamp(min=1e-6).log()
    return torch.where(counts, slope, 0.0).sum(-1)
