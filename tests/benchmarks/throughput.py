"""What the training loop costs: events per processor second beside a plain loop, same network.

    python tests/benchmarks/throughput.py [--families flow cnf …] [--steps 40] [--rounds 5]

The plain loop is zuko's: for each batch a loss, backward and a step of Adam, and nothing else.
Both take the same batches of 1024 events in five dimensions, one after the other in turns; the
ratio is that of the medians over the rounds. hepgen's side includes its validation on 1 % of the
events, the clipping of gradients, and the checks that nothing became NaN.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.families import FAMILIES, build

TRAINED = [name for name, one in FAMILIES.items() if not one.teacher]
BATCH, FEATURES, CONTEXT = 1024, 5, 2


def plain(model: ConditionalDensity, u: Tensor, c: Tensor) -> float:
    """Processor seconds of one pass in the loop that anyone writes."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.train()
    start = time.process_time()
    for batch in torch.randperm(len(u)).split(BATCH):  # type: ignore[no-untyped-call]
        loss = model.loss(u[batch], c[batch]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.process_time() - start


def ours(model: ConditionalDensity, u: Tensor, c: Tensor) -> float:
    """Processor seconds of one epoch of hepgen's loop."""
    start = time.process_time()
    train(
        model, lambda batch: model.loss(*batch), Table(u, c), batch_size=BATCH, epochs=1,
        max_learning_rate=1e-4, validation_fraction=0.01,
    )  # fmt: skip
    return time.process_time() - start


def measure(method: str, steps: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = round(steps * BATCH / 0.99)
    u = torch.randn(rows, FEATURES, generator=generator)
    c = torch.randn(rows, CONTEXT, generator=generator)
    first, second = (build(method, FEATURES, CONTEXT, {}) for _ in range(2))
    plain(first, u[: 2 * BATCH], c[: 2 * BATCH])  # what only the first call costs
    pairs = [
        (plain(first, u[: steps * BATCH], c[: steps * BATCH]), ours(second, u, c))
        for _ in range(rounds)
    ]
    theirs, mine = (steps * BATCH / statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{method}, training events/s over those of a plain loop: asked >= 0.9, measured "
          f"{mine / theirs:.2f} ({mine:,.0f} and {theirs:,.0f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=TRAINED)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.families:
        measure(name, arguments.steps, arguments.rounds)
