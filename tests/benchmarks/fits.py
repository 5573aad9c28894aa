"""What fits cost: toys of a small model at once, beside Minuit one by one, and large event sets.

    python tests/benchmarks/fits.py [--toys 1000] [--minuit 20] [--events 100000]

Asked for: 1,000 toys of a small model in seconds. Times are of the processor, one thread.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.rate import Product
from hepgen.inference.sampler import Inverse
from hepgen.inference.statistics.fit import defaults, fit
from hepgen.inference.statistics.limits import upper_limit
from hepgen.inference.statistics.minuit import minuit_fit
from hepgen.inference.statistics.scans import profile_scan
from hepgen.parameters import ParameterSet
from tests.inference.bump import BACKGROUND_DENSITY, MU, SCALE, SIGNAL_DENSITY, SLOPE, scale

T = TypeVar("T")


def timed(what: str, call: Callable[[], T], each: int = 1) -> T:
    """Run it, and print what it cost."""
    begin = time.process_time()
    result = call()
    cost = time.process_time() - begin
    print(f"{what:55s} {cost:8.2f} s {1e3 * cost / each:10.3f} ms each")
    return result


def histograms(bins: int, toys: int, minuit: int) -> None:
    """A peak in bins, each with a factor of its own."""
    background = [100.0 - 2 * i for i in range(bins)]
    signal = [20 * math.exp(-0.5 * ((i - bins / 2) / 2) ** 2) for i in range(bins)]
    model = uncorrelated_background(signal, background, [0.05 * b for b in background], low=-5)
    sets = model.generate(defaults(model.parameters).expand(toys, -1), 1)
    what = f"{bins + 1} parameters, {bins} bins"
    found = timed(f"{what}: {toys} toys", lambda: fit(model, sets), toys)
    others = timed(
        f"{what}: Minuit, {minuit} of them",
        lambda: [minuit_fit(model, sets[s : s + 1]) for s in range(minuit)],
        minuit,
    )
    away = [
        (other.column("mu")[0] - found.column("mu")[s]).abs() / found.error("mu")[s]
        for s, other in enumerate(others)
    ]
    share = found.converged.double().mean()
    print(f"    converged {share:.4f}; largest difference from Minuit {max(away):.1e} σ")


def bump(signal: float, background: float) -> EventLikelihood:
    """A peak on a falling spectrum."""
    samples = (
        Sample("signal", SIGNAL_DENSITY, Product(signal, "mu"), Inverse(SIGNAL_DENSITY, 0.0, 1.0)),
        Sample(
            "background", BACKGROUND_DENSITY, Product(background, scale),
            Inverse(BACKGROUND_DENSITY, 0.0, 1.0),
        ),
    )  # fmt: skip
    return EventLikelihood(ParameterSet([MU, SLOPE, SCALE]), [Channel("all", samples)])


def events(signal: float, background: float, toys: int) -> None:
    """Toys of event sets, and statements on one of them."""
    model = bump(signal, background)
    theta = defaults(model.parameters).expand(toys, -1)
    what = f"bump of {signal + background:.0f} events"
    sets = timed(f"{what}: {toys} toys drawn", lambda: model.generate(theta, 1), toys)
    found = timed(f"{what}: {toys} toys fitted", lambda: fit(model, sets), toys)
    print(f"    converged {found.converged.double().mean():.4f}")
    data = sets[torch.tensor([0])]
    timed(f"{what}: scan of 21 points with intervals", lambda: (
        profile_scan(model, data, "mu", points=21)))  # fmt: skip
    timed(f"{what}: CLs limit with bands", lambda: upper_limit(model, data, "mu", points=11))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--minuit", type=int, default=20)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for bins in (2, 10, 30):
        histograms(bins, options.toys, options.minuit)
    events(30.0, 400.0, options.toys)
    events(3 * math.sqrt(options.events), float(options.events), 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
