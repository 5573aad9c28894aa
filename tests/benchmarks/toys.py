"""Three densities in the plane whose entropy is known: how far from it is the best of a family?

    python tests/benchmarks/toys.py [--families flow cnf …] [--toys pinwheel …] [--steps 2000]

trains on steps × 256 events, none of them twice, with the defaults of each family, and prints
its mean −log p on 100,000 others, less the entropy: a Kullback–Leibler divergence, in nats. The
densities of continuous flows are solved for at a tenth of the events. It runs on one core.

The toys are those of FFJORD (Grathwohl et al., arXiv:1810.01367). Their entropies: uniform on
half of a square of area 64, ln 32; the others by simulation, 2.8312 and 2.3156 ± 0.0025.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.surrogates.families import FAMILIES, family
from hepgen.surrogates.surrogate import Surrogate

FEATURES = (Feature("x"), Feature("y"))
FLOWS = ("coupling", "flow", "autoregressive", "spline-autoregressive", "umnn", "mixture", "cnf",
         "flow-matching")  # fmt: skip
ASKED = {"eight-gaussians": 0.011, "checkerboard": 0.068, "pinwheel": 0.016}
ENTROPY = {"eight-gaussians": 2.8312, "checkerboard": math.log(32), "pinwheel": 2.3156}


def eight_gaussians(n: int, generator: torch.Generator) -> Tensor:
    """Of variance 1/8, on a circle of radius √8."""
    angle = math.pi / 4 * torch.randint(0, 8, (n,), generator=generator)
    centre = math.sqrt(8) * torch.stack([angle.cos(), angle.sin()], -1)
    return centre + torch.randn(n, 2, generator=generator) / math.sqrt(8)


def checkerboard(n: int, generator: torch.Generator) -> Tensor:
    """Uniform on the eight squares of one colour, each 2 wide."""
    row, pair = (torch.randint(0, k, (n,), generator=generator) for k in (4, 2))
    corner = torch.stack([row, 2 * pair + row % 2], -1)
    return 2 * (corner + torch.rand(n, 2, generator=generator)) - 4


def pinwheel(n: int, generator: torch.Generator) -> Tensor:
    """Five blades, N((1, 0), diag(0.3², 0.1²)), turned by an angle that grows with the radius."""
    z = torch.randn(n, 2, generator=generator)
    along, across = 1 + 0.3 * z[:, 0], 0.1 * z[:, 1]
    blade = torch.randint(0, 5, (n,), generator=generator)
    angle = 2 * math.pi / 5 * blade + 0.25 * along.exp()
    x = along * angle.cos() + across * angle.sin()
    return 2 * torch.stack([x, across * angle.cos() - along * angle.sin()], -1)


TOYS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "eight-gaussians": eight_gaussians, "checkerboard": checkerboard, "pinwheel": pinwheel,
}  # fmt: skip


def sample(toy: str, n: int, seed: int) -> Tensor:
    return TOYS[toy](n, torch.Generator().manual_seed(seed)).double()


def fit(toy: str, method: str, steps: int, **settings: Any) -> Surrogate:
    """One pass over ``steps`` batches of 256, with 1 % more rows that only measure."""
    rows = math.ceil(steps * 256 / 0.99)
    return Surrogate.fit(
        sample(toy, rows, seed=1), torch.zeros(rows, 0, dtype=torch.float64),
        features=FEATURES, inputs=(), method=method, device="cpu",
        **{"batch_size": 256, "epochs": 1, "validation_fraction": 0.01, **settings},
    )  # fmt: skip


@torch.no_grad()
def gap(surrogate: Surrogate, toy: str, points: int) -> tuple[float, float]:
    """Mean of −log p less the entropy, and its statistical error, in nats."""
    x = sample(toy, points, seed=2)
    surprise = -surrogate.log_prob(x, torch.zeros(points, 0, dtype=torch.float64))
    return surprise.mean().item() - ENTROPY[toy], surprise.std().item() / math.sqrt(points)


def measure(toy: str, method: str, steps: int, points: int) -> float:
    start = time.perf_counter()
    surrogate = fit(toy, method, steps)
    seconds = time.perf_counter() - start
    few = surrogate.quality.kind == "estimate"
    found, error = gap(surrogate, toy, points // 10 if few else points)
    weights = sum(p.numel() for p in surrogate.model.parameters())
    print(f"  {toy}, {method} ({weights:,} weights, {seconds:.0f} s): gap {found:.4f} ± "
          f"{error:.4f}", flush=True)  # fmt: skip
    return found


def main(toys: list[str], families: list[str], steps: int, points: int) -> None:
    for toy in toys:
        found = {method: measure(toy, method, steps, points) for method in families}
        best = min(found, key=lambda method: found[method])
        print(f"{toy}, gap to the entropy in nats: asked <= {ASKED[toy]} for the best flow, "
              f"measured {found[best]:.4f} ({family(best).title})", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", nargs="+", choices=list(TOYS), default=list(TOYS))
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FLOWS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--points", type=int, default=100_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    main(arguments.toys, arguments.families, arguments.steps, arguments.points)
