"""The chain of dijets against its spectrum without Monte Carlo, to ten million events.

    python tests/benchmarks/dijet.py [--events 10000000]

For an excess, none and a deficit: χ² of 48 bins in mass and of what is not selected. Asked: p
above 10⁻³. Then the work: the quadrature's processor time over that of the events that the chain
would need for an error of 10⁻³ in the median bin, extrapolated.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hepgen.simulators.dijet_spectrum import DijetSpectrum
from hepgen.simulators.processes.registry import process

CHAIN = process("dijet_bump")
SPECTRUM = DijetSpectrum.of(CHAIN)
EDGES = torch.linspace(1200**0.5, 4500**0.5, 49, dtype=torch.float64).square()
BLOCK = 200_000
ASKED = 1e-3


def counts(given: dict[str, Any], blocks: int, seed: int) -> NDArray[np.float64]:
    """Selected events in bins."""
    total = np.zeros(len(EDGES) - 1)
    for block in range(blocks):
        state = CHAIN.simulate(given, BLOCK, seed, block).state
        total += np.histogram(state["Dijet_mass"][state["selected"]].numpy(), EDGES.numpy())[0]
    return total


def main(events: int) -> None:
    """Print the p-values, and what they cost."""
    torch.set_num_threads(1)
    blocks = max(1, events // BLOCK)
    n = blocks * BLOCK
    for seed, strength in enumerate((4.0, 0.0, -1.0), start=101):
        given = CHAIN.parameters.values(signal_strength=strength)
        start = time.process_time()
        shares = (SPECTRUM(given, EDGES) / SPECTRUM.parton.cross_section(given)).numpy()
        middle = time.process_time()
        found = counts(given, blocks, seed)
        simulated = time.process_time() - middle
        expected = np.append(n * shares, n * (1 - shares.sum()))
        p = stats.chisquare(np.append(found, n - found.sum()), expected).pvalue
        verdict = "reached" if p > ASKED else "NOT reached"
        print(
            f"{n} events at μ = {strength:g}, p of χ²: asked > {ASKED}, measured {p:.3f}, {verdict}"
        )
        needed = simulated / n * 1e6 / float(np.median(shares))
        print(
            f"median bin to 10⁻³, quadrature over chain: asked -, measured "
            f"{(middle - start) / needed:.1e} ({middle - start:.2f} s, {needed:.0f} s)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    main(parser.parse_args().events)
