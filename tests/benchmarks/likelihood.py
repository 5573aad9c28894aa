"""The likelihood of 10,000 events at 500 parameter points, against sbi's.

    python tests/benchmarks/likelihood.py [--events 10000] [--points 500] [--threads 1]

prints one line a number. Each likelihood runs in a process of its own, which reports its time
and the increase of its peak resident memory; networks are untrained, as that costs the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PARAMETERS = 5


def hepgen_likelihood(theta: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    from hepgen.features import Feature
    from hepgen.inference.nle import NLE
    from hepgen.parameters import Normal, Parameter, ParameterSet

    prior = Normal(0.0, 1.0)
    parameters = ParameterSet([Parameter(f"p{i}", 0.0, prior=prior) for i in range(PARAMETERS)])
    sample = torch.randn(len(theta), 1, generator=torch.Generator().manual_seed(3))
    nle = NLE.fit(sample, theta, features=[Feature("x")], parameters=parameters, epochs=1)
    return nle.log_likelihood


def sbi_likelihood(theta: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    from sbi.neural_nets import likelihood_nn

    sample = torch.randn(len(theta), 1, generator=torch.Generator().manual_seed(3))
    return sbi_potential(likelihood_nn("maf")(theta, sample))


def sbi_with_hepgen_estimator(_: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    from sbi.neural_nets.estimators import ZukoFlow

    from hepgen.nn.mixture import LogisticMixture

    mixture = LogisticMixture(1, PARAMETERS)
    shapes = (torch.Size([1]), torch.Size([PARAMETERS]))
    return sbi_potential(ZukoFlow(mixture, torch.nn.Identity(), *shapes))


def sbi_potential(estimator: Any) -> Callable[[Tensor, Tensor], Tensor]:
    from sbi.inference.potentials import likelihood_estimator_based_potential

    prior = torch.distributions.MultivariateNormal(torch.zeros(PARAMETERS), torch.eye(PARAMETERS))

    def evaluate(x: Tensor, theta: Tensor) -> Tensor:
        potential, _ = likelihood_estimator_based_potential(estimator, prior, x)
        value: Tensor = potential(theta, track_gradients=False)
        return value

    return evaluate


KINDS = {
    "hepgen": hepgen_likelihood,
    "sbi": sbi_likelihood,
    "sbi-with-hepgen-estimator": sbi_with_hepgen_estimator,
}


def megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def measure(kind: str, events: int, points: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(events, 1, generator=generator)
    theta = torch.randn(points, PARAMETERS, generator=generator)
    likelihood = KINDS[kind](theta)
    likelihood(x[:100], theta[:10])
    before = megabytes()
    start = time.perf_counter()
    with torch.no_grad():
        likelihood(x, theta)
    return {"seconds": time.perf_counter() - start, "megabytes": megabytes() - before}


def in_a_process(kind: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable, str(Path(__file__)), "--kind", kind, "--events", str(arguments.events),
        "--points", str(arguments.points), "--threads", str(arguments.threads),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: argparse.Namespace) -> None:
    results = {kind: in_a_process(kind, arguments) for kind in KINDS}
    ours = results.pop("hepgen")
    what = f"{arguments.events} events x {arguments.points} points"
    print(f"{what}, hepgen: asked -, measured {ours['seconds']:.2f} s")
    for kind, other in results.items():
        ratio = ours["seconds"] / other["seconds"]
        print(
            f"{what}, hepgen over {kind}: asked <= 0.2, measured {ratio:.4f} "
            f"({kind}: {other['seconds']:.2f} s, {other['megabytes']:.0f} MB)"
        )
    print(f"{what}, hepgen, peak memory: asked < 500 MB, measured +{ours['megabytes']:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    if chosen.kind is None:
        main(chosen)
    else:
        print(json.dumps(measure(chosen.kind, chosen.events, chosen.points)))
