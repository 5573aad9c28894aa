"""log p(x | θ) of the linear-Gaussian chain, by three estimates and a bound, beside the truth.

    python tests/benchmarks/marginal.py [--draws 5000] [--events 25] [--training 100000]

prints one line a number: for a chain whose latent has two modes, for each length of x with three
latents before it, and for each number of latents with x of length 2. The error is the root mean
square of estimate minus truth, in nats, over the events; the effective draws are their median;
"claimed" is the median of the standard error that the estimate gives itself. The given proposal
is the exact posterior of the latents with 1.5 times its covariance; the learned one is the
default of ``LearnedProposal.fit``. Takes some five minutes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.distributions import Normal
from torch import Tensor
from torch.distributions import MultivariateNormal

from hepgen.inference.marginal import (
    MarginalLikelihood,
    Proposal,
    importance_likelihood,
    likelihood_bound,
    prior_likelihood,
)
from hepgen.inference.proposal import Kind, LearnedProposal
from hepgen.simulators.chain import Chain
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage, State

DIMENSIONS = (1, 2, 4, 8, 16)
DEPTHS = (1, 2, 6, 12)
KINDS: dict[Kind, dict[str, Any]] = {
    "gaussian": {},
    "flow": {"epochs": 20, "hidden": (32, 32), "max_learning_rate": 5e-3},
}
THETA = torch.tensor([0.5], dtype=torch.float64)


def widened(model: LinearGaussian) -> Proposal:
    """The exact posterior of the latents, with 1.5 times its covariance."""

    def proposal(x: Tensor, parameters: Mapping[str, Tensor]) -> MultivariateNormal:
        exact = model.latent_posterior(x, parameters["theta_0"])
        factor = exact.scale_tril * math.sqrt(1.5)
        return MultivariateNormal(exact.mean, scale_tril=factor, validate_args=False)

    return proposal


def report(what: str, found: MarginalLikelihood, truth: NDArray[np.float64], asked: str) -> None:
    off = found.value - truth
    print(
        f"{what}: asked {asked}, measured error {np.sqrt(np.mean(off**2)):.3g} nats (mean "
        f"{np.mean(off):+.3g}, claimed {np.median(found.error):.2g}), effective draws "
        f"{np.median(found.effective_samples):.0f} of {found.draws}, "
        f"trusted {found.trusted.sum()} of {len(truth)}",
        flush=True,
    )


def measure(depth: int, dimension: int, arguments: argparse.Namespace) -> None:
    chain = process("gaussian", depth=depth, dimension=dimension, parameters=1)
    model = LinearGaussian.standard(depth, dimension, 1)
    values = chain.parameters.values(None, theta_0=THETA.item())
    observed = {"x": chain.simulate(values, arguments.events, seed=3).sites["x"][0]}
    truth = model.log_prob(observed["x"], THETA).numpy()
    start = time.perf_counter()
    learned = LearnedProposal.fit(chain, ["x"], values, events=arguments.training)
    seconds = time.perf_counter() - start
    what = f"depth {depth}, dimension {dimension}"
    n = arguments.draws
    report(f"{what}, prior", prior_likelihood(chain, observed, values, n), truth, "-")
    for name, proposal in (("given", widened(model)), ("learned", learned)):
        estimate = importance_likelihood(chain, observed, values, proposal, n)
        bounds = [
            likelihood_bound(chain, observed, values, proposal, n, importance=k) for k in (1, 50)
        ]
        report(f"{what}, {name} proposal", estimate, truth, "error < prior's")
        report(f"{what}, ELBO of the {name} proposal", bounds[0], truth, "mean < 0")
        report(f"{what}, bound of 50, {name} proposal", bounds[1], truth, "mean < 0, nearer")
    print(f"{what}, training: asked -, measured {seconds:.0f} s", flush=True)


class TwoModes(Stage):
    """z ~ N(0, 1), x ~ N(z², 0.3)."""

    name = "two_modes"
    provides = ("z",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        one = torch.ones(state["event"].shape, dtype=torch.float64)
        z = pyro.sample("z", Normal(0 * one, one, validate_args=False))
        pyro.sample("x", Normal(z.square(), 0.3 * one, validate_args=False))
        return state | {"z": z}


def measure_two_modes(arguments: argparse.Namespace) -> None:
    x = torch.tensor([2.0, 3.0], dtype=torch.float64)
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)[:, None]
    log_joint = -0.5 * (z.square() + ((x - z.square()) / 0.3).square())
    integral = log_joint.logsumexp(0) + math.log(16 / 40_000)
    truth = (integral - math.log(2 * math.pi * 0.3)).numpy()
    chain = Chain([TwoModes()])
    for kind, options in KINDS.items():
        learned = LearnedProposal.fit(chain, ["x"], {}, events=20_000, kind=kind, **options)
        found = importance_likelihood(chain, {"x": x}, {}, learned, arguments.draws)
        report(f"two modes, {kind}", found, truth, "-")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--events", type=int, default=25)
    parser.add_argument("--training", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    measure_two_modes(chosen)
    for dimension in DIMENSIONS:
        measure(3, dimension, chosen)
    for depth in DEPTHS:
        measure(depth, 2, chosen)
