"""Processes that train one network together, each on its share of every batch.

Without a group of processes (``torch.distributed``), which :mod:`hepgen.nn.fabric` starts, there is
one process, which leads, and nothing here does anything. With R of them the gradient of a batch
is the sum of those of its R shares, and all have the same weights after each step. torch's own
wrapper, DistributedDataParallel, would see only what goes through ``forward``; a loss here calls
whatever it likes of a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from hepgen.errors import ProcessError


def processes() -> int:
    """R, how many there are."""
    grouped = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if grouped else 1


def number() -> int:
    """Which this is, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def leads() -> bool:
    """Whether this is the one that writes files and says what happens.

    >>> leads()
    True
    """
    return number() == 0


def share(index: Tensor) -> Tensor:
    """The rows of a batch, shape ``(B,)``, that are for this process; may be none.

    >>> share(torch.arange(3))
    tensor([0, 1, 2])
    """
    return index[number() :: processes()]


def summed(*values: float) -> list[float]:
    """The sum of each value over the processes."""
    if processes() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=_device())
    with _named():
        distributed.all_reduce(tensor)
    found: list[float] = tensor.tolist()
    return found


def as_the_leader(*values: float) -> list[float]:
    """The values that the leader has."""
    return summed(*(value if leads() else 0.0 for value in values))


def agreed(yes: bool) -> bool:
    """What the leader finds."""
    return bool(as_the_leader(float(yes))[0])


def sum_gradients(module: nn.Module) -> None:
    """The gradient of each parameter becomes the sum over the processes, in place."""
    if processes() == 1:
        return
    gradients = [
        p.grad if p.grad is not None else torch.zeros_like(p)
        for p in module.parameters()
        if p.requires_grad
    ]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _named():
        distributed.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    trained = (p for p in module.parameters() if p.requires_grad)
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = part.reshape(parameter.shape)


def start_alike(module: nn.Module) -> None:
    """All take the leader's weights."""
    if processes() == 1:
        return
    with _named():
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


@contextmanager
def after_the_leader() -> Iterator[None]:
    """The leader goes first, e.g. to simulate what all then read; the others wait."""
    if not leads():
        _wait()
    yield
    if leads():
        _wait()


@contextmanager
def by_the_leader() -> Iterator[bool]:
    """Whether this is the leader, who does it inside; all go on when it is done."""
    yield leads()
    _wait()


def _wait() -> None:
    summed(0.0)


def _device() -> torch.device:
    on_gpu = distributed.get_backend() == "nccl"
    return torch.device("cuda" if on_gpu else "cpu")


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            "another process of this training has ended, or does not answer; what the first one "
            "saved is kept: run the same command again"
        ) from error
