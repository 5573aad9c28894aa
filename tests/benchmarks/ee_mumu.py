"""e⁺e⁻ → μ⁺μ⁻: anchors, Fisher information, and a trained likelihood beside the exact one.

    python tests/benchmarks/ee_mumu.py [--events 2000000] [--epochs 4] [--sets 10]

prints one line a number: what was asked for, and what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.nle import NLE
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.augment import fisher_information, joint_score
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.distributions import HelicityAngle
from hepgen.simulators.ee_mumu import ElectronPositron
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process

ANCHORS = {
    60.0: (29.58, -0.374), 89.0: (487.8, -0.188), 91.1876: (2011.3, 0.0167),
    93.0: (672.0, 0.176), 120.0: (11.81, 0.736),
}  # fmt: skip
INFORMATION = {91.1876: 3.53, 89.0: 7.68, 93.0: 1.34}
NAME = "sin2_theta_w"
#: Beyond 0.25 the vector coupling changes sign, and the angle has a second solution there.
PRIOR = (0.18, 0.25)


def anchors() -> None:
    for energy, (sigma, asymmetry) in ANCHORS.items():
        beams = ElectronPositron((energy,), (1.0,))
        theta = Chain([beams]).parameters.values()
        found = beams.cross_section(theta).item()
        print(f"σ at {energy} GeV: asked {sigma} pb, measured {found:.5g} pb")
        backward = 0.75 * (2 * beams.like(theta).item() - 1)
        print(f"A_FB at {energy} GeV: asked {asymmetry}, measured {backward:.4f}")


def information() -> None:
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(40))
    for energy, asked in INFORMATION.items():
        beams = ElectronPositron((energy,), (1.0,))
        chain = Chain([beams])
        theta = chain.parameters.values()
        at, one = theta[NAME], torch.ones((), dtype=torch.float64)

        def shape(value: Tensor, beams: ElectronPositron = beams) -> Tensor:
            like = beams.like({**Chain([beams]).parameters.values(), NAME: value})
            return HelicityAngle(like).log_prob(nodes)

        both: Any = torch.func.jvp(shape, (at,), (one,))
        log_p, score = both
        exact = (weights * log_p.exp() * score.square()).sum().item()
        trace = chain.simulate(theta, 1_000_000, seed=1)
        joint = joint_score(chain, trace, theta, NAME)[0].numpy()
        found = fisher_information({NAME: joint})
        print(
            f"information of the shape on sin²θ_W at {energy} GeV: asked {asked}, measured "
            f"{exact:.4f} by quadrature, {found.matrix[0, 0]:.4f} ± {found.error[0, 0]:.4f} from "
            "the joint score of 1,000,000 events"
        )
        slope = torch.func.jvp(
            lambda v, beams=beams, theta=theta: beams.cross_section({**theta, NAME: v}).log(),
            (at,), (one,),
        )[1].item()  # fmt: skip
        asked_rate = "51.9" if energy == 91.1876 else "nothing"
        print(
            f"information of the rate at {energy} GeV: asked {asked_rate}, measured {slope**2:.2f}"
        )


def moments(likelihood: NLE | ExactLikelihood, x: Tensor) -> tuple[float, float]:
    """Posterior mean and width, on a grid over the whole prior."""
    line = torch.linspace(*PRIOR, 201, dtype=torch.float64)
    with torch.no_grad():
        mass = torch.softmax(likelihood.log_likelihood(x, line[:, None]), dim=0)
    mean = (mass * line).sum()
    return mean.item(), (mass * (line - mean).square()).sum().sqrt().item()


def trained(events: int, epochs: int, sets: int) -> None:
    chain = process("ee_mumu", energies=[89.0])
    prior = Uniform(*PRIOR)
    parameters = ParameterSet(
        [dataclasses.replace(p, prior=prior if p.name == NAME else None) for p in chain.parameters]
    )
    campaign = Campaign(chain, parameters, events, seed=1, columns=("Dimuon_cos_theta",))
    blocks = [campaign.simulate(number).events for number in range(campaign.blocks)]
    x = torch.from_numpy(np.concatenate([b.flat(("Dimuon_cos_theta",)) for b in blocks]))
    theta = torch.from_numpy(np.concatenate([b.theta(parameters.free_names) for b in blocks]))
    feature = Feature("Dimuon_cos_theta", low=-0.95, high=0.95)
    nle = NLE.fit(x, theta, features=[feature], parameters=parameters, epochs=epochs)
    print(f"NLE: {len(x)} selected events, {epochs} epochs, {nle.curve.seconds:.0f} s of training")
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), parameters)
    for size in (1000, 10_000):
        compare(chain, nle, exact, size, sets)


def compare(chain: Chain, nle: NLE, exact: ExactLikelihood, size: int, sets: int) -> None:
    shifts, widths = [], []
    for number in range(sets):
        values = chain.parameters.values()
        state = chain.simulate(values, 2 * size, seed=1000 + number).state
        x = state["Dimuon_cos_theta"][state["selected"]][:size, None]
        (mean, width), (truth, exact_width) = moments(nle, x), moments(exact, x)
        shifts.append((mean - truth) / exact_width)
        widths.append(width / exact_width)
    print(
        f"{sets} sets of {size} events, (NLE mean − exact mean)/exact width: asked 0, measured "
        f"mean {np.mean(shifts):+.3f}, largest {np.max(np.abs(shifts)):.3f}"
    )
    print(
        f"{sets} sets of {size} events, NLE width/exact width: asked 1, measured mean "
        f"{np.mean(widths):.3f}, from {np.min(widths):.3f} to {np.max(widths):.3f}"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--sets", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    anchors()
    information()
    trained(arguments.events, arguments.epochs, arguments.sets)
