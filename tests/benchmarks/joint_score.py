"""What the joint score buys: α_s in `ee_jets` from a tenth of the simulations.

    python tests/benchmarks/joint_score.py [--budgets 1000 5000 15000 50000] [--sets 100]
        [--size 500] [--prior 0.105 0.130] [--steps 600]
        [--hidden 32 32] [--templates N] [--save FILE.svg]

α_s is free, all other parameters stand at their defaults; an event is y₂₃ and the number of tracks,
which is spread over its unit, so that it has a density.
NLE and NRE see events and their α_s; SCANDAL, RASCAL, ALICES and SALLY their joint scores and
ratios, too. A budget counts all generated events that an estimator is trained on: of RASCAL and
ALICES half of them, and of SALLY the half that trains the score, are of the middle of the prior.
For each, pseudo-data sets of ``--size`` events at α_s of the middle half of the prior have a
posterior on a grid: printed are its mean width, the rms error of its mean, and the share of its
68 % intervals that hold the truth, with ``--templates`` beside those of templates from so many
events.
Asked: with a tenth of the events of the best of NLE and NRE a width, error and coverage no worse.
Budgets are to be large beside ``--size``: the mean of an observable is known from N simulated
events no better than from N of the data, whatever an event carries along.

An event knows the slope of log p in α_s by its being there with a variance of s², the variance
of α_s over the prior, and by its joint score with the variance V of that: SCANDAL is to need the
share 1/(1 + 1/(V s²)) of the events of NLE (see ``hepgen.inference.scandal``), which is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.alices import ALICES
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.grid import grid_marginals
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.nle import NLE
from hepgen.inference.nre import NRE
from hepgen.inference.rascal import RASCAL
from hepgen.inference.sally import SALLY
from hepgen.inference.scandal import fit_scandal
from hepgen.inference.score_likelihood import ScoreMean
from hepgen.inference.templates import Templates
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import ParameterSet, Uniform
from hepgen.pipeline.session import Session
from hepgen.plots.information import plot_budget
from hepgen.plots.style import svg
from hepgen.results import BudgetCurve
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain

Fit = Callable[[AugmentedEvents, AugmentedEvents, TrainingOptions], SetLikelihood]


@dataclasses.dataclass(frozen=True)
class Analysis:
    chain: Chain
    parameters: ParameterSet
    features: tuple[Feature, ...]

    @property
    def middle(self) -> Tensor:
        (prior,) = self.parameters.priors
        return torch.tensor([0.5 * (prior.low + prior.high)], dtype=torch.float64)


def analysis(low: float, high: float) -> Analysis:
    session = Session.open("workflows/ee_jets.toml")
    free = {"alpha_s": Uniform(low, high)}
    parameters = [dataclasses.replace(p, prior=free.get(p.name)) for p in session.parameters]
    return Analysis(session.chain, ParameterSet(parameters), session.features)


def spread(one: Analysis, x: Tensor, seed: int) -> Tensor:
    """Whole numbers at random within their unit: a density would go up and up on them alone."""
    whole = torch.tensor([f.kind == "discrete" for f in one.features])
    generator = torch.Generator().manual_seed(seed)
    shift = torch.rand(x.shape, generator=generator, dtype=torch.float64) - 0.5
    return x + torch.where(whole, 0.999 * shift, 0.0)


def single_events(one: Analysis, events: int, seed: int) -> AugmentedEvents:
    names = [feature.name for feature in one.features]
    campaign = Campaign(
        one.chain, one.parameters, events, seed, points=1, columns=names,
        scores=one.parameters.free_names, block_size=min(8192, events),
    )  # fmt: skip
    parts = [campaign.simulate(block).events for block in range(campaign.blocks)]
    made = type(parts[0]).concatenate(parts)
    found = AugmentedEvents.from_events(made, one.features, one.parameters)
    return dataclasses.replace(found, x=spread(one, found.x, seed))


def pairs_of(one: Analysis, events: int, seed: int) -> AugmentedEvents:
    found = AugmentedEvents.pairs(
        one.chain, one.parameters, one.features, one.middle, events, seed=seed
    )
    return dataclasses.replace(found, x=spread(one, found.x, seed))


def pseudo_data(one: Analysis, sets: int, size: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Data sets, and the α_s of each, shape ``(S,)``."""
    (prior,) = one.parameters.priors
    generator = torch.Generator().manual_seed(seed)
    fraction = 0.25 + 0.5 * torch.rand(sets, generator=generator).double()
    truth = prior.low + (prior.high - prior.low) * fraction
    data: list[Tensor] = []
    for part in torch.split(truth, 8):
        values = one.parameters.values(part[:, None])
        at = {n: v[:, None] if v.dim() else v for n, v in values.items()}
        state = one.chain.simulate(at, int(1.1 * size) + 20, seed, block=len(data)).state
        x = torch.stack([state[f.name] for f in one.features], -1).double()
        data += [row[chosen][:size] for row, chosen in zip(x, state["selected"], strict=True)]
    return [spread(one, x, s) for s, x in enumerate(data)], truth


def estimators(one: Analysis, hidden: Sequence[int]) -> dict[str, tuple[bool, Fit]]:
    """By name: whether it uses the joint score, and how it is trained on either sample."""
    both: dict[str, Any] = {
        "features": one.features, "parameters": one.parameters, "hidden": hidden,
    }  # fmt: skip

    def sally(_: AugmentedEvents, pairs: AugmentedEvents, options: TrainingOptions) -> ScoreMean:
        at, own = pairs.at_reference, pairs.own
        observables = SALLY.fit(at, **both, **options)
        return ScoreMean.fit(observables, own.x, own.theta, weight=own.weight, degree=2)

    return {
        "NLE": (False, lambda own, _, options: NLE.fit(own.x, own.theta, **both, **options)),
        "NRE": (False, lambda own, _, options: NRE.fit(own.x, own.theta, **both, **options)),
        "SCANDAL": (True, lambda own, _, options: fit_scandal(own, **both, **options)),
        "RASCAL": (True, lambda _, pairs, options: RASCAL.fit(pairs, **both, **options)),
        "ALICES": (True, lambda _, pairs, options: ALICES.fit(pairs, **both, **options)),
        "SALLY": (True, sally),
    }


def measured(
    likelihood: SetLikelihood, data: Sequence[Tensor], truth: Tensor
) -> tuple[float, float, float]:
    """Mean width, rms error and coverage of 68 %."""
    posterior, found = LikelihoodPosterior(likelihood), []
    for x, value in zip(data, truth.tolist(), strict=True):
        (marginal,) = grid_marginals(posterior, x)
        below = float(np.interp(value, marginal.theta, marginal.cdf))
        found.append((marginal.std, marginal.mean - value, abs(below - 0.5) < 0.34))
    width, error, inside = np.array(found, dtype=np.float64).T
    return float(width.mean()), float(np.sqrt((error**2).mean())), float(inside.mean())


def options(events: int, steps: int, seed: int) -> TrainingOptions:
    batch = 128 if events < 4000 else 256
    epochs = max(4, round(steps * batch / (0.9 * events)))
    return {
        "batch_size": batch, "epochs": epochs, "patience": max(6, epochs // 3), "seed": seed,
        "validation_fraction": 0.1,
    }  # fmt: skip


def reference(one: Analysis, events: int) -> Templates:
    tracks = np.array([*range(5, 35), 36, 39, 81]) - 0.5
    y23 = np.array([0.0, *np.geomspace(3e-4, 0.22, 15), 0.3334])
    edges = {"Durham_y23": y23, "nTrack": tracks}
    return Templates.simulate(
        one.chain, one.parameters, edges, events, nodes=5, seed=11, block_size=8192
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=float, nargs="+", default=[1000, 5000, 15000, 50000])
    parser.add_argument("--estimators", nargs="+")
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--prior", type=float, nargs=2, default=(0.105, 0.130))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 32])
    parser.add_argument("--templates", type=int, default=0)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    one, budgets = analysis(*given.prior), sorted(int(b) for b in given.budgets)
    data, truth = pseudo_data(one, given.sets, given.size, seed=2)
    own = single_events(one, budgets[-1], seed=1)
    pairs = [pairs_of(one, b, 3 + k) for k, b in enumerate(budgets)]
    noise = float((own.score.std() * own.theta.std()) ** 2)
    print(
        f"{len(own)} events; the score of an event has the variance {noise:.3f} in units of the "
        f"prior's: SCANDAL is to need {noise / (1 + noise):.3f} of the events of NLE; "
        f"{time.process_time() - start:.0f} s of CPU",
        flush=True,
    )
    best = None
    if given.templates:
        best, error, inside = measured(reference(one, given.templates), data, truth)
        print(f"templates: width {best:.5f}, rms {error:.5f}, coverage {inside:.2f}", flush=True)
    table = estimators(one, given.hidden)
    curves = []
    for name in given.estimators or table:
        augmented, fit = table[name]
        rows = []
        for k, b in enumerate(budgets):
            begun = time.process_time()
            likelihood = fit(own[:b], pairs[k], options(b, given.steps, seed=0))
            rows.append(measured(likelihood, data, truth))
            print(
                f"{name:8} {b:7d} events: width {rows[-1][0]:.5f}, rms {rows[-1][1]:.5f}, coverage "
                f"{rows[-1][2]:.2f}; {time.process_time() - begun:.0f} s",
                flush=True,
            )
        width, error, inside = np.array(rows).T
        curves.append(
            BudgetCurve(
                name, "alpha_s", augmented, np.array(budgets), len(data), width, error, inside
            )
        )
    for line in verdict(curves):
        print(line)
    if given.save:
        given.save.write_bytes(svg(plot_budget(curves, reference=best)))


def verdict(curves: Sequence[BudgetCurve]) -> list[str]:
    """Asked beside measured, for each estimator with the score at a tenth of the events."""
    plain = [c for c in curves if not c.augmented]
    if not plain:
        return []
    best = min(plain, key=lambda c: float(c.rms[-1]))
    largest = int(best.events[-1])
    asked = (
        f"{best.method} with {largest}: width {best.width[-1]:.5f}, rms {best.rms[-1]:.5f}, "
        f"coverage {best.coverage[-1]:.2f}"
    )
    lines = []
    for c in (c for c in curves if c.augmented):
        few = np.flatnonzero(c.events <= largest / 10)
        if len(few):
            k = few[-1]
            lines.append(
                f"asked of {c.method} with {c.events[k]} at most {asked}; measured width "
                f"{c.width[k]:.5f}, rms {c.rms[k]:.5f}, coverage {c.coverage[k]:.2f} ± "
                f"{np.sqrt(0.68 * 0.32 / c.sets):.2f}"
            )
    return lines


if __name__ == "__main__":
    main()
