"""Where a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from hepgen.errors import InputError


def choose(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        InputError: There is no such device.

    >>> choose("cpu")
    device(type='cpu')
    """
    gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if gpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (not gpu or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(
            f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    return device


@contextmanager
def trained_on(module: nn.Module, device: torch.device) -> Iterator[None]:
    """The module on ``device`` inside, and on the CPU, where it is used, afterwards."""
    module.to(device)
    try:
        yield
    finally:
        module.cpu()
