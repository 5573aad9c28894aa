"""Training from disk beside training from memory: wall time of an epoch, and what memory it takes.

    python tests/benchmarks/training_from_disk.py [--events 4000000] [--rounds 3] [--folder .]

The same events, features and network, one after the other in turns, in one process. From disk, the
file is flushed and its pages are dropped before each epoch, so that every byte is read again; where
the system does not let a process do that, the line says "warm". Rows are standardised in the
batch, and come in windows (:func:`hepgen.nn.rows.shuffled`). The memory is what the process holds
for itself (RssAnon) beyond what it held before; pages of a file are the system's to take back.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.nn.columns import Derived
from hepgen.nn.row_file import RowFile
from hepgen.nn.rows import Rows, Table
from hepgen.nn.train import train
from hepgen.surrogates.families import build

FEATURES, CONTEXT, BATCH = 5, 2, 4096
NETWORKS = ("mixture", "coupling")
"""A mixture of logistics is what NLE trains; a coupling flow is the quickest of the flows."""


def dropped() -> bool:
    """Whether all pages of files have been dropped."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return False
    return True


def anonymous() -> float:
    """GB that this process holds for itself."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1e6 if found else 0.0


def epoch(method: str, rows: Rows) -> float:
    """Wall seconds of one epoch."""
    torch.manual_seed(0)
    model = build(method, FEATURES, CONTEXT, {})
    start = time.perf_counter()
    train(
        model, lambda batch: model.loss(*batch), rows, batch_size=BATCH, epochs=1,
        max_learning_rate=1e-3, validation_fraction=0.01,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    features = [Feature(f"x_{i}", low=0.0) for i in range(FEATURES)]
    rng, parts = np.random.default_rng(0), []
    with RowFile(arguments.folder) as file:
        for start in range(0, arguments.events, 2**20):
            shape = min(2**20, arguments.events - start), FEATURES + CONTEXT
            parts.append(rng.gamma(2.0, size=shape).astype(np.float32))
            file.append(parts[-1])
        stored = file.mapped()
    memory = torch.from_numpy(np.concatenate(parts))
    del parts
    space = FeatureSpace.from_sample(features, memory[:, :FEATURES])

    def split(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rows[:, :FEATURES], rows[:, FEATURES:]

    x, c = split(memory)
    before = anonymous()
    table = Table(space.forward(x).float(), c.contiguous())
    size, copy = memory.nbytes / 1e9, anonymous() - before
    print(
        f"{arguments.events:,} events of {FEATURES + CONTEXT} numbers, {size:.1f} GB; standardised "
        f"in memory they take {copy:.1f} GB more",
        flush=True,
    )
    x, c = split(stored)
    on_disk = Table(
        Derived(lambda one: space.forward(one).float(), x), Derived(torch.Tensor.float, c)
    )
    for method in NETWORKS:
        pairs, cold, before = [], True, anonymous()
        for _ in range(arguments.rounds):
            cold &= dropped()
            from_disk = epoch(method, on_disk)
            pairs.append((from_disk, epoch(method, table)))
        disk, at_once = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{method}, speed from disk ({'cold' if cold else 'warm'}) over that from memory: "
              f"asked >= 0.9, measured {at_once / disk:.2f} ({arguments.events / disk:,.0f} and "
              f"{arguments.events / at_once:,.0f} events/s), {anonymous() - before:.1f} GB held",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
