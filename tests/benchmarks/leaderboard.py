"""Every family of surrogates on the same data, in one table.

    python tests/benchmarks/leaderboard.py [--process zmumu ee_jets] [--families flow coupling]
        [--events 300000] [--quick] [--markdown FILE] [--reports FOLDER]

Simulates single events at θ from the priors of the workflow, trains each family on them with its
own settings, and judges it on as many events as the training did not have, 100,000 at most. With
the default settings it takes an hour or more for all families on two processes; ``--quick`` has
30,000 events and short trainings, some minutes, and is no measure of what a family can do. Times
are of one thread of this machine, whatever else runs on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.diagnostics.comparison.judge import judge
from hepgen.errors import HepgenError
from hepgen.features import Feature
from hepgen.judgement import Measured, SurrogateJudgement
from hepgen.pipeline.session import Session
from hepgen.report.surrogate import write_surrogate_report
from hepgen.simulators.campaign import Campaign
from hepgen.surrogates.families import FAMILIES
from hepgen.surrogates.surrogate import Domain, Surrogate

# Columns beyond the workflow's features, so that there is more than one to learn together.
COLUMNS = {
    "zmumu": ("Dimuon_mass", "Dimuon_pt", "Dimuon_y", "Dimuon_cos_theta_cs"),
    "ee_jets": ("Thrust", "C_parameter", "Heavy_jet_mass", "Sphericity", "Visible_energy"),
}
BOUNDS = {"Dimuon_mass": (60.0, 120.0), "Dimuon_pt": (0.0, np.inf),
          "Dimuon_cos_theta_cs": (-1.0, 1.0)}  # fmt: skip
QUICK = {"epochs": 4, "batch_size": 1000, "patience": None}
HELD_OUT = 200_000
HEADER = (
    "family", "log-density", "NLL [nats]", "C2ST", "C2ST null", "AUC", "AUC null",
    "AUC trees (null)", "W₁ worst (null)", "ms/event 1", "100", "10,000", "training [s]", "ONNX",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """What every family learns from, and what it is judged with."""

    process: str
    features: tuple[Feature, ...]
    inputs: tuple[Feature, ...]
    training: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    domain: Domain


def simulated(process: str, events: int, seed: int) -> Data:
    """Selected events, at 16 generated at each point."""
    session = Session.open(f"workflows/{process}.toml")
    columns = COLUMNS.get(process, session.feature_names)
    x, theta, have, number = [], [], 0, 0
    campaign = Campaign(
        session.chain, session.parameters, 2**40, seed, points=16, block_size=8192, columns=columns
    )
    wanted = events + min(events, HELD_OUT)
    while have < wanted:
        block = campaign.simulate(number).events
        x.append(block.flat(columns))
        theta.append(block.theta(session.parameters.free_names))
        have, number = have + len(block), number + 1
    x_all, theta_all = (torch.from_numpy(np.concatenate(one)[:wanted]) for one in (x, theta))
    known = {one.name: one for one in session.features}
    features = tuple(known.get(c) or feature(session, c) for c in columns)
    keep = inside(x_all, features)
    x_all, theta_all = x_all[keep], theta_all[keep]
    return Data(
        process, features, tuple(Feature(name) for name in session.parameters.free_names),
        (x_all[:events], theta_all[:events]), (x_all[events:], theta_all[events:]),
        Domain.from_sample(session.parameters.free_names, theta_all),
    )  # fmt: skip


def feature(session: Session, name: str) -> Feature:
    unit, label = session.chain.observables[name]
    low, high = BOUNDS.get(name, (-np.inf, np.inf))
    return Feature(name, unit, label, low, high)


def inside(x: Tensor, features: Sequence[Feature]) -> Tensor:
    low, high = (torch.tensor([getattr(f, e) for f in features]).double() for e in ("low", "high"))
    return ((x > low) & (x < high)).all(-1)


def entries(
    data: Data, families: Sequence[str], training: dict[str, Any], reports: Path | None
) -> Iterator[list[str]]:
    """A row for each family, also for one that fails."""
    for method in families:
        try:
            surrogate, judgement = trained_and_judged(data, method, training)
        except (HepgenError, RuntimeError) as error:
            yield [method, f"failed: {error}"[:80], *[""] * (len(HEADER) - 2)]
            continue
        if reports is not None:
            write_surrogate_report(
                reports / f"{data.process}-{method}.html", judgement, curve=surrogate.curve
            )
        yield row(judgement)


def trained_and_judged(
    data: Data, method: str, training: dict[str, Any]
) -> tuple[Surrogate, SurrogateJudgement]:
    surrogate = Surrogate.fit(
        *data.training, features=data.features, inputs=data.inputs, method=method,
        domain=data.domain, device="cpu", manifest={"process": data.process}, **training,
    )  # fmt: skip
    return surrogate, judge(surrogate, *data.held_out)


def row(found: SurrogateJudgement) -> list[str]:
    first = found.classifiers[0]
    other = found.classifiers[-1]
    worst = max(found.features, key=lambda one: one.wasserstein / one.wasserstein_null.value)
    times = [found.seconds_per_event.get(batch) for batch in ("1", "100", "10000")]
    return [
        FAMILIES[found.method].title, found.quality, shown(found.nll),
        shown(first.surrogate.accuracy), shown(first.null.accuracy), shown(first.surrogate.auc),
        shown(first.null.auc),
        f"{other.surrogate.auc.value:.4f} ({other.null.auc.value:.4f})",
        f"{worst.wasserstein:.3f} ({worst.wasserstein_null.value:.3f}) {worst.name}",
        *(f"{1e3 * t:.3g}" if t is not None else "–" for t in times),
        f"{found.training_seconds:.0f}",
        "see its card" if find_spec("hepgen.surrogates.export") else "–",
    ]  # fmt: skip


def shown(number: Measured | None) -> str:
    return "–" if number is None else f"{number.value:.4f} ± {number.error:.4f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown, with columns of even width."""
    widths = [max(len(line[i]) for line in (HEADER, *rows)) for i in range(len(HEADER))]
    lines = [HEADER, ["-" * w for w in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", nargs="+", default=["zmumu", "ee_jets"])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--events", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--reports", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    events = options.events or (15_000 if options.quick else 300_000)
    parts = []
    for process in options.process:
        start = time.monotonic()
        data = simulated(process, events, seed=1)
        training = QUICK if options.quick else {}
        rows = []
        for line in entries(data, options.families, training, options.reports):
            rows.append(line)
            print(f"{process}: {' | '.join(line)}", flush=True)
        head = (
            f"`{process}`: p({', '.join(f.name for f in data.features)} | "
            f"{', '.join(f.name for f in data.inputs)}), {len(data.training[0]):,} events to "
            f"learn from, {len(data.held_out[0]) // 2:,} of simulation and of surrogate to "
            f"judge; {time.monotonic() - start:.0f} s."
        )
        parts.append(f"{head}\n\n{table(rows)}\n")
        print(f"\n{parts[-1]}", flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
