"""Trainings in two processes, each of which leaves what it came to in a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import start_processes

from hepgen.nn import together
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.results import TrainingCurve

DRAWN: list[float] = []


def data() -> Table:
    x = torch.linspace(-1, 1, 231)[:, None]
    return Table(x, torch.sin(3 * x))


def network() -> nn.Module:
    """With weights of its own in each process but the first: the training puts that right."""
    torch.manual_seed(1 + together.number())
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))


def fitted(seed: int = 0, weighted: bool = False) -> tuple[nn.Module, TrainingCurve]:
    """Batches of 23 rows, and a last one of a single row, of a loss that draws nothing."""
    module = network()
    weight = torch.linspace(-0.5, 2, 231) if weighted else None
    curve = train(
        module, lambda batch: (module(batch[0]) - batch[1]).square().sum(-1), data(),
        weight=weight, batch_size=23, epochs=6, seed=seed,
    )  # fmt: skip
    return module, curve


def in_time() -> tuple[nn.Module, TrainingCurve]:
    """As many steps as there is time for."""
    module = network()

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        DRAWN.append(torch.rand(1).item())
        losses: Tensor = (module(batch[0]) - batch[1]).square().sum(-1)
        return losses

    curve = train(module, loss, data(), batch_size=23, epochs=10**6, patience=None, time_budget=1.5)
    return module, curve


def _worker(number: int, work: Callable[[], tuple[nn.Module, TrainingCurve]], folder: Path) -> None:
    torch.set_num_threads(1)
    DRAWN.clear()
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=number, world_size=2,
        timeout=timedelta(seconds=120),
    )  # fmt: skip
    module, curve = work()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    facts = {"validation": torch.tensor(curve.validation), "drawn": torch.tensor(DRAWN)}
    torch.save(weights | facts, folder / f"{number}.pt")
    distributed.destroy_process_group()


def two(
    work: Callable[[], tuple[nn.Module, TrainingCurve]], folder: Path
) -> list[dict[str, Tensor]]:
    """What each of two processes came to."""
    start: Any = start_processes
    start(_worker, (work, folder), nprocs=2, start_method="spawn")
    return [torch.load(folder / f"{number}.pt") for number in range(2)]
