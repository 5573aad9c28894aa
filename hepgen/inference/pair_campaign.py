"""Events of θ and of a reference in blocks, each with a seed: what RASCAL and ALICES learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen import __version__
from hepgen.events import SCORE, THETA, WEIGHT, Events
from hepgen.features import Feature, events_to_tensor
from hepgen.inference.augmented import AugmentedEvents, concatenate, pair_block
from hepgen.parameters import ParameterSet
from hepgen.simulators.campaign import Block
from hepgen.simulators.chain import Chain

LOG_RATIO = "log_ratio"
"""The column of log p(x, z | θ)/p(x, z | θ_ref)."""
AT_THETA = "at_theta"
"""The column that says which events are of θ."""


@dataclass(frozen=True)
class PairCampaign:
    """Half of the events at θ from the prior, half at the reference with a θ from the prior.

    It is to :meth:`hepgen.inference.augmented.AugmentedEvents.pairs` as a
    :class:`hepgen.simulators.campaign.Campaign` is to a simulation: a block depends on the seed
    and its number, and on nothing else.

    Arguments:
        chain: The simulator.
        parameters: The free ones make θ; the others stand at their defaults.
        features: The columns of x.
        reference: θ_ref, D numbers.
        events: How many to generate.
        seed: Of all of them.
        block_size: Events generated in a block.
    """

    chain: Chain
    parameters: ParameterSet
    features: tuple[Feature, ...]
    reference: tuple[float, ...]
    events: int
    seed: int = 0
    block_size: int = 8192

    def identity(self) -> dict[str, Any]:
        """What its events depend on, as plain values."""
        return {
            "hepgen": __version__, "seed": self.seed, "pairs": list(self.reference),
            "process": self.chain.name, "chain": dict(self.chain.options),
            "parameters": self.parameters.to_dict(), "block_size": self.block_size,
            "columns": [feature.name for feature in self.features],
        }  # fmt: skip

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return math.ceil(self.events / self.block_size)

    def generated(self, block: int) -> int:
        """How many events block number ``block`` generates: all the same."""
        return self.block_size if 0 <= block < self.blocks else 0

    def simulate(self, block: int) -> Block:
        """The events of block number ``block``."""
        made = concatenate(
            list(
                pair_block(
                    self.chain, self.parameters, self.features, self._reference, self.block_size,
                    self.seed, block,
                )
            )
        )  # fmt: skip
        weights = float(len(made) if made.weight is None else made.weight.sum())
        return Block(self._columns(made), self.block_size, len(made), weights)

    def sample(self, parts: Sequence[Events]) -> AugmentedEvents:
        """The events of blocks, as an estimator takes them."""
        names, events = self.parameters.free_names, Events.concatenate(list(parts))
        return AugmentedEvents(
            x=events_to_tensor(events, self.features),
            theta=torch.from_numpy(events.theta(names)),
            score=torch.from_numpy(events.flat([SCORE + name for name in names])),
            log_ratio=torch.from_numpy(events.flat([LOG_RATIO])[:, 0]),
            weight=torch.from_numpy(events.weight) if WEIGHT in events else None,
            at_theta=torch.from_numpy(np.asarray(events[AT_THETA]).astype(bool)),
            reference=self._reference,
        )

    @property
    def _reference(self) -> Tensor:
        return torch.tensor(self.reference, dtype=torch.float64)

    def _columns(self, made: AugmentedEvents) -> Events:
        columns: dict[str, Any] = {
            feature.name: column.numpy()
            for feature, column in zip(self.features, made.x.unbind(-1), strict=True)
        }
        for name, theta, score in zip(
            self.parameters.free_names, made.theta.unbind(-1), made.score.unbind(-1), strict=True
        ):
            columns |= {THETA + name: theta.numpy(), SCORE + name: score.numpy()}
        for name, value in (
            (LOG_RATIO, made.log_ratio), (AT_THETA, made.at_theta), (WEIGHT, made.weight)
        ):  # fmt: skip
            if value is not None:
                columns[name] = value.numpy()
        return Events.from_columns(columns)
