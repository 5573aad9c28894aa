"""Event weights of what a density is learned from, which must be positive."""

from __future__ import annotations

from torch import Tensor

from hepgen.errors import DataError


def check_density_weights(weight: Tensor | None, negative_weights: bool) -> None:
    """Refuse negative weights, shape ``(N,)``, of a density, unless they are asked for.

    The loss −Σ wᵢ log p(xᵢ)/Σ wᵢ is that of a density where Σ w is positive in every part of the
    space. Where negative weights cancel, nothing holds p above zero, and the loss has no minimum:
    it falls without end as p vanishes at an event of negative weight. Its noise is that of
    (Σw)²/Σw² events, which is (1 − 2f)² N with a share f of weights −1 among ones.

    Raises:
        DataError: Some are negative and were not asked for.

    >>> import torch
    >>> check_density_weights(torch.tensor([1.0, 1.0, -1.0]), negative_weights=True)
    """
    if weight is None or negative_weights or not bool((weight < 0).any()):
        return
    w = weight.double()
    negative, worth = int((w < 0).sum()), (w.sum().square() / w.square().sum()).item()
    raise DataError(
        f"{negative} of {len(w)} event weights are negative, down to {w.min().item():g}: a density "
        f"must be positive, and where weights cancel nothing holds it there; the {len(w)} events "
        f"are worth {worth:.4g}. Use events of positive weight (let the generator unweight them), "
        "a ratio estimator, which takes signed weights, or negative_weights=True"
    )
