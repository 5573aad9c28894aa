"""Hadrons in e⁺e⁻: events per second beside Pythia 8, and the numbers the chain must give.

Then the full chain, to jets and event shapes: its rate, and one sample at another coupling.

    python tests/benchmarks/ee_jets.py [--seed 7]

One process and one thread at a time, processor time of each. Pythia is timed in its own event
loop, ``next()`` and nothing else; the chain makes all columns, and the latents of its density.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from typing import Any

ASKED = 20.0
BLOCK = 16_384
ROUNDS = 3
SETTINGS = (
    "Print:quiet = on", "Beams:idA = -11", "Beams:idB = 11", "Beams:eCM = 91.1876",
    "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 1 2 3 4 5",
    "PDF:lepton = off", "310:mayDecay = on", "Random:setSeed = on", "Random:seed = 1",
)  # fmt: skip


def chain_rate(blocks: int = 24) -> float:
    """Events per processor second of the chain, all stages, at one parameter point."""
    import torch

    from hepgen.simulators.processes.registry import process

    torch.set_num_threads(1)
    chain = process("ee_jets", detector=False)
    values = chain.parameters.values()
    chain.simulate(values, BLOCK, seed=1)
    start = time.process_time()
    for block in range(1, blocks + 1):
        chain.simulate(values, BLOCK, seed=1, block=block)
    return blocks * BLOCK / (time.process_time() - start)


def shower_rate(blocks: int = 6) -> float:
    """The same, up to partons."""
    import torch

    from hepgen.simulators.chain import Chain
    from hepgen.simulators.processes.registry import process

    torch.set_num_threads(1)
    chain = Chain(process("ee_jets", detector=False).stages[:2])
    values = chain.parameters.values()
    chain.simulate(values, BLOCK, seed=1)
    start = time.process_time()
    for block in range(1, blocks + 1):
        chain.simulate(values, BLOCK, seed=1, block=block)
    return blocks * BLOCK / (time.process_time() - start)


def pythia_rate(events: int = 15_000) -> float:
    """Events per processor second of Pythia, after its initialisation."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for setting in SETTINGS:
        pythia.readString(setting)
    pythia.init()
    for _ in range(200):
        pythia.next()
    start = time.process_time()
    made = sum(bool(pythia.next()) for _ in range(events))
    return made / (time.process_time() - start)


def sudakov(events: int = 1_000_000) -> dict[float, float]:
    """Σ(ρ) of one quark leg at fixed α_s = 0.118, from the clock and the veto of the shower."""
    import torch

    from hepgen.simulators.coupling import FixedCoupling

    torch.manual_seed(1)
    clock, rate, floor = FixedCoupling(0.2), 4 / 3 / math.pi, math.log(1e-4)
    t = torch.zeros(events, dtype=torch.float64)
    heaviest, alive = torch.full_like(t, -1e9), torch.arange(events)
    while len(alive):
        area = -torch.rand(len(alive), dtype=torch.float64).log() / rate
        t[alive] = clock.next_scale(t[alive], torch.full_like(area, -floor), 0 * area, area)
        alive = alive[t[alive] > floor]
        log_x = floor * torch.rand(len(alive), dtype=torch.float64)
        chance = clock.ratio(torch.tensor(0.118), t[alive]) * (1 + (1 - log_x.exp()) ** 2) / 2
        kept = torch.rand(len(alive)) < chance
        rho = torch.where(kept, log_x + t[alive], -1e9)
        heaviest[alive] = torch.maximum(heaviest[alive], rho)
    return {r: (heaviest < math.log(r)).double().mean().item() for r in (1e-1, 1e-2, 1e-3, 1e-4)}


def detector_rate(events: int = 8_192, blocks: int = 2) -> tuple[float, float]:
    """Events per processor second of the full chain, and the peak memory, MB."""
    import resource

    import torch

    from hepgen.simulators.processes.registry import process

    torch.set_num_threads(1)
    chain = process("ee_jets")
    values = chain.parameters.values()
    chain.simulate(values, 100, seed=1)
    start = time.process_time()
    for block in range(blocks):
        chain.simulate(values, events, seed=1, block=block)
    rate = blocks * events / (time.process_time() - start)
    return rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reweighted(seed: int, blocks: int = 15) -> dict[str, str]:
    """Selected events of the full chain at one coupling, weighted to another, beside its own."""
    import numpy as np
    import torch
    from scipy import stats

    from hepgen.simulators.augment import joint_log_ratio
    from hepgen.simulators.processes.registry import process

    torch.set_num_threads(1)
    chain = process("ee_jets")
    here, there = (chain.parameters.values(None, alpha_s=a) for a in (0.118, 0.130))
    binning = {
        "Thrust": np.array([0.5, 0.7, 0.75, 0.8, 0.84, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0]),
        "nTrack": np.array([4.5, *np.arange(7.5, 25, 1), 28.5, 60.5]),
        "Durham_y23": 10.0 ** np.array([-9, -3.5, -3, -2.5, -2, -1.75, -1.5, -1.25, -1, -0.4]),
    }
    sums = {name: np.zeros((4, len(edges) - 1)) for name, edges in binning.items()}
    for block in range(blocks):
        own = chain.simulate(here, BLOCK // 2, seed=seed, block=block)
        other = chain.simulate(there, BLOCK // 2, seed=seed + 1, block=block).state
        chosen, kept = own.state["selected"], other["selected"]
        weight = joint_log_ratio(chain, own, there, here).exp()[chosen].numpy()
        for name, edges in binning.items():
            x, y = own.state[name][chosen].numpy(), other[name][kept].numpy()
            for row, (column, w) in enumerate(((x, weight), (x, weight**2), (y, None), (x, None))):
                sums[name][row] += np.histogram(column, edges, weights=w)[0]
    found = {}
    for name, (moved, square, direct, plain) in sums.items():
        chi2 = ((moved - direct) ** 2 / (square + direct)).sum()
        before = ((plain - direct) ** 2 / (plain + direct)).sum()
        p = stats.chi2.sf(chi2, len(direct))
        found[name] = f"χ² = {chi2:.1f} in {len(direct)} bins, p = {p:.3f}; unweighted {before:.0f}"
    return found


def event_numbers(events: int = 20_000) -> dict[str, float]:
    """Multiplicity, and how well energy and momentum are conserved."""
    import torch

    from hepgen.simulators.processes.registry import process

    chain = process("ee_jets", detector=False)
    state = chain.simulate(chain.parameters.values(), events, seed=2).state
    total = torch.stack([state[f"Particle_{c}"].sum(-1) for c in ("e", "px", "py", "pz")])
    total[0] -= 91.1876
    return {
        "charged": state["nCharged"].double().mean().item(),
        "worst": (total.abs().max() / 91.1876).item(),
        "partons": state["nParton"].double().mean().item(),
    }


def alone(function: Callable[[], Any]) -> Any:
    """The result of ``function`` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function)


def main() -> None:
    """Alternate the two, print the rates of each round and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the samples that are reweighted")
    seed = parser.parse_args().seed
    ratios = []
    for number in range(ROUNDS):
        chain, shower, pythia = (alone(f) for f in (chain_rate, shower_rate, pythia_rate))
        ratios.append(chain / pythia)
        rates = f"hadrons {chain:7.0f}/s   partons {shower:7.0f}/s   Pythia {pythia:6.0f}/s"
        print(f"round {number + 1}: {rates}   ratio {ratios[-1]:.1f}")
    median = sorted(ratios)[ROUNDS // 2]
    verdict = "reached" if median >= ASKED else "NOT reached"
    print(f"events per second and core, chain / Pythia: asked {ASKED:.0f}, measured {median:.1f}")
    print(f"  {verdict}")
    anchors = {1e-1: 0.918, 1e-2: 0.669, 1e-3: 0.376, 1e-4: 0.162}
    for rho, found in alone(sudakov).items():
        error = math.sqrt(found * (1 - found) / 1e6)
        print(f"Σ({rho:g}): asked {anchors[rho]}, measured {found:.4f} ± {error:.4f}")
    numbers = alone(event_numbers)
    print(f"⟨n_ch⟩: asked 20.8 ± 15 %, measured {numbers['charged']:.2f}")
    print(f"⟨partons⟩: {numbers['partons']:.2f}")
    print(f"largest |Δp|/√s: asked 1e-5, measured {numbers['worst']:.1e}")
    rate, memory = alone(detector_rate)
    print(f"full chain: {rate:.0f}/s; memory with blocks of 8192: asked 1000 MB, {memory:.0f} MB")
    for name, what in alone(partial(reweighted, seed)).items():
        print(f"{name}, α_s 0.118 → 0.130, selected: asked p > 0.01, measured {what}")


if __name__ == "__main__":
    main()
