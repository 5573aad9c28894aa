"""Posteriors from a surrogate's density against exact ones, or against NLE.

    python tests/benchmarks/closure.py [--process ee_mumu zmumu] [--method flow] [--sets 50]
        [--size 500] [--events 300000] [--seconds 120] [--quick]

`ee_mumu` has an exact likelihood, of sin²θ_W at 89 GeV. `zmumu` has none: the surrogate is set
beside an NLE that was trained on the same events, so that half of a difference may be its own.
Asked is less than 0.2 σ in the mean and 10 % in the width of every pseudo-data set; `ee_mumu` is
on a grid, and the draws for `zmumu` add 0.04 σ and 3 %. It takes tens of minutes on one core, most
of them for the five parameters of `zmumu`; ``--quick --process ee_mumu`` takes one or two.
``--seconds`` ends each training, with its cycle complete, after so many.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.nle import NLE
from hepgen.inference.surrogate_likelihood import SurrogateLikelihood
from hepgen.parameters import ParameterSet, Uniform
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.surrogate import Domain, Surrogate

DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Problem:
    """A chain with priors, and the columns of its likelihood."""

    chain: Chain
    parameters: ParameterSet
    features: tuple[Feature, ...]


def ee_mumu() -> Problem:
    chain = process("ee_mumu", energies=(89.0,))
    prior = Uniform(0.15, 0.30)
    parameters = ParameterSet(
        [
            dataclasses.replace(p, prior=prior, role="interest")
            if p.name == "sin2_theta_w"
            else dataclasses.replace(p, prior=None)
            for p in chain.parameters
        ]
    )
    density = ElectronPositronDensity.of(chain)
    cosine = Feature("Dimuon_cos_theta", low=-density.cos_max, high=density.cos_max)
    return Problem(chain, parameters, (cosine,))


def zmumu() -> Problem:
    session = Session.open("workflows/zmumu.toml")
    return Problem(session.chain, session.parameters, session.features)


PROBLEMS = {"ee_mumu": ee_mumu, "zmumu": zmumu}


def single_events(problem: Problem, events: int, seed: int) -> tuple[Tensor, Tensor]:
    """x and θ of so many selected events, at 16 generated at each point."""
    names = [one.name for one in problem.features]
    campaign = Campaign(
        problem.chain, problem.parameters, 2**40, seed, points=16, columns=names
    )  # fmt: skip
    x, theta, have, block = [], [], 0, 0
    while have < events:
        made = campaign.simulate(block).events
        x.append(made.flat(names))
        theta.append(made.theta(problem.parameters.free_names))
        have, block = have + len(made), block + 1
    both = (torch.from_numpy(np.concatenate(one)[:events]) for one in (x, theta))
    first, second = both
    return first, second


def pseudo_data(problem: Problem, sets: int, size: int, seed: int) -> list[Tensor]:
    """Data sets of so many selected events, each at a θ of the middle half of the priors."""
    names = [one.name for one in problem.features]
    generator = torch.Generator().manual_seed(seed)
    theta = problem.parameters.prior().sample((200,), generator)
    low, high = theta.quantile(0.25, 0), theta.quantile(0.75, 0)
    theta = low + (high - low) * torch.rand(sets, len(low), generator=generator).double()
    values = {
        name: value[:, None] if value.dim() else value
        for name, value in problem.parameters.values(theta).items()
    }
    trace = problem.chain.simulate(values, 16 * size, seed)
    selected = trace.state.get("selected", torch.ones(trace.shape, dtype=torch.bool))
    x = torch.stack([trace.state[name] for name in names], dim=-1).double()
    found = [one[keep][:size] for one, keep in zip(x, selected, strict=True)]
    return [one for one in found if len(one) == size]


def reference(
    problem: Problem, name: str, training: Sequence[Tensor], settings: dict[str, Any]
) -> tuple[SetLikelihood, str]:
    if name == "ee_mumu":
        exact = ExactLikelihood(ElectronPositronDensity.of(problem.chain), problem.parameters)
        return exact, "the exact likelihood"
    x, theta = training
    nle = NLE.fit(
        x, theta, features=problem.features, parameters=problem.parameters, device="cpu",
        **({"epochs": 10} | settings),
    )  # fmt: skip
    return nle, "NLE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--method", default="flow")
    parser.add_argument("--sets", type=int)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--events", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    events = options.events or (50_000 if options.quick else 300_000)
    number = options.sets or (10 if options.quick else 50)
    settings: dict[str, Any] = {"epochs": 5, "batch_size": 1000} if options.quick else {}
    if options.seconds:
        settings["time_budget"] = options.seconds
    for name in options.process:
        start, problem = time.monotonic(), PROBLEMS[name]()
        training = single_events(problem, events, seed=1)
        free = problem.parameters.free_names
        surrogate = Surrogate.fit(
            *training, features=problem.features, inputs=[Feature(one) for one in free],
            method=options.method, device="cpu", domain=Domain.from_sample(free, training[1]),
            **settings,
        )  # fmt: skip
        other, words = reference(problem, name, training, settings)
        data = pseudo_data(problem, number, options.size, seed=2)
        likelihood = SurrogateLikelihood(surrogate, problem.parameters)
        for one in closure(likelihood, other, data, name=words, draws=DRAWS):
            print(
                f"{name}, {one.name}, {options.method} against {words}, {len(data)} sets of "
                f"{options.size} events: asked |shift| ≤ 0.2 σ, width within 10 %; measured mean "
                f"shift {one.shift}, rms {np.sqrt((one.shifts**2).mean()):.3f}, largest "
                f"{one.largest:.3f}; width ratio {one.width}, from {one.widths.min():.3f} to "
                f"{one.widths.max():.3f}; {time.monotonic() - start:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
