"""Training against sbi's own: the same data, the same machine, one run.

    python tests/benchmarks/training.py [--simulations 10000] [--threads 1]

prints one line a number. Losses are nats an event on 20,000 events that nobody trained on.
The short schedule of hepgen's loop was chosen by its validation loss on a sample of another
seed, among thirteen.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.nn.mixture import LogisticMixture
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.results import TrainingCurve

PARAMETERS = 3


@dataclass(frozen=True)
class Sample:
    """Standardised features and parameters of independent events."""

    theta: Tensor
    x: Tensor


def simulate(n: int, seed: int) -> Sample:
    """A peak whose place, width and background vary, and a second feature that follows it."""
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(n, PARAMETERS, generator=generator)
    u, z = torch.rand(n, 2, generator=generator), torch.randn(n, 2, generator=generator)
    width = 0.3 * torch.exp(0.3 * theta[:, 1])
    peak = 0.5 * theta[:, 0] + width * torch.tan(2.8 * (u[:, 0] - 0.5)) / 3
    first = torch.where(u[:, 1] < torch.sigmoid(theta[:, 2] - 1.5), 2 * z[:, 0], peak)
    second = torch.sin(first) + 0.5 * z[:, 1]
    return Sample(theta, torch.stack([first, second], dim=-1))


@torch.no_grad()
def loss(estimator: Any, sample: Sample) -> float:
    return float(estimator.loss(sample.x, sample.theta).mean())


def train_with_sbi(estimator: Any, sample: Sample) -> float:
    """sbi's own training of its default estimator, with its defaults; the seconds it took."""
    from sbi.inference import NLE

    prior = torch.distributions.MultivariateNormal(torch.zeros(PARAMETERS), torch.eye(PARAMETERS))
    trainer = NLE(prior, density_estimator=lambda *_, **__: estimator, show_progress_bars=False)
    trainer.append_simulations(sample.theta, sample.x)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trained = trainer.train()
    seconds = time.perf_counter() - start
    estimator.load_state_dict(trained.state_dict())
    return seconds


def train_with_hepgen(estimator: Any, sample: Sample, **settings: Any) -> TrainingCurve:
    return train(
        estimator,
        lambda batch: estimator.loss(batch[0], batch[1]),
        Table(sample.x, sample.theta),
        patience=None,
        **settings,
    )


def line(what: str, asked: str, measured: str) -> None:
    print(f"{what}: asked {asked}, measured {measured}", flush=True)


def sbi_default(sample: Sample) -> Any:
    from sbi.neural_nets import likelihood_nn

    return likelihood_nn("maf")(sample.theta, sample.x)


def hepgen_default() -> Any:
    from sbi.neural_nets.estimators import ZukoFlow

    return ZukoFlow(
        LogisticMixture(2, PARAMETERS), torch.nn.Identity(), torch.Size([2]),
        torch.Size([PARAMETERS]),
    )  # fmt: skip


def main(simulations: int) -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    sample, test = simulate(simulations, 1), simulate(20_000, 2)
    start = sbi_default(sample)
    builders: dict[str, Callable[[], Any]] = {
        "sbi's estimator": lambda: copy.deepcopy(start),
        "hepgen's estimator": hepgen_default,
    }
    by_sbi = builders["sbi's estimator"]()
    budget = train_with_sbi(by_sbi, sample)
    reference = loss(by_sbi, test)
    line("sbi's estimator, sbi's training", "-", f"{reference:.4f} nats in {budget:.1f} s")
    for name, build in builders.items():
        fast = build()
        curve = train_with_hepgen(
            fast, sample, batch_size=500, epochs=46, max_learning_rate=8e-3, weight_decay=3e-2,
        )  # fmt: skip
        end = loss(fast, test)
        line(f"{name}, hepgen's short training, time over sbi's", "<= 0.2",
             f"{curve.seconds / budget:.3f}")  # fmt: skip
        line(f"{name}, hepgen's short training, loss minus sbi's", "<= 0",
             f"{end - reference:+.4f} nats ({end:.4f})")  # fmt: skip
    for name, build in builders.items():
        long = build()
        train_with_hepgen(
            long, sample, batch_size=500, epochs=200, max_learning_rate=3e-3,
            weight_decay=1e-2, time_budget=budget,
        )  # fmt: skip
        line(
            f"{name}, hepgen's training, loss minus sbi's in at most the same time",
            "< 0",
            f"{loss(long, test) - reference:+.4f} nats",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    main(arguments.simulations)
