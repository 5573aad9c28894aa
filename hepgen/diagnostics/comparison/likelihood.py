"""The likelihood of held-out events under a surrogate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.judgement import Measured
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate


@torch.no_grad()
def negative_log_likelihood(
    surrogate: Surrogate | ImageSurrogate, x: Tensor, context: Tensor, seed: int = 0
) -> Measured:
    """The mean of −log p(x | c) in nats, in the units of x, and its standard error.

    Differences between surrogates of the same events are differences of Kullback–Leibler
    divergences from the simulator; the number alone depends on the units of x. Where the
    surrogate's density is a bound or an estimate, so is this.

    Arguments:
        surrogate: One with a density.
        x: Events that it was not trained on, shape ``(N, d)``.
        context: Shape ``(N, C)``.
        seed: Of what an estimate draws.

    Raises:
        DataError: Fewer than two events, or the density of one is not finite.
        SurrogateError: It has no density.
    """
    if len(x) < 2:
        raise DataError(f"{len(x)} events; expected at least two for a standard error")
    found = surrogate.log_density(x, context, seed)
    invalid = int((~torch.isfinite(found.value)).sum())
    if invalid:
        raise DataError(
            f"log p is NaN or infinite for {invalid} of {len(x)} held-out events: they lie where "
            "the surrogate has no density; train it on more events or a wider range"
        )
    return Measured(-found.value.mean().item(), found.value.std().item() / math.sqrt(len(x)))
