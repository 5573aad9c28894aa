"""Scikit-learn's 8 × 8 digits: held-out likelihood of families of surrogates, side by side.

    python tests/benchmarks/digits.py [--only vae ...] [--sheet digits.png]

Pixels are (x + u)/17 with u uniform, from ``default_rng(0)``; 1300 images train, 150 choose the
epoch, 347 are held out. Log-likelihoods are means over the held-out images, in nats of these 64
numbers in (0, 1), trained in logits; bits per dimension are those of a pixel of 17 values. Times
are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from hepgen.features import Feature
from hepgen.plots.latent import plot_sheet
from hepgen.plots.style import png
from hepgen.surrogates.surrogate import Surrogate

FEATURES = [Feature(f"pixel_{i}", low=0.0, high=1.0) for i in range(64)]
TRAINED, CHOSEN = 1300, 150


@dataclass(frozen=True)
class Entry:
    """One row of the table: a family, its options and its training.

    Each image is seen with ``copies`` values of u; with more than one, the same image is on both
    sides of the split that chooses the epoch, and the number of epochs is the choice.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    asked: str = ""
    copies: int = 1


SHORT = {"batch_size": 100, "weight_decay": 1e-2, "patience": None}
TABLE = (
    Entry(
        "autoregressive", {"layers": 4, "hidden": [256]},
        {**SHORT, "epochs": 8, "max_learning_rate": 2e-3, "weight_decay": 1.0},
        "at least 86 nats in 20 CPU s", copies=10,
    ),
    Entry(
        "flow", {"layers": 5, "hidden": [96], "bins": 6},
        {**SHORT, "epochs": 20, "max_learning_rate": 3e-3},
    ),
    Entry(
        "vae",
        {"latent": 16, "hidden": [128], "posterior": "diagonal", "samples": 500},
        {**SHORT, "epochs": 100, "max_learning_rate": 3e-3},
    ),
    Entry(
        "hvae",
        {"latent": 16, "hidden": [128], "posterior": "diagonal", "samples": 500},
        {**SHORT, "epochs": 100, "max_learning_rate": 3e-3},
    ),
    Entry(
        "diffusion", {"hidden": 256, "probes": 8},
        {**SHORT, "epochs": 20, "max_learning_rate": 2e-3}, copies=10,
    ),
)  # fmt: skip


def digits() -> Tensor:
    """All images, shape ``(1797, 64)``, dequantised and shuffled."""
    rng = np.random.default_rng(0)
    pixels = load_digits().data
    return torch.from_numpy(((pixels + rng.random(pixels.shape)) / 17)[rng.permutation(1797)])


def measure(entry: Entry, x: Tensor) -> Surrogate:
    """Train, print the row and return the surrogate."""
    seen = TRAINED + CHOSEN
    start, rng = time.process_time(), np.random.default_rng(1)
    more = [
        ((17 * x[:seen]).floor() + torch.from_numpy(rng.random((seen, 64)))) / 17
        for _ in range(entry.copies - 1)
    ]
    rows = torch.cat([x[:seen], *more])
    surrogate = Surrogate.fit(
        rows, rows[:, :0], features=FEATURES, inputs=[], method=entry.method,
        options=entry.options, device="cpu",
        **{"validation_fraction": CHOSEN / seen, **entry.training},
    )  # fmt: skip
    seconds = time.process_time() - start
    with torch.no_grad():
        value = surrogate.log_prob(x[seen:], x[seen:, :0])
    nats, error = float(value.mean()), float(value.std()) / math.sqrt(len(value))
    bits = math.log2(17) - nats / 64 / math.log(2)
    print(
        f"{entry.method}: asked {entry.asked or '–'}, measured {nats:.2f} ± {error:.2f} nats, "
        f"{bits:.3f} bits/dim, {surrogate.quality}, {seconds:.0f} CPU s",
        flush=True,
    )
    return surrogate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="families of the table")
    parser.add_argument("--sheet", type=Path, help="write samples of each, and images, as PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x = digits()
    rows = {"held out": x[-10:].numpy()}
    for entry in TABLE:
        if arguments.only and entry.method not in arguments.only:
            continue
        surrogate = measure(entry, x)
        rows[entry.method] = surrogate.sample(10, x[0, :0]).numpy()
    if arguments.sheet:
        sheet = plot_sheet(np.stack(list(rows.values())), shape=(8, 8), rows=list(rows))
        arguments.sheet.write_bytes(png(sheet))


if __name__ == "__main__":
    main()
