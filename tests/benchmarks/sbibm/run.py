"""The suite of simulation-based inference, with one configuration for all tasks: its defaults.

    pip download --no-deps sbibm==1.1.0 -d runs/sbibm
    python tests/benchmarks/sbibm/run.py --wheel runs/sbibm --folder runs/sbibm

Each task has 10,000 simulations at θ from its prior. ``hepgen`` is
``PooledPosterior.fit(x, theta, features=…, parameters=…)`` and ``sbi`` is ``NPE(prior)`` with
``train()``, on the same simulations; each is trained once a task, with no other setting, and gives
10,000 draws for each of the suite's observations. The folder keeps draws and results, and a run
that was interrupted goes on from there: first all draws, then the classifiers, one observation of
every task after the other.

Seconds are of the wall, and of the processor: a training, and a mean set of draws.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from hepgen.inference.pooled import PooledPosterior
from hepgen.parameters import Normal, Uniform
from tests.benchmarks.sbibm.c2st import c2st
from tests.benchmarks.sbibm.tasks import OBSERVATIONS, TASKS, Task, Wheel

ASKED = {
    "two_moons": 0.53, "gaussian_mixture": 0.54, "gaussian_linear": 0.53,
    "gaussian_linear_uniform": 0.53, "bernoulli_glm": 0.60, "slcp": 0.70, "sir": 0.60,
}  # fmt: skip
PUBLISHED = {
    "two_moons": (0.6064, 0.7132), "gaussian_mixture": (0.6153, 0.7234),
    "gaussian_linear": (0.5522, 0.5548), "gaussian_linear_uniform": (0.5534, 0.5481),
    "bernoulli_glm": (0.6783, 0.6047), "slcp": (0.9006, 0.7710), "sir": (0.6796, 0.7483),
}  # fmt: skip
"""NPE's and NLE's at 10,000 simulations (Lueckmann et al., arXiv:2101.04653; the suite's files)."""
DRAWS = 10_000

Train = Callable[[Task, Tensor, Tensor, int], tuple[Any, dict[str, Any]]]
"""A task, θ, x and a seed to a posterior, and what there is to know about it."""
Draw = Callable[[Any, Tensor, int], Tensor]
"""A posterior, an observation of shape ``(1, d)`` and a seed to draws, shape ``(DRAWS, D)``."""


def simulations(task: Task, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """θ and x."""
    generator = torch.Generator().manual_seed(seed)
    theta = task.parameters.prior().sample((number,), generator)
    return theta, task.simulate(theta, generator)


def train_hepgen(task: Task, theta: Tensor, x: Tensor, seed: int) -> tuple[Any, dict[str, Any]]:
    posterior = PooledPosterior.fit(
        x, theta, features=task.features, parameters=task.parameters, seed=seed
    )
    score = posterior.score
    assert score is not None
    about = {
        "power": score.power, "log_posterior": score.posterior,
        "log_likelihood": score.likelihood, "log_pool": score.pool,
    }  # fmt: skip
    return posterior, about


def draw_hepgen(posterior: Any, observed: Tensor, seed: int) -> Tensor:
    drawn: Tensor = posterior.draw(DRAWS, observed, seed=seed).theta
    return drawn


def train_sbi(task: Task, theta: Tensor, x: Tensor, seed: int) -> tuple[Any, dict[str, Any]]:
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    torch.manual_seed(seed)
    uniform = [p for p in task.priors if isinstance(p, Uniform)]
    normal = [p for p in task.priors if isinstance(p, Normal)]
    prior = (
        BoxUniform(torch.tensor([p.low for p in uniform]), torch.tensor([p.high for p in uniform]))
        if uniform
        else torch.distributions.MultivariateNormal(
            torch.tensor([p.mean for p in normal]), torch.tensor([p.std**2 for p in normal]).diag()
        )
    )
    trainer = NPE(prior=prior, show_progress_bars=False)
    trainer.append_simulations(theta.float(), x.float()).train()
    return trainer.build_posterior(), {}


def draw_sbi(posterior: Any, observed: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    drawn: Tensor = posterior.sample((DRAWS,), x=observed.float(), show_progress_bars=False)
    return drawn.double()


METHODS = ("hepgen", "sbi")
TRAIN: dict[str, Train] = {"hepgen": train_hepgen, "sbi": train_sbi}
DRAW: dict[str, Draw] = {"hepgen": draw_hepgen, "sbi": draw_sbi}


class Record:
    """What was measured, a line each, in a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "results.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, **entry: Any) -> None:
        self.entries.append(entry)
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def find(self, **wanted: Any) -> list[dict[str, Any]]:
        return [e for e in self.entries if all(e.get(k) == v for k, v in wanted.items())]

    def draws(self, method: str, task: str, observation: int) -> Path:
        return self.folder / f"{method}-{task}-{observation}.pt"


def draw(record: Record, task: Task, method: str, numbers: list[int], options: Any) -> None:
    """Train, and draw for all observations that have no draws."""
    missing = [n for n in numbers if not record.draws(method, task.name, n).exists()]
    if not missing:
        return
    theta, x = simulations(task, options.simulations, options.seed)
    start, busy = time.perf_counter(), time.process_time()
    posterior, about = TRAIN[method](task, theta, x, options.seed)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    record.add(task=task.name, method=method, training=seconds, training_cpu=busy, **about)
    print(
        f"{task.name}, {method}: trained in {seconds:.0f} s ({busy:.0f} CPU s), {about}", flush=True
    )
    for number in missing:
        start, busy = time.perf_counter(), time.process_time()
        drawn = DRAW[method](posterior, task.observed(number), options.seed + number)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        record.add(
            task=task.name, method=method, observation=number, drawing=seconds, drawing_cpu=busy
        )
        torch.save(drawn, record.draws(method, task.name, number))


def classify(record: Record, task: Task, method: str, number: int) -> None:
    path = record.draws(method, task.name, number)
    known = [
        e for e in record.find(task=task.name, method=method, observation=number) if "c2st" in e
    ]
    if known or not path.exists():
        return
    drawn = task.published(torch.load(path, weights_only=True))
    start = time.perf_counter()
    accuracy = c2st(task.reference(number), drawn)
    seconds = time.perf_counter() - start
    record.add(task=task.name, method=method, observation=number, c2st=accuracy)
    print(
        f"{task.name}, {method}, observation {number}: {accuracy:.4f} in {seconds:.0f} s",
        flush=True,
    )


def row(record: Record, task: str) -> list[str]:
    cells = [task, f"{ASKED[task]:.2f}"]
    scores = {
        method: [e["c2st"] for e in record.find(task=task, method=method) if "c2st" in e]
        for method in METHODS
    }
    cells += [_mean(scores["hepgen"]), *(f"{value:.3f}" for value in PUBLISHED[task])]
    cells.append(_mean(scores["sbi"]))
    cells += [_seconds(record.find(task=task, method=method)) for method in METHODS]
    powers = [e["power"] for e in record.find(task=task, method="hepgen") if "power" in e]
    return [*cells, f"{powers[-1]:.2f}" if powers else "–"]


def _seconds(entries: list[dict[str, Any]]) -> str:
    """Wall time of a training and of a mean set of draws, and the processor's."""
    parts = []
    for end in ("", "_cpu"):
        training, drawing = (
            [e[f"{what}{end}"] for e in entries if f"{what}{end}" in e]
            for what in ("training", "drawing")
        )
        if not training or not drawing:
            return "–"
        parts.append(f"{training[-1]:.0f} + {sum(drawing) / len(drawing):.1f}")
    return f"{parts[0]} ({parts[1]} CPU)"


def _mean(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{sum(values) / len(values):.3f} ({min(values):.3f}–{max(values):.3f}, {len(values)})"


HEADER = [
    "task", "asked", "measured (range, observations)", "published NPE", "published NLE",
    "sbi's default NPE", "s, training + draws", "s, sbi's", "power",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, default=Path("runs/sbibm"))
    parser.add_argument("--folder", type=Path, default=Path("runs/sbibm"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--observations", nargs="+", type=int, default=range(1, OBSERVATIONS + 1))
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what the folder has")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record, numbers = Record(options.folder), list(options.observations)
    if not options.table:
        tasks = [TASKS[name](Wheel(options.wheel)) for name in options.tasks]
        for task in tasks:
            for method in options.methods:
                draw(record, task, method, numbers, options)
        for number in numbers:
            for task in tasks:
                for method in options.methods:
                    classify(record, task, method, number)
    table = csv.writer(sys.stdout, delimiter="|")
    table.writerow(HEADER)
    for name in options.tasks:
        table.writerow(row(record, name))


if __name__ == "__main__":
    main()
