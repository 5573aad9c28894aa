"""Coverage of Neyman sets at 20 points of θ, and their score beside a binned fit of the same data.

    python tests/benchmarks/neyman.py [--process zmumu ee_jets dijet_bump] [--toys 1000]
        [--training N] [--points 20] [--widths 100] [--at-nuisances] [--save FILE] [--quick]

Asked: sets of 68.27 and 95.45 % cover within 3 % (absolute) at each point and within 1 % on
average. 1,000 toys know the coverage of 68 % sets to 1.5 %, so that of 20 points with perfect
coverage one lies beyond 3 % on average; what binomial fluctuation leads to is printed beside what
was measured. Toys of the test are always of the simulator, never of the likelihood that is fitted.

zmumu       m_Z, with momentum scale and resolution and the background free; 500 events. The
            density of the mass is an NLE; the toys' nuisance parameters are drawn from their
            priors, and the test points too and then held: 20 points in five dimensions. The fit
            reaches beyond them, where nothing forbids it.
ee_jets     α_s; 500 events in bins of the Durham y₂₃ and the number of tracks, from templates.
            Toys are drawn from pools of events that joint likelihood ratios carry to each α_s.
dijet_bump  The signal strength from 0 to 3, not below 0, at 10 pb⁻¹ (2,200 events, of which 5 are
            signal at strength 1); slopes, luminosity, jet scale and resolution free. The rate in
            narrow bins of the mass and three of |Δy| is the exact spectrum. What is fitted is a
            polynomial through it, which is off by up to 0.19 σ of μ (at 0.16); the training toys
            are drawn of background and signal apart, each by a polynomial of its own, within
            0.01 σ; the test toys from histograms of 16 million events of the chain, whose own
            statistics move μ by 0.03 σ. (Of a million it was 0.1 σ, which at the boundary is 4 %
            of coverage.)
            The binned fit is of the mass.

The score is that of the FAIR Universe challenge (larger is better), of ``--widths`` toys a point.
The binned fit has bins as wide as is usual and the HistFactory interpolation of templates at ±1σ
(`hepgen.inference.binned`, which reproduces pyhf), and its interval is where t < χ² quantile.
About 450, 120 and 1000 s of CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binom, chi2
from torch import Tensor

from hepgen.inference.binned import (
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    Factor,
    HistoSys,
    Modifier,
)
from hepgen.inference.likelihood import DataSets
from hepgen.inference.nle import NLE
from hepgen.inference.polynomial_likelihood import PolynomialLikelihood
from hepgen.inference.statistics.coverage import from_fractions, interval_score
from hepgen.inference.statistics.neyman import Neyman, ProfileRatio, pieces
from hepgen.inference.statistics.profile import profile
from hepgen.inference.templates import Templates
from hepgen.parameters import Normal, Parameter, ParameterSet, Prior, Uniform
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.dijet_spectrum import DijetSpectrum
from hepgen.simulators.processes.registry import process
from hepgen.statements import CoverageMap

LEVELS = (0.6827, 0.9545)
Kinds = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Problem:
    """What is measured, with which likelihood, and where its data come from."""

    likelihood: PolynomialLikelihood
    interest: str
    training: Kinds
    """Kinds of the events of toys at each θ, −1 for none: to learn critical values from."""
    test: Kinds
    """The same, independent of all that was learned."""
    theta: Callable[[int, int], Tensor]
    """So many θ for toys, as a function of a seed."""
    points: Tensor
    grid: Tensor
    binned: BinnedLikelihood
    merged: Tensor
    """The bin of each kind in the binned fit."""
    to_binned: Callable[[Tensor], Tensor]
    """θ and auxiliary measurements in units of the binned fit's parameters."""
    trained: int


def free(parameters: Sequence[Parameter], priors: Mapping[str, Prior | None]) -> ParameterSet:
    return ParameterSet(
        [dataclasses.replace(p, prior=priors.get(p.name), role=p.role) for p in parameters]
    )


def simulated(
    chain: Chain, parameters: ParameterSet, theta: Tensor, seed: int, columns: Sequence[str],
    generated: int,
) -> Sequence[Tensor]:  # fmt: skip
    """The columns and whether an event is selected, each of shape ``(S, generated)``."""
    values = parameters.values(theta)
    at = {n: v[:, None] if v.dim() else v for n, v in values.items()}
    state = chain.simulate(at, generated, seed).state
    kept = state["selected"]
    return [*(state[name].expand(kept.shape) for name in columns), kept]


def chunks(theta: Tensor, generated: int) -> Sequence[Tensor]:
    return torch.split(theta, max(1, 200_000 // generated))


def first(kinds: Tensor, kept: Tensor, size: int) -> Tensor:
    """The first ``size`` kept events of each row, filled up with −1."""
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, :size]
    return torch.where(kept.gather(1, order), kinds.gather(1, order), -1)


# --- zmumu ---------------------------------------------------------------------------------


def zmumu(training: int) -> Problem:
    session = Session.open("workflows/zmumu.toml")
    drawn_from: dict[str, Prior | None] = {
        "m_z": Uniform(90.0, 92.4), "muon_scale": Normal(0.0, 0.002),
        "muon_resolution": Uniform(0.7, 2.7), "background_fraction": Uniform(0.0, 0.3),
        "background_slope": Uniform(0.0, 0.2),
    }  # fmt: skip
    # A fit that ends where the toys do has other distributions there: t is as if less were free.
    fitted: dict[str, Prior | None] = drawn_from | {
        "m_z": Uniform(89.6, 92.8), "muon_resolution": Uniform(0.3, 3.5),
        "background_fraction": Uniform(0.0, 0.45), "background_slope": Uniform(-0.08, 0.28),
    }  # fmt: skip
    parameters = free(list(session.parameters), fitted)
    edges = torch.linspace(60, 120, 601, dtype=torch.float64)
    size, generated = 500, 2600

    def events(theta: Tensor, seed: int) -> Tensor:
        rows = []
        for number, part in enumerate(chunks(theta, generated)):
            mass, kept = simulated(
                session.chain, parameters, part, seed * 7919 + number, ["Dimuon_mass"], generated
            )
            kinds = (torch.bucketize(mass.contiguous(), edges) - 1).clamp(0, len(edges) - 2)
            rows.append(first(kinds, kept, size))
        return torch.cat(rows)

    campaign = Campaign(
        session.chain, parameters, 2**40, 5, points=16, columns=["Dimuon_mass"], block_size=32_768
    )
    blocks = [campaign.simulate(b).events for b in range(40)]
    x = torch.from_numpy(np.concatenate([b.flat(["Dimuon_mass"]) for b in blocks]))
    theta = torch.from_numpy(np.concatenate([b.theta(parameters.free_names) for b in blocks]))
    nle = NLE.fit(
        x, theta, features=session.features, parameters=parameters, epochs=6, seed=1, device="cpu"
    )
    middle = 0.5 * (edges[1:] + edges[:-1])[:, None]
    width = edges.diff()[:, None].log()

    def log_rate(at: Tensor) -> Tensor:
        with torch.no_grad():
            return (nle.log_prob(middle, at) + width).T

    likelihood = PolynomialLikelihood(parameters, log_rate, degree=5, events=events)
    prior = free(list(session.parameters), drawn_from).prior()
    names = parameters.free_names

    def draw(number: int, seed: int) -> Tensor:
        theta = prior.sample((number,), torch.Generator().manual_seed(seed))
        scale = names.index("muon_scale")
        theta[:, scale] = theta[:, scale].clamp(-0.0075, 0.0075)
        return theta

    points = draw(20, 99)
    points[:, names.index("m_z")] = torch.linspace(90.4, 92.0, 20, dtype=torch.float64)
    # A quarter of the range stands for one σ where there is no constraint.
    around = {
        "m_z": (91.2, 0.6), "muon_scale": (0.0, 0.002), "muon_resolution": (1.7, 0.5),
        "background_fraction": (0.15, 0.075), "background_slope": (0.1, 0.05),
    }  # fmt: skip
    nominal, step = torch.tensor([around[n] for n in names], dtype=torch.float64).unbind(-1)
    merged = torch.arange(600) // 20
    grid = torch.linspace(90.0, 92.4, 49, dtype=torch.float64)
    return Problem(
        likelihood, "m_z", events, events, draw, points, grid,
        histfactory(likelihood, merged, nominal, step, size), merged,
        lambda theta: (theta - nominal) / step, training or 40_000,
    )  # fmt: skip


def histfactory(
    likelihood: PolynomialLikelihood, merged: Tensor, nominal: Tensor, step: Tensor, size: float
) -> BinnedLikelihood:
    """Wide bins, and a template at ±1 of each parameter, in units of its step."""

    def template(theta: Tensor) -> tuple[float, ...]:
        rate = likelihood.log_rates(theta[None])[0].exp()
        rate = rate if likelihood.rate else size * rate / rate.sum()
        return tuple(
            torch.zeros(int(merged.max()) + 1).double().index_add(0, merged, rate).tolist()
        )

    old = likelihood.parameters.free
    modifiers: list[Modifier] = []
    parameters = []
    for i, (one, prior) in enumerate(zip(old, likelihood.parameters.priors, strict=True)):
        unit = torch.eye(len(old), dtype=torch.float64)[i] * step
        modifiers.append(HistoSys(one.name, template(nominal - unit), template(nominal + unit)))
        low, high = (
            (end - nominal[i].item()) / step[i].item()
            for end in ((-1e9, 1e9) if isinstance(prior, Normal) else (prior.low, prior.high))
        )
        scaled = Normal(0.0, 1.0) if isinstance(prior, Normal) else Uniform(low, high)
        parameters.append(Parameter(one.name, 0.0, prior=scaled, role=one.role))
    sample = BinnedSample("all", template(nominal), tuple(modifiers))
    return BinnedLikelihood([BinnedChannel("bins", (sample,))], ParameterSet(parameters))


# --- ee_jets -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Events that joint likelihood ratios carry to any α_s: ln w is a polynomial through nodes."""

    kinds: Tensor
    log_weight: Tensor  # Chebyshev coefficients, (M, N)
    low: float
    high: float

    def weights(self, value: float) -> Tensor:
        t = (2 * value - self.low - self.high) / (self.high - self.low)
        basis = torch.cos(torch.arange(len(self.log_weight)) * np.arccos(np.clip(t, -1, 1)))
        return (basis.double() @ self.log_weight).exp()

    def draw(self, theta: Tensor, seed: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        kinds = torch.empty(len(theta), size, dtype=torch.int64)
        for value in sorted(set(theta[:, 0].tolist())):
            rows = (theta[:, 0] == value).nonzero()[:, 0]
            cumulated = self.weights(value).cumsum(0)
            u = torch.rand(len(rows), size, generator=generator, dtype=torch.float64)
            at = torch.searchsorted(cumulated, u * cumulated[-1]).clamp(max=len(cumulated) - 1)
            kinds[rows] = self.kinds[at]
        return kinds


def ee_jets(training: int, events: int = 120_000) -> Problem:
    session = Session.open("workflows/ee_jets.toml")
    parameters = free(list(session.parameters), {"alpha_s": Uniform(0.10, 0.14)})
    edges = {
        "Durham_y23": np.array([0.0, *np.geomspace(3e-4, 0.22, 15), 0.3334]),
        "nTrack": np.array([*range(5, 35), 36, 39, 81]) - 0.5,
    }
    nodes = 7
    theta = 0.12 + 0.02 * np.polynomial.chebyshev.chebpts2(nodes)
    theta = np.clip(theta, 0.10, 0.14)

    def pool(events: int, seed: int) -> Pool:
        campaign = Campaign(
            session.chain, parameters, events, seed, theta=theta[:, None], points=64,
            columns=list(edges), block_size=nodes * 64 * 16,
            ratios={str(k): {"alpha_s": float(v)} for k, v in enumerate(theta)},
        )  # fmt: skip
        found = [campaign.simulate(b).events for b in range(campaign.blocks)]
        x = np.concatenate([b.flat(list(edges)) for b in found])
        ratio = np.concatenate([b.flat([f"logr_{k}" for k in range(nodes)]) for b in found])
        kinds = np.zeros(len(x), dtype=np.int64)
        for column, line in zip(x.T, edges.values(), strict=True):
            kinds = kinds * (len(line) - 1) + np.searchsorted(line, column, side="right") - 1
        log_weight = ratio - np.logaddexp.reduce(ratio, axis=1, keepdims=True)
        t = np.polynomial.chebyshev.chebpts2(nodes)
        fitted = np.polynomial.chebyshev.chebfit(t, log_weight.T, nodes - 1)
        return Pool(torch.from_numpy(kinds), torch.from_numpy(fitted), 0.10, 0.14)

    first_pool, second, third = (pool(events, seed) for seed in (31, 32, 33))
    bins = int(np.prod([len(line) - 1 for line in edges.values()]))
    counts = torch.stack(
        [
            torch.zeros(bins, dtype=torch.float64).index_add(
                0, first_pool.kinds, first_pool.weights(float(v))
            )
            for v in theta
        ]
    )
    alone = ParameterSet([parameters["alpha_s"]])
    templates = Templates(alone, edges, counts)
    size = 500
    likelihood = PolynomialLikelihood(
        alone, lambda at: templates.log_probabilities(at[:, 0]), degree=8, nodes=6,
        events=lambda at, seed: second.draw(at, seed, size),
    )  # fmt: skip

    def draw(number: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        values = 0.10 + 0.04 * torch.rand(200, generator=generator, dtype=torch.float64)
        values[:2] = torch.tensor([0.10, 0.14], dtype=torch.float64)
        return values.repeat_interleave(-(-number // 200))[:number, None]

    nominal = torch.tensor([0.12], dtype=torch.float64)
    step = torch.tensor([0.01], dtype=torch.float64)
    merged = torch.arange(bins) // (len(edges["nTrack"]) - 1)
    return Problem(
        likelihood, "alpha_s", lambda at, seed: second.draw(at, seed, size),
        lambda at, seed: third.draw(at, seed, size), draw,
        torch.linspace(0.104, 0.136, 20, dtype=torch.float64)[:, None],
        torch.linspace(0.10, 0.14, 81, dtype=torch.float64),
        histfactory(likelihood, merged, nominal, step, size), merged,
        lambda at: (at - nominal) / step, training or 40_000,
    )  # fmt: skip


# --- dijet_bump ----------------------------------------------------------------------------

LUMINOSITY = 10.0
"""1/pb."""
PARTS = 64
"""Of a histogram, with 250,000 generated events each."""
DELTA_Y = torch.tensor([0.0, 0.5, 0.9, 1.3], dtype=torch.float64)


def dijet_bump(training: int) -> Problem:
    chain = process("dijet_bump")
    session = Session.open("workflows/dijet_bump.toml")
    names = (
        "background_p1", "background_p2", "background_p3", "luminosity", "jet_energy_scale",
        "jet_energy_resolution", "out_of_cone",
    )  # fmt: skip
    constraints = {n: session.parameters[n].prior for n in names}
    parameters = free(
        list(session.parameters),
        {"signal_strength": Uniform(0.0, 16.0), **constraints},
    )
    whole = DijetSpectrum.of(chain)
    spectrum = DijetSpectrum(
        whole.parton, whole.detector, whole.selection, masses=160, angles=2, losses=14
    )
    edges = torch.linspace(np.log(1200.0), np.log(4500.0), 91, dtype=torch.float64).exp()

    def log_rate(theta: Tensor) -> Tensor:
        rows = []
        for one in theta:
            values = parameters.values(one)
            rows.append((LUMINOSITY * spectrum.in_angles(values, edges, DELTA_Y)).log().reshape(-1))
        return torch.stack(rows)

    rate = background_and_signal(parameters, log_rate)

    def training_toys(theta: Tensor, seed: int) -> Tensor:
        return drawn(rate(theta), seed)

    likelihood = PolynomialLikelihood(
        parameters, log_rate, degree=3, rate=True, nodes=2.5, events=training_toys
    )

    def test(theta: Tensor, seed: int) -> Tensor:
        """Toys of a histogram of 16 million generated events at their one θ."""
        point, generated, bins = theta[:1], 250_000, 90 * (len(DELTA_Y) - 1)
        selected = torch.zeros(bins, dtype=torch.float64)
        for part in range(PARTS):
            mass, delta_y, kept = simulated(
                chain, parameters, point, seed * 7919 + part,
                ["Dijet_mass", "Dijet_delta_y"], generated,
            )  # fmt: skip
            i, j = (
                (torch.bucketize(x[kept].contiguous(), ends) - 1).clamp(0, len(ends) - 2)
                for x, ends in ((mass, edges), (delta_y.abs(), DELTA_Y))
            )
            selected += torch.bincount(i * (len(DELTA_Y) - 1) + j, minlength=bins)
        sigma = chain.stages[0].cross_section(parameters.values(point))
        assert sigma is not None
        expected = LUMINOSITY * sigma * selected / (PARTS * generated)
        return drawn(expected.expand(len(theta), -1), seed + 17)

    def draw(number: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        theta = parameters.prior().sample((number,), generator)
        # Denser near the boundary, where the critical value moves fast, and some upon it.
        u = torch.rand(number, generator=generator, dtype=torch.float64)
        theta[:, 0] = 16 * (1.1 * u - 0.1).clamp(min=0).square()
        sigma = torch.tensor([getattr(p, "std", 0.0) for p in parameters.priors]).double()
        mean = torch.tensor([getattr(p, "mean", 0.0) for p in parameters.priors]).double()
        theta[:, 1:] = torch.maximum(torch.minimum(theta, mean + 3.5 * sigma), mean - 3.5 * sigma)[
            :, 1:
        ]
        return theta

    points = draw(20, 99)
    points[:, 0] = torch.linspace(0.0, 3.0, 20, dtype=torch.float64)
    nominal = torch.tensor(
        [0.0, *(getattr(p, "mean", 0.0) for p in parameters.priors[1:])], dtype=torch.float64
    )
    step = torch.tensor(
        [1.0, *(getattr(p, "std", 1.0) for p in parameters.priors[1:])], dtype=torch.float64
    )
    merged = torch.arange(90).repeat_interleave(len(DELTA_Y) - 1) // 3
    return Problem(
        likelihood, "signal_strength", training_toys, test, draw, points,
        16 * torch.linspace(0, 1, 49, dtype=torch.float64).square(),
        signal_and_background(likelihood, merged, nominal, step), merged,
        lambda theta: torch.cat([theta[:, :1], ((theta - nominal) / step)[:, 1:]], dim=1),
        training or 60_000,
    )  # fmt: skip


def drawn(expected: Tensor, seed: int) -> Tensor:
    """The kinds of Poisson numbers of events, shape ``(S, N)``, for expectations ``(S, B)``."""
    counts = torch.poisson(expected, torch.Generator().manual_seed(seed)).long()
    kinds = torch.arange(expected.shape[-1])
    rows = [kinds.repeat_interleave(row) for row in counts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def background_and_signal(
    parameters: ParameterSet, log_rate: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """b(ν) + μ s(ν), with ln b and ln s polynomials: s knows nothing of the background's slopes."""
    names = parameters.free_names
    of_signal = [n for n in names[1:] if not n.startswith("background")]
    columns = [names.index(n) for n in of_signal]
    defaults = torch.tensor([p.default for p in parameters.free], dtype=torch.float64)

    def only(free: Sequence[str]) -> ParameterSet:
        return ParameterSet(
            [p if p.name in free else dataclasses.replace(p, prior=None) for p in parameters]
        )

    def log_background(nuisances: Tensor) -> Tensor:
        return log_rate(torch.nn.functional.pad(nuisances, (1, 0)))

    def log_signal(nuisances: Tensor) -> Tensor:
        theta = defaults.repeat(len(nuisances), 1)
        theta[:, columns] = nuisances
        theta[:, 0], strong = 0.0, 10.0
        without = log_rate(theta).exp()
        theta[:, 0] = strong
        return ((log_rate(theta).exp() - without) / strong).log()

    background, signal = (
        PolynomialLikelihood(only(free), log, degree=degree, rate=True, nodes=2.5)
        for free, log, degree in ((names[1:], log_background, 3), (of_signal, log_signal, 4))
    )
    return lambda theta: (
        background.log_rates(theta[:, 1:]).exp()
        + theta[:, :1] * signal.log_rates(theta[:, columns]).exp()
    )


def signal_and_background(
    likelihood: PolynomialLikelihood, merged: Tensor, nominal: Tensor, step: Tensor
) -> BinnedLikelihood:
    """Two samples, whose templates at ±1σ are the differences of those with and without signal."""

    def rate(theta: Tensor) -> Tensor:
        each = likelihood.log_rates(theta[None])[0].exp()
        return torch.zeros(int(merged.max()) + 1).double().index_add(0, merged, each)

    def both(theta: Tensor) -> tuple[Tensor, Tensor]:
        strong = theta.clone()
        strong[0] = 2.0
        return (rate(strong) - rate(theta)) / 2, rate(theta)

    names = likelihood.parameters.free_names
    signal, background = both(nominal)
    moves: tuple[list[Modifier], list[Modifier]] = ([Factor(names[0])], [])
    for i, name in enumerate(names[1:], start=1):
        unit = torch.eye(len(names), dtype=torch.float64)[i] * step
        for sample, low, high in zip(
            moves, both(nominal - unit), both(nominal + unit), strict=True
        ):
            sample.append(HistoSys(name, tuple(low.tolist()), tuple(high.tolist())))
    samples = (
        BinnedSample("signal", tuple(signal.tolist()), tuple(moves[0])),
        BinnedSample("background", tuple(background.tolist()), tuple(moves[1])),
    )
    strength = Parameter(names[0], 1.0, prior=Uniform(0.0, 16.0), role="interest")
    others = [Parameter(name, 0.0, prior=Normal(0.0, 1.0)) for name in names[1:]]
    return BinnedLikelihood([BinnedChannel("mass", samples)], ParameterSet([strength, *others]))


PROBLEMS = {"zmumu": zmumu, "ee_jets": ee_jets, "dijet_bump": dijet_bump}


# --- what is measured ----------------------------------------------------------------------


@dataclass(frozen=True)
class Toy:
    """Data sets at one point, in the terms of both likelihoods."""

    sets: DataSets
    binned: DataSets


def toys(problem: Problem, theta: Tensor, seed: int) -> Toy:
    kinds = problem.test(theta, seed)
    auxiliary = problem.likelihood.auxiliary(theta, seed)
    binned = problem.binned.observed(
        torch.stack(
            [
                torch.bincount(problem.merged[row[row >= 0]], minlength=problem.binned.bins)
                for row in kinds
            ]
        )
    )
    normal = [
        i for i, p in enumerate(problem.likelihood.parameters.priors) if isinstance(p, Normal)
    ]
    moved = problem.to_binned(auxiliary)[:, normal]
    return Toy(
        problem.likelihood.encode(kinds, auxiliary), dataclasses.replace(binned, normal=moved)
    )


def construct(problem: Problem, number: int, at_nuisances: bool) -> Neyman:
    statistic = ProfileRatio(problem.likelihood, (problem.interest,), at_nuisances)
    return Neyman.fit(statistic, problem.likelihood.generate, problem.theta(number, 7), seed=3)


def coverage(
    problem: Problem, neyman: Neyman, number: int, widths: int
) -> tuple[list[CoverageMap], dict[str, list[float]], dict[str, list[bool]]]:
    """Maps of both constructions, and the widths of 68 % sets with whether they hold the truth."""
    held: dict[tuple[str, float], list[float]] = {
        (m, level): [] for m in ("neyman", "asymptotic") for level in LEVELS
    }
    width: dict[str, list[float]] = {"neyman": [], "binned": []}
    inside: dict[str, list[bool]] = {"neyman": [], "binned": []}
    column = problem.likelihood.parameters.free_names.index(problem.interest)
    for p, point in enumerate(problem.points):
        data = toys(problem, point.expand(number, -1), 1000 + p)
        truth = point[column].expand(number, 1, 1)
        found = neyman.statistic(data.sets, truth)
        for level in LEVELS:
            critical = neyman.critical(found.conditions, level)
            held["neyman", level].append((found.statistic <= critical).double().mean().item())
            usual = chi2.ppf(level, 1)
            held["asymptotic", level].append((found.statistic <= usual).double().mean().item())
        some = slice(0, widths)
        for (one,) in neyman.intervals(data.sets[some], problem.grid, LEVELS[:1]):
            width["neyman"].append(one.width)
            inside["neyman"].append(one.contains(point[column].item()))
        for parts in binned_pieces(problem, data.binned[some], column):
            width["binned"].append(sum(high - low for low, high in parts))
            inside["binned"].append(any(a <= point[column].item() <= b for a, b in parts))
    names = problem.likelihood.parameters.free_names
    maps = [
        from_fractions(names, problem.points, level, fractions, number, method)
        for (method, level), fractions in held.items()
    ]
    return maps, width, inside


def binned_pieces(
    problem: Problem, sets: DataSets, column: int
) -> list[tuple[tuple[float, float], ...]]:
    theta = torch.zeros(len(problem.grid), len(problem.likelihood.parameters.free)).double()
    theta[:, column] = problem.grid
    values = problem.to_binned(theta)[:, column]
    found = profile(problem.binned, sets, {problem.interest: values})
    root = chi2.ppf(LEVELS[0], 1) ** 0.5
    return [pieces(problem.grid.numpy(), root - row.sqrt().numpy()) for row in found.statistic]


def words(one: CoverageMap) -> str:
    beyond = int((np.abs(one.coverage - one.level) > 0.03).sum())
    k = np.arange(one.toys + 1)
    chance = binom.pmf(k, one.toys, one.level)[np.abs(k / one.toys - one.level) > 0.03].sum()
    return (
        f"{one.method}, {100 * one.level:.2f} %: mean {100 * one.mean:.2f} % "
        f"(asked within 1), worst off by {100 * one.worst:.1f} (asked 3), {beyond} of "
        f"{len(one.coverage)} points beyond 3 where {len(one.coverage) * chance:.1f} are expected "
        f"of binomial fluctuation; rms {100 * np.std(one.coverage - one.level):.2f} of "
        f"{100 * float(np.sqrt(one.level * (1 - one.level) / one.toys)):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--training", type=int, default=0)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--widths", type=int, default=100)
    parser.add_argument(
        "--at-nuisances", action="store_true",
        help="critical values of all parameters, read at the nuisances' conditional best fit",
    )  # fmt: skip
    parser.add_argument("--save", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = ["process,method,level,interest,coverage,error"]
    for name in options.process:
        start = time.process_time()
        problem = PROBLEMS[name](2000 if options.quick else options.training)
        step = -(-20 // (4 if options.quick else options.points))
        problem = dataclasses.replace(problem, points=problem.points[::step])
        print(
            f"{name}: polynomial within {problem.likelihood.residual:.4f} in ln p; "
            f"{time.process_time() - start:.0f} s of CPU", flush=True,
        )  # fmt: skip
        neyman = construct(problem, problem.trained, options.at_nuisances)
        print(f"{name}: {problem.trained} toys; {time.process_time() - start:.0f} s", flush=True)
        number = 200 if options.quick else options.toys
        maps, width, inside = coverage(problem, neyman, number, min(options.widths, number))
        column = maps[0].parameters.index(problem.interest)
        for one in maps:
            print(f"{name}, {words(one)}", flush=True)
            rows += [
                f"{name},{one.method},{one.level},{t:.5g},{c:.4f},{e:.4f}"
                for t, c, e in zip(one.theta[:, column], one.coverage, one.error, strict=True)
            ]
        for method in width:
            print(
                f"{name}, {method}: mean width {np.mean(width[method]):.4g}, coverage "
                f"{100 * np.mean(inside[method]):.1f} % of {len(width[method])}, score "
                f"{interval_score(width[method], inside[method]):.3f}", flush=True,
            )  # fmt: skip
        print(f"{name}: {time.process_time() - start:.0f} s of CPU", flush=True)
    if options.save:
        options.save.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
