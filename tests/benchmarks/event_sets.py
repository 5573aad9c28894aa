"""Large event sets: how far a learned likelihood is off, against the number of events.

    python tests/benchmarks/event_sets.py [--train 2000000 10000000] [--members 1] [--sizes 100 …]
        [--sets 4] [--simulate 10] [--folder FOLDER] [--model FOLDER] [--plot FILE]
        [--skip zmumu]

`ee_mumu` (sin²θ_W at 89 GeV, from cos θ): mean and width of the posterior of NLE with its default
options, of --train generated events, beside those of the exact likelihood, for data sets of 10² to
10⁶ events at as many true values as there are sets. Then the same likelihood with its score
corrected at each set's best fit, by --simulate fresh events for each event of the data. Asked is a
bias below 0.2 σ at 10⁵ events. --members averages that many trainings in density.

`zmumu` (m_Z and four nuisance parameters, with the model of the workflow's run folder, trained
first where it is missing, or the NLE in --model): time and memory of the posterior from 10⁵
events. Asked are 60 s and 2 GB. --folder keeps the models of `ee_mumu`.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import EventSets, SetLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.nle import NLE
from hepgen.inference.score_correction import MeanScore, ScoreCorrected
from hepgen.parameters import ParameterSet, Uniform
from hepgen.pipeline.progress import monitor
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process

NAME, COLUMN, PRIOR = "sin2_theta_w", "Dimuon_cos_theta", (0.18, 0.25)
TRUTHS = (0.19, 0.24)
WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
SEED = 1000


class Average:
    """The mean of the densities of several likelihoods, event by event."""

    def __init__(self, members: Sequence[NLE]) -> None:
        self.members, self.parameters = members, members[0].parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return ExactLikelihood.encode(self, x, weight)  # type: ignore[arg-type]

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        rows = max(1, 2**15 // theta.shape[1])
        parts = []
        for events, weight, at in zip(sets.events, sets.weight, theta, strict=True):
            total = at.new_zeros(len(at))
            for x, w in zip(torch.split(events, rows), torch.split(weight, rows), strict=True):
                each = torch.stack([one.log_prob(x, at) for one in self.members])
                total = total + w @ (each.logsumexp(0) - np.log(len(self.members)))
            parts.append(total)
        return torch.stack(parts)


def simulated(chain: Chain, parameters: ParameterSet, events: int, seed: int) -> tuple[Tensor, ...]:
    campaign = Campaign(chain, parameters, events, seed, columns=(COLUMN,))
    blocks = [campaign.simulate(number).events for number in range(campaign.blocks)]
    x = np.concatenate([block.flat((COLUMN,)) for block in blocks])
    theta = np.concatenate([block.theta(parameters.free_names) for block in blocks])
    return torch.from_numpy(x), torch.from_numpy(theta)


def model(
    chain: Chain, parameters: ParameterSet, events: int, member: int, folder: Path | None
) -> NLE:
    """A training with the default options, or that of an earlier run."""
    place = folder / f"nle-{events}-{member}" if folder else None
    if place is not None and (place / "model.json").exists():
        return NLE.load(place)
    x, theta = simulated(chain, parameters, events, 1 + member)
    feature = Feature(COLUMN, low=-0.95, high=0.95)
    started = time.process_time()
    nle = NLE.fit(x, theta, features=[feature], parameters=parameters, seed=member)
    print(
        f"NLE of {len(x)} selected events, member {member}: {len(nle.curve.train)} epochs, "
        f"{time.process_time() - started:.0f} CPU s",
        flush=True,
    )
    if place is not None:
        nle.save(place)
    return nle


def data(chain: Chain, size: int, truth: float, seed: int) -> Tensor:
    values = chain.parameters.values(None, **{NAME: truth})
    state = chain.simulate(values, int(1.3 * size) + 200, seed=seed).state
    return state[COLUMN][state["selected"]][:size, None]


def ee_mumu(arguments: argparse.Namespace) -> list[tuple[str, int, float, float, float]]:
    chain = process("ee_mumu", energies=[89.0])
    prior = Uniform(*PRIOR)
    parameters = ParameterSet(
        [dataclasses.replace(p, prior=prior if p.name == NAME else None) for p in chain.parameters]
    )
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), parameters)
    rows = []
    for events in arguments.train:
        members = [
            model(chain, parameters, events, m, arguments.folder) for m in range(arguments.members)
        ]
        learned = members[0] if len(members) == 1 else Average(members)
        words = f"NLE of {events:.0e} events" + (f" × {len(members)}" if members[1:] else "")
        for size in arguments.sizes:
            rows += compare(chain, learned, exact, words, size, arguments)
    return rows


def compare(
    chain: Chain,
    learned: SetLikelihood,
    exact: ExactLikelihood,
    words: str,
    size: int,
    arguments: argparse.Namespace,
) -> list[tuple[str, int, float, float, float]]:
    found: dict[str, list[tuple[float, float]]] = {words: [], f"{words}, score corrected": []}
    for number, truth in enumerate(np.linspace(*TRUTHS, arguments.sets)):
        x = data(chain, size, float(truth), SEED + number)
        mode = LikelihoodPosterior(learned).mode(x)
        fresh = max(200_000, int(arguments.simulate * size))
        score = MeanScore.simulate(learned, chain, (COLUMN,), mode, fresh, seed=7000 + number)
        for name, one in zip(found, (learned, ScoreCorrected(learned, score)), strict=True):
            (result,) = closure(one, exact, [x], name="exact")
            found[name].append((float(result.shifts[0]), float(result.widths[0])))
    rows = []
    for name, values in found.items():
        shifts, widths = np.array(values).T
        rows.append((name, size, float(np.sqrt(np.mean(shifts**2))), float(shifts.mean()),
                     float(widths.mean())))  # fmt: skip
        asked = ", asked < 0.2" if size == 100_000 else ""
        print(
            f"{name}, {len(shifts)} sets of {size:.0e}: off by {rows[-1][2]:.3f} σ (rms{asked}), "
            f"mean {rows[-1][3]:+.3f} σ, largest {np.abs(shifts).max():.3f} σ; width over exact "
            f"{widths.mean():.3f} ({widths.min():.3f} to {widths.max():.3f})",
            flush=True,
        )
    return rows


def zmumu(folder: Path | None, size: int = 100_000) -> None:
    session = Session.open(WORKFLOW, monitor=monitor())
    nle = NLE.load(folder) if folder else trained(session, "nle")
    assert isinstance(nle, NLE)
    values = session.chain.parameters.values()
    truth = torch.stack([values[name] for name in session.parameters.free_names])
    campaign = Campaign(
        session.chain, session.parameters, 20 * size, 77, theta=truth[None].numpy(),
        columns=session.feature_names, points=32_768,
    )  # fmt: skip
    blocks: list[NDArray[np.float64]] = []
    have = 0
    while have < size:
        blocks.append(campaign.simulate(len(blocks)).events.flat(session.feature_names))
        have += len(blocks[-1])
    x = torch.from_numpy(np.concatenate(blocks)[:size])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started, cpu = time.monotonic(), time.process_time()
    posterior = LikelihoodPosterior(nle)
    sample = posterior.draw(1400, x, seed=1)
    m_z = sample.column("m_z")
    print(
        f"zmumu, m_Z from {size} events by importance sampling: asked ≤ 60 s, measured "
        f"{time.monotonic() - started:.1f} s ({time.process_time() - cpu:.1f} CPU s); "
        f"{m_z.mean():.4f} ± {m_z.std():.4f} GeV, truth {values['m_z']:.4f}, "
        f"{min(sample.effective_samples):.0f} effective draws of 1400",
        flush=True,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"zmumu, largest resident set: asked < 2 GB, measured {peak:.2f} ({before:.2f} before)",
        flush=True,
    )
    score = MeanScore.simulate(
        nle, session.chain, session.feature_names, posterior.mode(x), 8_000_000, seed=78
    )
    corrected = LikelihoodPosterior(ScoreCorrected(nle, score)).draw(1400, x, seed=1).column("m_z")
    off = (m_z.mean() - corrected.mean()) / corrected.std()
    print(
        f"zmumu, score corrected: {corrected.mean():.4f} ± {corrected.std():.4f} GeV; without the "
        f"correction off by {off:+.2f} σ, asked < 0.2"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=lambda s: int(float(s)), nargs="+",
                        default=[2_000_000, 10_000_000])  # fmt: skip
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--sizes", type=lambda s: int(float(s)), nargs="+",
                        default=[10**k for k in range(2, 7)])  # fmt: skip
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--simulate", type=float, default=10)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--skip", nargs="*", default=[])
    arguments = parser.parse_args()
    if "zmumu" not in arguments.skip:
        zmumu(arguments.model)
    rows = [] if "ee_mumu" in arguments.skip else ee_mumu(arguments)
    if rows and arguments.plot:
        from hepgen.plots import plot_bias, png

        arguments.plot.write_bytes(png(plot_bias({
            name: [(size, rms) for n, size, rms, *_ in rows if n == name]
            for name in dict.fromkeys(row[0] for row in rows)
        })))  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
