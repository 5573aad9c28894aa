"""Starts the processes of one training, by Lightning Fabric. The only module that knows it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from hepgen.errors import InputError
from hepgen.nn.device import choose

_PATIENCE = timedelta(days=30)
"""The others wait while the first process simulates."""


@contextmanager
def launched(devices: int, nodes: int, device: str) -> Iterator[None]:
    """One process for each device inside: the command of this one is run again for the others.

    On several nodes each runs the command, as ``srun`` or ``torchrun`` start it, and Fabric finds
    the others by the variables that these set.

    Arguments:
        devices: GPUs of each node; processes, where the device is the CPU.
        nodes: How many.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: A number that makes no sense, one device by its number, more than there are,
            or Fabric is not installed.
    """
    for name, number in (("--devices", devices), ("--nodes", nodes)):
        if number < 1:
            raise InputError(f"{name} {number}: expected at least 1")
    if devices == nodes == 1:
        yield
        return
    kind = choose(device)
    if ":" in device:
        raise InputError(
            f"--device {device} is one device, and --devices asks for {devices}; use cuda or cpu"
        )
    there = torch.cuda.device_count()
    if kind.type == "cuda" and devices > there:
        raise InputError(f"--devices {devices}: this machine has {there} GPUs")
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise InputError(
            "training on several devices needs Lightning Fabric: pip install 'hepgen[fabric]'"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    strategy = DDPStrategy(timeout=_PATIENCE)
    Fabric(accelerator=kind.type, devices=devices, num_nodes=nodes, strategy=strategy).launch()
    try:
        yield
    finally:
        distributed.destroy_process_group()
