"""Processor time of each stage of detector and reconstruction, 10⁴ events of 40 particles.

Run as ``python tests/benchmarks/detector.py``.
"""

from __future__ import annotations

import resource
import time

import torch

from hepgen.simulators.chain import Chain
from hepgen.simulators.stage import State
from tests.contracts.detector import HADRON_COLLIDER, LEPTON_COLLIDER
from tests.simulators.gun import MIXTURE, Sprayer

EVENTS, REPEATS = 10_000, 5


def main() -> None:
    """Print the mean time of each stage, and the peak memory."""
    gun = Sprayer(4 * MIXTURE, width=0.4)
    for kind, stages in (("jets", HADRON_COLLIDER), ("event shapes", LEPTON_COLLIDER)):
        chain = Chain([gun, *stages])
        values = chain.parameters.values(None, gun_scale=5.0)
        columns = chain.simulate(values, EVENTS, seed=1).state
        for stage in stages:
            state: State = {c: columns[c] for c in stage.requires}
            began = time.process_time()
            for seed in range(REPEATS):
                torch.manual_seed(seed)
                stage(dict(state), values)
            each = (time.process_time() - began) / REPEATS
            print(f"{kind}, {stage.name}: measured {each:.3f} s of CPU for {EVENTS} events")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: measured {peak:.0f} MB")


if __name__ == "__main__":
    main()
