"""Diffusion on two-dimensional toys: how close it comes, and what an event costs.

    python tests/benchmarks/diffusion.py [--epochs 3] [--events 200000] [--threads 1]

prints one line a number. The gap is the mean −log p on events that nobody trained on, along the
probability flow, minus the entropy of the toy. Times are CPU times of one thread, the two sides
of a ratio in one run.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.surrogates.diffusion.distillation import distil
from hepgen.surrogates.surrogate import Surrogate

ENTROPY = {"8gaussians": 2.8312, "checkerboard": 3.4657, "pinwheel": 2.3156}
ASKED = {"8gaussians": 0.011, "checkerboard": 0.068, "pinwheel": 0.016}
FEATURES = (Feature("x"), Feature("y"))
NOWHERE = torch.zeros(0, dtype=torch.float64)
TEST = 3000


def toy(name: str, n: int, seed: int) -> Tensor:
    """n events of a toy of FFJORD's (arXiv:1810.01367), shape ``(n, 2)``."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    if name == "8gaussians":
        angle = math.pi / 4 * torch.randint(8, (n,), generator=generator)
        return (4 * torch.stack([angle.cos(), angle.sin()], -1) + 0.5 * z) / math.sqrt(2)
    if name == "checkerboard":
        first = 4 * u[:, 0] - 2
        row = torch.randint(2, (n,), generator=generator)
        return 2 * torch.stack([first, u[:, 1] - 2 * row + first.floor() % 2], -1)
    arm = torch.randint(5, (n,), generator=generator)
    radial, tangential = 0.3 * z[:, 0] + 1, 0.1 * z[:, 1]
    angle = 2 * math.pi * arm / 5 + 0.25 * torch.exp(radial)
    return 2 * torch.stack(
        [radial * angle.cos() - tangential * angle.sin(),
         radial * angle.sin() + tangential * angle.cos()], -1,
    )  # fmt: skip


def seconds(surrogate: Surrogate, batch: int) -> float:
    """CPU seconds an event, the best of three."""
    calls = max(1, 20 // batch)
    found = []
    for _ in range(4):
        start = time.process_time()
        for _ in range(calls):
            surrogate.sample(batch, NOWHERE)
        found.append((time.process_time() - start) / (calls * batch))
    return min(found[1:])


def measure(name: str, events: int, epochs: int) -> Surrogate:
    start = time.process_time()
    surrogate = Surrogate.fit(
        toy(name, events, 1), torch.zeros(events, 0), features=FEATURES, inputs=(),
        method="diffusion", batch_size=512, epochs=epochs, max_learning_rate=4e-3, device="cpu",
    )  # fmt: skip
    spent = time.process_time() - start
    with torch.no_grad():
        density = surrogate.log_density(toy(name, TEST, 2), torch.zeros(TEST, 0))
    gap, error = -density.value.mean() - ENTROPY[name], density.value.std() / TEST**0.5
    print(f"{name}: gap to the entropy, nats: asked {ASKED[name]} of the best flow, measured "
          f"{gap:.4f} ± {error:.4f} after {spent:.0f} CPU s; stated error of the solver "
          f"{density.error.mean():.1e}", flush=True)  # fmt: skip
    return surrogate


def main(events: int, epochs: int) -> None:
    teacher = [measure(name, events, epochs) for name in ENTROPY][-1]
    full = {batch: seconds(teacher, batch) for batch in (1, 100, 10_000)}
    print("full sampler, 31 evaluations, CPU ms per event at batch 1, 100, 10000: measured "
          + ", ".join(f"{1e3 * value:.3g}" for value in full.values()), flush=True)  # fmt: skip
    for steps in (1, 4):
        student = distil(teacher, steps, events=20_000, epochs=20, device="cpu")
        few = {batch: seconds(student, batch) for batch in full}
        ratios = ", ".join(f"{full[batch] / few[batch]:.1f}" for batch in full)
        print(f"distilled to {steps}: CPU ms per event: measured "
              + ", ".join(f"{1e3 * value:.3g}" for value in few.values())
              + f"; faster by {ratios}", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    main(arguments.events, arguments.epochs)
