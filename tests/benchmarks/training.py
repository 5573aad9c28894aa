"""Training against sbi's own: the same data, the same machine, one run.

    python tests/benchmarks/training.py [--simulations 30000] [--samples 4] [--threads 1]

prints one line a number: its mean over the samples, and each. Losses are nats an event on
20,000 events that nobody trained on; from sample to sample, with everything random in both
trainings, their difference scatters by 0.01 nats. Times are wall times: the machine has to be
idle. The short schedule of hepgen's loop was chosen on other samples, of 10,000.
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


def train_with_hepgen(estimator: Any, sample: Sample, **settings: Any) -> float:
    """hepgen's training of any estimator; the seconds it took."""
    start = time.perf_counter()
    train(
        estimator,
        lambda batch: estimator.loss(batch[0], batch[1]),
        Table(sample.x, sample.theta),
        patience=None,
        **settings,
    )
    return time.perf_counter() - start


def sbi_default(sample: Sample) -> Any:
    from sbi.neural_nets import likelihood_nn

    return likelihood_nn("maf")(sample.theta, sample.x)


def hepgen_default() -> Any:
    from sbi.neural_nets.estimators import ZukoFlow

    return ZukoFlow(
        LogisticMixture(2, PARAMETERS), torch.nn.Identity(), torch.Size([2]),
        torch.Size([PARAMETERS]),
    )  # fmt: skip


def measure(simulations: int, sample_number: int) -> dict[str, float]:
    """Ratios of time and differences of loss on one sample, by what they are."""
    torch.manual_seed(sample_number)
    sample = simulate(simulations, 2 * sample_number)
    test = simulate(20_000, 2 * sample_number + 1)
    start = sbi_default(sample)
    builders: dict[str, Callable[[], Any]] = {
        "sbi's estimator": lambda: copy.deepcopy(start),
        "hepgen's estimator": hepgen_default,
    }
    by_sbi = builders["sbi's estimator"]()
    budget = train_with_sbi(by_sbi, sample)
    reference = loss(by_sbi, test)
    print(f"sample {sample_number}: sbi's training of its estimator ended at {reference:.4f} nats "
          f"in {budget:.1f} s", flush=True)  # fmt: skip
    # More data need fewer passes, though more steps.
    epochs = round(56 * (10_000 / simulations) ** 0.5)
    found = {}
    for name, build in builders.items():
        short, long = build(), build()
        seconds = train_with_hepgen(
            short, sample, batch_size=500, epochs=epochs, max_learning_rate=8e-3, weight_decay=3e-2,
        )  # fmt: skip
        found[f"{name}, short training: time over sbi's"] = seconds / budget
        found[f"{name}, short training: loss minus sbi's (nats)"] = loss(short, test) - reference
        train_with_hepgen(
            long, sample, batch_size=500, epochs=200, max_learning_rate=3e-3,
            weight_decay=1e-2, time_budget=budget,
        )  # fmt: skip
        found[f"{name}, at most sbi's time: loss minus sbi's (nats)"] = loss(long, test) - reference
    return found


def main(simulations: int, samples: int) -> None:
    warnings.simplefilter("ignore")
    found = [measure(simulations, 31 + number) for number in range(samples)]
    for what in found[0]:
        values = torch.tensor([one[what] for one in found])
        asked = "<= 0.2" if "time over" in what else "<= 0"
        each = ", ".join(f"{value:.3f}" for value in values.tolist())
        print(f"{what}: asked {asked}, measured {values.mean():.3f} ({each})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=30_000)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    main(arguments.simulations, arguments.samples)
