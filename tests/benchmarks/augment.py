"""The laws of the augmented data, for every process and every parameter that has a score.

    python tests/benchmarks/augment.py [--events 1000000] [--seed 2026] [PROCESS …]

Over all generated events E[joint score] = 0 and E[joint ratio] = 1; asked: within 3 standard
errors each. With n laws, 0.0027·n are expected to miss that by chance. The points are those of
the contract tests: θ away from every edge, and a second value of each parameter nearby.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hepgen.simulators.augment import joint_log_ratio, joint_score, scored
from hepgen.simulators.processes.registry import PROCESSES
from tests.contracts.case import Case
from tests.contracts.test_stages import CASES

SEED = 2026


@dataclass
class Mean:
    """A running mean and its standard error."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        self.n += values.numel()
        self.total += float(values.sum())
        self.squares += float(values.square().sum())

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def error(self) -> float:
        return math.sqrt((self.squares / self.n - self.mean**2) / self.n)


@dataclass
class Laws:
    """The means of score and ratio of one chain, by parameter."""

    score: dict[str, Mean] = field(default_factory=dict)
    ratio: dict[str, Mean] = field(default_factory=dict)


def measure(case: Case, events: int, block_size: int, seed: int) -> Laws:
    laws = Laws()
    at = case.chain.parameters.values(None, **case.point)
    for block in range(math.ceil(events / block_size)):
        trace = case.chain.simulate(at, block_size, seed, block)
        # No event depends on a parameter of the rate alone: its score is zero, always.
        for name in set(scored(case.chain)) - set(case.rate_only):
            score = joint_score(case.chain, trace, at, name)
            laws.score.setdefault(name, Mean()).add(score)
            other = {**at, name: torch.tensor(case.moved[name], dtype=torch.float64)}
            ratio = joint_log_ratio(case.chain, trace, other, at).exp()
            laws.ratio.setdefault(name, Mean()).add(ratio)
    return laws


def report(process: str, laws: Laws) -> list[float]:
    """Print each law; the distances in standard errors."""
    found = []
    for what, means, expected in (("score", laws.score, 0.0), ("ratio", laws.ratio, 1.0)):
        for name, law in sorted(means.items()):
            pull = (law.mean - expected) / law.error
            found.append(pull)
            print(f"{process} {name}: E[joint {what}] asked {expected:g}, measured "
                  f"{law.mean:.5g} ± {law.error:.2g} ({pull:+.1f} standard errors, "
                  f"{law.n} events)", flush=True)  # fmt: skip
    return found


def main(events: int, processes: list[str], seed: int = SEED) -> None:
    pulls: list[float] = []
    for name in processes or sorted(PROCESSES):
        start = time.perf_counter()
        case = CASES[name]
        block_size = min(50_000, max(case.events // 2, 8000))
        found = report(name, measure(case, events, block_size, seed))
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        pulls += found
    beyond = sum(abs(pull) > 3 for pull in pulls)
    print(f"laws beyond 3 standard errors: {beyond} of {len(pulls)}, "
          f"expected by chance {0.0027 * len(pulls):.1f}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processes", nargs="*")
    parser.add_argument("--events", type=float, default=1e6)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    main(int(arguments.events), arguments.processes, arguments.seed)
