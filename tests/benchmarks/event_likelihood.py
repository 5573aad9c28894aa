"""Time and peak memory of log L of event sets, its gradient and its curvature.

    python tests/benchmarks/event_likelihood.py --events 1e4 1e5 1e6

For each density: a peak of closed form on a background with a slope, and an NLE that was trained
for a moment. Memory is the growth of the largest resident set beyond the data themselves, each
measured in a process of its own; asked for is that it does not grow with the number of events.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

from hepgen.features import Feature
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.laplace import derivatives
from hepgen.inference.nle import NLE
from hepgen.inference.rate import Product
from hepgen.parameters import ParameterSet
from tests.inference.bump import BACKGROUND_DENSITY, MU, SLOPE, bump


def learned() -> EventLikelihood:
    """NLE of the falling spectrum, beside the closed form of the peak."""
    slopes = torch.linspace(0.5, 3, 20_000, dtype=torch.float64)
    u = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = -torch.log1p(-u * (1 - torch.exp(-slopes))) / slopes
    nle = NLE.fit(
        x.clamp(1e-9, 1 - 1e-9)[:, None], slopes[:, None],
        features=[Feature("x", low=0.0, high=1.0)],
        parameters=ParameterSet([SLOPE]), epochs=1,
    )  # fmt: skip
    signal, _ = bump().channels[0].samples
    background = Sample("background", nle, Product(400.0))
    return EventLikelihood(ParameterSet([MU, SLOPE]), [Channel("all", (signal, background))])


def measure(kind: str, events: int) -> None:
    """One line: seconds of processor for log L, and with derivatives; MB."""
    model = bump() if kind == "closed" else learned()
    assert BACKGROUND_DENSITY.columns == ("x",)
    generator = torch.Generator().manual_seed(1)
    data = model.data({"all": torch.rand(events, 1, generator=generator).clamp(1e-6, 1 - 1e-6)})
    theta = torch.tensor([p.default for p in model.parameters.free]).double()
    before, start = _resident(), time.process_time()
    with torch.no_grad():
        model.log_likelihoods(data, theta[None, None])
    middle = time.process_time()
    derivatives(lambda t: model.log_likelihoods(data, t), theta[None])
    end = time.process_time()
    print(
        f"{kind:>8} {events:>9} {middle - start:>9.3f} s {end - middle:>9.3f} s "
        f"{_resident() - before:>8.0f} MB",
        flush=True,
    )


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--events", nargs="+", default=["1e4", "1e5", "1e6"])
    parser.add_argument("--kind", choices=["closed", "nle"])
    arguments = parser.parse_args()
    sizes = [int(float(size)) for size in arguments.events]
    if arguments.kind:
        for size in sizes:
            measure(arguments.kind, size)
        return
    print(f"{'density':>8} {'events':>9} {'log L':>11} {'∂, ∂²':>11} {'memory':>11}", flush=True)
    for kind in ("closed", "nle"):
        for size in sizes:
            command = [sys.executable, __file__, "--kind", kind, "--events", str(size)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
