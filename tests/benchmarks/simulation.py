"""Events per second and core: the four stages beside Pythia 8, in one run.

    python tests/benchmarks/simulation.py

One process and one thread at a time, processor time of each. Both make pp → γ*/Z → μμ at
7 TeV at leading order with initial- and final-state radiation. Pythia (no multiple
interactions, no hadrons) is timed in its own event loop, ``next()`` and nothing else, so
neither reading its events nor a detector counts against it; the chain is timed with detector
and reconstruction. Asked: a ratio of at least 50.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

ASKED = 50.0
BLOCK = 32_768
ROUNDS = 3


def chain_rate(blocks: int = 20) -> float:
    """Events per processor second of the chain, all stages, at one parameter point."""
    import torch

    from hepgen.simulators.processes.registry import process

    torch.set_num_threads(1)
    chain = process("zmumu")
    values = chain.parameters.values()
    chain.simulate(values, BLOCK, seed=1, block=0)
    start = time.process_time()
    for block in range(1, blocks + 1):
        chain.simulate(values, BLOCK, seed=1, block=block)
    return blocks * BLOCK / (time.process_time() - start)


def pythia_rate(events: int = 15_000) -> float:
    """Events per processor second of Pythia, after its initialisation."""
    from hepgen.simulators.pythia import PythiaDimuons

    theory = {"m_z": 91.1876, "sin2_theta_w": 0.2312}
    pythia = PythiaDimuons().generator(theory, seed=1).pythia
    for _ in range(200):
        pythia.next()
    start = time.process_time()
    made = sum(bool(pythia.next()) for _ in range(events))
    return made / (time.process_time() - start)


def alone(function: Callable[[], float]) -> float:
    """The result of ``function`` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function)


def main() -> None:
    """Alternate the two, print the rates of each round and the median ratio."""
    ratios = []
    for number in range(ROUNDS):
        chain, pythia = alone(chain_rate), alone(pythia_rate)
        ratios.append(chain / pythia)
        rates = f"chain {chain:9.0f}/s   Pythia {pythia:7.0f}/s   ratio {ratios[-1]:.0f}"
        print(f"round {number + 1}: {rates}")
    median = sorted(ratios)[ROUNDS // 2]
    verdict = "reached" if median >= ASKED else "NOT reached"
    print(
        f"events per second and core, chain / Pythia: {median:.0f}, asked ≥ {ASKED:.0f}: {verdict}"
    )


if __name__ == "__main__":
    main()
