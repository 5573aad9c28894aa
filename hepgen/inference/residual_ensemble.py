"""Several trainings of one density from few simulations, of the size that suits the simulator.

In two dimensions ten thousand vectors teach a mixture of eight components, in ten it overfits. The
validation loss knows: one member of each candidate is trained on the same split, and the others
are of the best. A posterior of ten parameters that is nearly Gaussian (``bernoulli_glm`` of
arXiv:2101.04653) gains 0.2 nats from two components and a strong decay of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.nn.device import choose, trained_on
from hepgen.nn.residual_mixture import ResidualMixture
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.results import TrainingCurve

Loss = Callable[[ResidualMixture, tuple[Tensor, ...]], Tensor]
"""A density and a batch to the losses of its rows, shape ``(B,)``."""


@dataclass(frozen=True)
class Candidate:
    """The size of a network, and how strongly its weights are held back.

    Arguments:
        components, hidden: See :class:`hepgen.nn.residual_mixture.ResidualMixture`.
        weight_decay: See :func:`hepgen.nn.train.train`.
    """

    components: int
    hidden: tuple[int, ...]
    weight_decay: float

    @property
    def architecture(self) -> dict[str, Any]:
        """What rebuilds a density, see :func:`start`."""
        return {"components": self.components, "hidden": list(self.hidden)}


CANDIDATES = (Candidate(8, (64, 64), 0.01), Candidate(2, (128, 128), 0.3))


@dataclass(frozen=True)
class Trained:
    """Members of one architecture, and how each was trained."""

    candidate: Candidate
    members: tuple[ResidualMixture, ...]
    curves: tuple[TrainingCurve, ...]


def fit_members(
    rows: Table,
    loss: Loss,
    prepare: tuple[Tensor, Tensor],
    *,
    candidates: Sequence[Candidate],
    members: int,
    seed: int,
    device: str,
    **training: Any,
) -> Trained:
    """Train one member of each candidate, and then the others of the best.

    Arguments:
        rows: What is trained on; the second column is the context.
        loss: Of a batch of them.
        prepare: Values and contexts that the linear Gaussian model is measured on.
        candidates: Of which the one with the least validation loss is taken.
        members: How many of it; a member has seed + m.
        seed: Of the first member.
        device: Where to train.
        training: Settings of :func:`hepgen.nn.train.train`.

    Raises:
        ParameterError: No candidate, or no member.
    """
    if members < 1 or not candidates:
        raise ParameterError(
            f"members = {members} of {len(candidates)} candidates: expected one at least of each"
        )

    def one(candidate: Candidate, seed: int) -> tuple[ResidualMixture, TrainingCurve]:
        values, context = prepare
        density = start(values.shape[-1], context.shape[-1], candidate.architecture, seed)
        density.prepare(values, context)
        with trained_on(density, choose(device)):
            # The linear Gaussian model that it starts from is a candidate, too.
            curve = train(
                density, lambda batch: loss(density, batch), rows,
                weight_decay=candidate.weight_decay, seed=seed, untrained=True, **training,
            )  # fmt: skip
        if curve.best_epoch == 0:  # before the first epoch: no training was better
            density.become_linear()
        return density.eval(), curve

    first = [(candidate, *one(candidate, seed)) for candidate in candidates]
    best, density, curve = min(first, key=lambda entry: min(entry[2].validation))
    others = [one(best, seed + m) for m in range(1, members)]
    return Trained(
        best, (density, *(other for other, _ in others)), (curve, *(other for _, other in others))
    )


def start(features: int, context: int, architecture: dict[str, Any], seed: int) -> ResidualMixture:
    """An untrained density whose initial weights follow from the seed."""
    components, hidden = int(architecture["components"]), tuple(map(int, architecture["hidden"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualMixture(features, context, components, hidden)
