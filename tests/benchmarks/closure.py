"""Posteriors of one parameter from a surrogate's density, beside those of the simulator itself.

    python tests/benchmarks/closure.py [--process ee_mumu zmumu ee_jets] [--method mixture]
        [--events N] [--seconds 240] [--members 1] [--templates N] [--sets 50] [--size 500]
        [--save FILE] [--quick]

The parameter of interest is free, the others stand at their defaults. `ee_mumu` (sin²θ_W at 89 GeV)
has an exact likelihood. `zmumu` (m_Z) and `ee_jets` (α_s) are set beside templates, histograms of
``--templates`` further events that the joint densities of their histories carry to every θ: nothing
of them is learned. Asked is less than 0.2 σ in the mean and 10 % in the width, of 50 pseudo-data
sets. What the templates themselves leave open is measured by those of one half of the events beside
those of the other (half of that difference is the error of the whole) and by bins twice as wide (of
what a finite width costs, a third of the variance).

The density of a surrogate is also integrated over the bins of the templates, and both posteriors
are then of the data in bins: there, the width of the bins leaves nothing open.

``--seconds`` is the longest that a training takes, with its cycle complete. ``--members``
surrogates are averaged in density. ``--save`` writes the shifts and ratios of all sets as a table.
All of it takes about half an hour of one core; ``--quick`` with one process one or two minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgen.errors import SurrogateError
from hepgen.features import Feature
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.surrogate_likelihood import SurrogateLikelihood
from hepgen.inference.templates import Templates
from hepgen.judgement import Closure
from hepgen.parameters import ParameterSet, Uniform
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.surrogate import Domain, Surrogate

Edges = Mapping[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A chain with one free parameter, the columns of its likelihood, and bins for templates."""

    chain: Chain
    parameters: ParameterSet
    features: tuple[Feature, ...]
    events: int
    """To train on."""
    edges: Edges = dataclasses.field(default_factory=dict)
    nodes: int = 0
    templates: int = 0
    block_size: int = 32_768
    generated: int = 2
    """Events for each that is selected, at least."""


def ee_mumu() -> Problem:
    chain = process("ee_mumu", energies=(89.0,))
    angle = dataclasses.replace(
        chain.parameters["sin2_theta_w"], prior=Uniform(0.15, 0.30), role="interest"
    )
    others = [p for p in chain.parameters if p.name != angle.name]
    density = ElectronPositronDensity.of(chain)
    cosine = Feature("Dimuon_cos_theta", low=-density.cos_max, high=density.cos_max)
    return Problem(chain, ParameterSet([angle, *others]).only(angle.name), (cosine,), 4_000_000)


def zmumu() -> Problem:
    """The mass alone is in the likelihood of the workflow, and in bins beside 2.5 GeV of width."""
    session = Session.open("workflows/zmumu.toml")
    mass = np.concatenate(
        [np.linspace(60, 80, 41), np.linspace(80, 100, 201)[1:], np.linspace(100, 120, 41)[1:]]
    )
    return Problem(
        session.chain, session.parameters.only("m_z"), session.features, 500_000,
        {"Dimuon_mass": mass}, nodes=13, templates=4_000_000, generated=6,
    )  # fmt: skip


def ee_jets() -> Problem:
    # The prior ends where the shower's clock does, and at its end events cannot be reweighted.
    session = Session.open("workflows/ee_jets.toml", ["chain.alpha_s_max=0.15"])
    y23, tracks = session.features
    y23_edges = np.array([0.0, *np.geomspace(3e-4, 0.22, 15), 0.3334])
    track_edges = np.array([*range(5, 35), 36, 39, 81]) - 0.5
    return Problem(
        session.chain, session.parameters.only("alpha_s"),
        (y23, dataclasses.replace(tracks, kind="discrete")), 400_000,
        {"Durham_y23": y23_edges, "nTrack": track_edges},
        nodes=9, templates=800_000, block_size=8192,
    )  # fmt: skip


PROBLEMS = {"ee_mumu": ee_mumu, "zmumu": zmumu, "ee_jets": ee_jets}


class Average(ConditionalDensity):
    """The mean of the densities of several surrogates."""

    def __init__(self, members: Sequence[ConditionalDensity]) -> None:
        super().__init__(members[0].features, members[0].context)
        self.members = nn.ModuleList(members)

    @property
    def options(self) -> dict[str, Any]:
        return {}

    @property
    def quality(self) -> Quality:
        return Quality("exact", "average")

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        raise SurrogateError("an average of densities is evaluated, and not sampled")

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        each = [one.log_prob(u, context).value for one in self.members]  # type: ignore[operator]
        return LogDensity.exact(torch.stack(each).logsumexp(0) - np.log(len(each)))


def single_events(problem: Problem, events: int, seed: int) -> tuple[Tensor, Tensor]:
    """x and θ of so many selected events, at 16 generated at each point."""
    names = [one.name for one in problem.features]
    campaign = Campaign(
        problem.chain, problem.parameters, 2**40, seed, points=16, columns=names,
        block_size=problem.block_size,
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
    """Data sets of so many selected events, each at a θ of the middle half of the prior."""
    names = [one.name for one in problem.features]
    low, high = problem.parameters.priors[0].reach
    generator = torch.Generator().manual_seed(seed)
    fraction = 0.25 + 0.5 * torch.rand(sets, 1, generator=generator).double()
    values = problem.parameters.values(low + (high - low) * fraction)
    data = []
    for s in range(sets):
        at = {n: v[s : s + 1, None] if v.dim() else v for n, v in values.items()}
        state = problem.chain.simulate(at, problem.generated * size, seed, block=s).state
        x = torch.stack([state[name] for name in names], -1).double()
        data.append(x[state["selected"]][:size])
    return data


def fit(
    problem: Problem, method: str, training: tuple[Tensor, Tensor], seed: int, seconds: float
) -> Surrogate:
    free = problem.parameters.free_names
    return Surrogate.fit(
        *training, features=problem.features, inputs=[Feature(one) for one in free],
        method=method, device="cpu", domain=Domain.from_sample(free, training[1]), seed=seed,
        time_budget=seconds,
    )  # fmt: skip


def trained(
    problem: Problem, method: str, training: tuple[Tensor, Tensor], members: int, seconds: float
) -> SurrogateLikelihood:
    """The likelihood of so many surrogates that differ in the seed of their training."""
    each = [fit(problem, method, training, seed, seconds) for seed in range(members)]
    average = dataclasses.replace(each[0], model=Average([one.model for one in each]))
    return SurrogateLikelihood(each[0] if members == 1 else average, problem.parameters)


def axis(
    feature: Feature, edges: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Nodes in all bins of a column, their weights, and the bin of each."""
    if feature.kind == "discrete":
        nodes = np.arange(np.ceil(edges[0]), edges[-1])
        return nodes, np.ones_like(nodes), np.searchsorted(edges, nodes, side="right") - 1
    unit, weight = np.polynomial.legendre.leggauss(16)
    half, middle = 0.5 * np.diff(edges)[:, None], 0.5 * (edges[1:] + edges[:-1])[:, None]
    bins = np.repeat(np.arange(len(edges) - 1), len(unit))
    return (middle + half * unit).ravel(), (half * weight).ravel(), bins


@torch.no_grad()
def in_bins(likelihood: SurrogateLikelihood, problem: Problem, like: Templates) -> Templates:
    """The probabilities of the bins under a surrogate, by quadrature, at the same nodes."""
    known = {feature.name: feature for feature in problem.features}
    axes = [axis(known[name], line) for name, line in like.edges.items()]
    shape = tuple(len(line) - 1 for line in like.edges.values())
    x, weight, bins = (
        np.stack([m.ravel() for m in np.meshgrid(*part, indexing="ij")], -1)
        for part in zip(*axes, strict=True)
    )
    place = torch.from_numpy(np.ravel_multi_index(tuple(bins.astype(int).T), shape))
    found = [
        torch.zeros(int(np.prod(shape)), dtype=torch.float64).index_add_(
            0, place, torch.from_numpy(weight.prod(-1))
            * likelihood.log_prob(torch.from_numpy(x), torch.tensor([[theta]]))[:, 0].exp(),
        )
        for theta in like.nodes
    ]  # fmt: skip
    counts = torch.stack(found)
    print(f"  the surrogate's density over all bins: {counts.sum(1).min():.5f} to "
          f"{counts.sum(1).max():.5f}", flush=True)  # fmt: skip
    return dataclasses.replace(like, counts=counts)


def half(problem: Problem, events: int, seed: int) -> Templates:
    return Templates.simulate(
        problem.chain, problem.parameters, problem.edges, events, seed=seed,
        nodes=problem.nodes, block_size=problem.block_size,
    )  # fmt: skip


def templates(problem: Problem, events: int, data: Sequence[Tensor]) -> tuple[Templates, str]:
    """Those of all events, and in words how far they can be trusted."""
    first, second = (half(problem, events // 2, seed) for seed in (11, 12))
    whole = dataclasses.replace(first, counts=first.counts + second.counts)
    (statistics,) = closure(first, second, data, name="the other half")
    (binning,) = closure(whole.wider(), whole, data, name="wider bins")
    trust = (
        f"templates of {events} events: rms shift {0.5 * rms(statistics.shifts):.3f} σ from their "
        f"number, {rms(binning.shifts) / np.sqrt(3):.3f} σ from {whole.counts.shape[1]} bins"
    )
    return whole, trust


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def words(process: str, one: Closure, seconds: float) -> str:
    beyond = int((np.abs(one.shifts) > 0.2).sum()), int((np.abs(one.widths - 1) > 0.1).sum())
    return (
        f"{process}, {one.name}, against {one.reference}, {len(one.shifts)} sets: asked |shift| "
        f"≤ 0.2 σ, width within 10 %; measured mean shift {one.shift}, rms "
        f"{rms(one.shifts):.3f}, largest {one.largest:.3f}, {beyond[0]} beyond; width ratio "
        f"{one.width}, from {one.widths.min():.3f} to {one.widths.max():.3f}, {beyond[1]} beyond; "
        f"{seconds:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--method", default="mixture")
    parser.add_argument("--sets", type=int)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--events", type=int)
    parser.add_argument("--templates", type=int)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part = 20 if options.quick else 1
    number = options.sets or (10 if options.quick else 50)
    rows = ["process,parameter,shift,width"]
    for name in options.process:
        start, problem = time.monotonic(), PROBLEMS[name]()
        data = pseudo_data(problem, number, options.size, seed=2)
        other: SetLikelihood
        if problem.edges:
            size = options.templates or problem.templates // part
            other, reference = templates(problem, size, data)
        else:
            exact = ElectronPositronDensity.of(problem.chain)
            other, reference = ExactLikelihood(exact, problem.parameters), "the exact likelihood"
        print(f"{name}: {reference}; {time.monotonic() - start:.0f} s", flush=True)
        events = options.events or problem.events // part
        training = single_events(problem, events, seed=1)
        likelihood = trained(problem, options.method, training, options.members, options.seconds)
        (one,) = closure(likelihood, other, data, name=reference)
        print(words(name, one, time.monotonic() - start), flush=True)
        if isinstance(other, Templates):
            binned = in_bins(likelihood, problem, other)
            (one,) = closure(binned, other, data, name=f"both in bins; {reference}")
            print(words(name, one, time.monotonic() - start), flush=True)
        rows += [
            f"{name},{one.name},{shift:.4f},{width:.4f}"
            for shift, width in zip(one.shifts, one.widths, strict=True)
        ]
    if options.save:
        options.save.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
