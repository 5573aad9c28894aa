"""Where the random numbers of a training come from: each has a stream of its own."""

from __future__ import annotations

import numpy as np
import torch

SPLIT, ORDER, BATCH, VALIDATION = range(4)
"""Which rows measure; their order in an epoch; what a batch draws, and one that measures."""


def seed_global(seed: int) -> None:
    """Seed what draws without a generator, on the CPU and on GPUs that are in use.

    As :func:`torch.manual_seed`, which takes up to a millisecond to leave word, with a trace of
    the stack, for kinds of devices that nobody uses: much, where each step of a training is seeded.

    >>> seed_global(3); one = torch.rand(1)
    >>> _ = torch.manual_seed(3); bool(one == torch.rand(1))
    True
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def stream(seed: int, kind: int, *numbers: int) -> torch.Generator:
    """A generator that follows from a seed and what it is for, e.g. the number of a batch.

    >>> one, other = (torch.rand(1, generator=stream(3, ORDER, n)).item() for n in (0, 1))
    >>> one == other
    False
    """
    entropy = np.random.SeedSequence([seed % 2**63, kind, *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]) % 2**63)
