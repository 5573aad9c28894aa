"""The walks of ``ee_jets`` as machine code: the same sites and columns, event by event.

A walk draws, or follows recorded steps, in one pass over the events of a block, with the same
kinematics either way. The vectorised walks beside it define what it must give; they run where
numba is not installed, and there the same seed gives other events of the same distribution.

numba compiles each kernel at its first use on a machine, and keeps it beside the package or,
where that cannot be written, in the user's cache (or ``NUMBA_CACHE_DIR``).
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd import forward_ad


@cache
def available() -> bool:
    """Whether there is a compiler."""
    return find_spec("numba") is not None


def compilable(*tensors: Tensor) -> bool:
    """Whether a walk over these can be compiled: none carries a derivative or is a batch.

    >>> compilable(torch.ones(3, requires_grad=True))
    False
    """
    return available() and not any(_is_traced(tensor) for tensor in tensors)


def _is_traced(tensor: Tensor) -> bool:
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    if wrapped or tensor.requires_grad:
        return True
    unpacked = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return unpacked.tangent is not None
