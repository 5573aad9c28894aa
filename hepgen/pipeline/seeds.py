"""Seeds of what is learned from, apart from those of what judges."""

from __future__ import annotations

from hepgen.simulators.chain import stream


def training_seed(seed: int) -> int:
    """Of a campaign to learn from: nothing that judges has its events, whatever seeds are given.

    A block is a function of the seed and its number, so that pseudo-data of the same seed would be
    the very events of the training.

    >>> training_seed(1) in range(1000)
    False
    """
    return stream(seed, "training", 0)
