"""Every family of surrogates on the same data, in one table.

    python tests/benchmarks/leaderboard.py [--data zmumu ee_jets] [--families flow coupling]
        [--events 300000] [--held-out 200000] [--epochs 10] [--seconds 60] [--quick]
        [--keep FOLDER] [--markdown FILE] [--reports FOLDER]

Simulates single events at θ from the priors of the workflow, trains each family on them with its
own settings, and judges it on as many events as the training did not have, 200,000 at most: one
half is the simulation, the other the null. ``--seconds`` ends each training, with its cycle
complete, after so many: with 600, all but the two slowest end their own trainings, in 95 minutes.
``--quick`` has 30,000 events and short trainings, some minutes, and is no measure of what a family
can do. A family that takes long to sample is judged on fewer events, its null too. One that is
distilled needs its teacher, which is trained first where it is missing.
``--keep`` writes simulated events and trained surrogates to a folder, or reads them from it; of
simulated events there may be more. A mean −log p is of 50,000 events where the density is exact,
of 5,000 where it is a bound, and of 1,000 where it is an estimate, always the first ones; an error
is its standard error. The last column is what came of an export to ONNX that was tried. Times are
of one thread of this machine, whatever else runs on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from hepgen.diagnostics.comparison.judge import judge
from hepgen.errors import HepgenError, SurrogateError
from hepgen.features import Feature
from hepgen.judgement import Measured, SurrogateJudgement
from hepgen.pipeline.session import Session
from hepgen.report.surrogate import write_surrogate_report
from hepgen.simulators.campaign import Campaign
from hepgen.surrogates.diffusion.distillation import distil
from hepgen.surrogates.export import export
from hepgen.surrogates.families import FAMILIES
from hepgen.surrogates.surrogate import Domain, Surrogate

# Names of data: the process, and the columns.
DATA = {
    "zmumu-mass": ("zmumu", ("Dimuon_mass",)),
    "zmumu": ("zmumu", ("Dimuon_mass", "Dimuon_pt", "Dimuon_y", "Dimuon_cos_theta_cs",
                        "Dimuon_phi_star")),
    "ee_jets": ("ee_jets", ("Durham_y23", "nTrack")),
    "ee_jets-shapes": ("ee_jets", ("Thrust", "C_parameter", "Heavy_jet_mass", "Sphericity",
                                   "Visible_energy")),
}  # fmt: skip
# Where a surrogate needs other bounds, or another kind, than the workflow's likelihood.
KNOWN: dict[str, dict[str, Any]] = {
    "Dimuon_pt": {"low": 0.0},
    "Dimuon_cos_theta_cs": {"low": -1.0, "high": 1.0},
    "Dimuon_phi_star": {"low": 0.0},
    "nTrack": {"kind": "discrete", "low": 5.0, "high": 68.0},
}  # fmt: skip
QUICK = {"epochs": 4, "batch_size": 1000, "patience": None}
HEADER = (
    "family", "sample", "events judged", "log-density", "NLL [nats]", "C2ST", "C2ST null", "AUC",
    "AUC null", "p of AUC",
    "C2ST trees (null)", "W₁ worst (null)", "ms/event 1", "100", "10,000",
    "training [s] (epochs)", "ONNX",
)  # fmt: skip
DENSITY_EVENTS = {"exact": 50_000, "bound": 5_000, "estimate": 1_000, "none": 0}
LONGEST = 120
SAMPLING_SECONDS, PROBED = 30.0, 1000


@dataclass(frozen=True)
class Data:
    """What every family learns from, and what it is judged with."""

    name: str
    features: tuple[Feature, ...]
    inputs: tuple[Feature, ...]
    training: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    domain: Domain


def simulated(name: str, events: int, held_out: int, seed: int, keep: Path | None) -> Data:
    """Selected events of one of :data:`DATA`."""
    process, columns = DATA[name]
    session = Session.open(f"workflows/{process}.toml")
    free = session.parameters.free_names
    features = tuple(feature(session, column) for column in columns)
    wanted = events + held_out
    found = kept(keep, name, wanted, seed) if keep else None
    if found is None:
        found = single_events(session, features, wanted, seed)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            torch.save(found, keep / f"{name}-{wanted}-{seed}.pt")
    x, theta = found
    return Data(
        name, features, tuple(Feature(one) for one in free),
        (x[:events], theta[:events]), (x[events:], theta[events:]), Domain.from_sample(free, theta),
    )  # fmt: skip


def kept(keep: Path, name: str, wanted: int, seed: int) -> tuple[Tensor, Tensor] | None:
    """The first ``wanted`` of events that were kept, if there are as many."""
    sizes = [int(path.stem.split("-")[-2]) for path in keep.glob(f"{name}-[0-9]*-{seed}.pt")]
    enough = [size for size in sizes if size >= wanted]
    if not enough:
        return None
    x, theta = torch.load(keep / f"{name}-{min(enough)}-{seed}.pt")
    return x[:wanted], theta[:wanted]


def single_events(
    session: Session, features: Sequence[Feature], wanted: int, seed: int
) -> tuple[Tensor, Tensor]:
    """x and θ, at 16 generated events at each point."""
    columns = [one.name for one in features]
    campaign = Campaign(
        session.chain, session.parameters, 2**40, seed, points=16, block_size=8192, columns=columns
    )
    x, theta, have, number = [], [], 0, 0
    while have < wanted:
        block = campaign.simulate(number).events
        found = torch.from_numpy(block.flat(columns))
        keep = inside(found, features)
        x.append(found[keep])
        theta.append(torch.from_numpy(block.theta(session.parameters.free_names))[keep])
        have, number = have + int(keep.sum()), number + 1
    return torch.cat(x)[:wanted], torch.cat(theta)[:wanted]


def feature(session: Session, name: str) -> Feature:
    known = {one.name: one for one in session.features}
    unit, label = session.chain.observables[name]
    return replace(known.get(name) or Feature(name, unit, label), **KNOWN.get(name, {}))


def inside(x: Tensor, features: Sequence[Feature]) -> Tensor:
    low, high = (torch.tensor([getattr(f, e) for f in features]).double() for e in ("low", "high"))
    counted = torch.tensor([f.kind == "discrete" for f in features])
    edge = counted & ((x == low) | (x == high))
    return (((x > low) & (x < high)) | edge).all(-1)


def entries(
    data: Data,
    families: Sequence[str],
    training: dict[str, Any],
    keep: Path | None,
    reports: Path | None,
) -> Iterator[list[str]]:
    """A row for each family, also for one that fails."""
    known, made = None, dict[str, Surrogate]()
    for method in families:
        try:
            surrogate = trained(data, method, training, keep, made)
            x, context = few_enough(surrogate, *data.held_out)
            whole = len(x) == len(data.held_out[0])
            judgement = judge(
                surrogate, x, context, known=known if whole else None,
                density_events=DENSITY_EVENTS[surrogate.quality.kind],
            )  # fmt: skip
        except (HepgenError, RuntimeError) as error:
            failed = f"failed: {error}"[:LONGEST]
            yield [FAMILIES[method].title, failed, *[""] * (len(HEADER) - 2)]
            continue
        known = judgement if whole else known
        if reports is not None:
            write_surrogate_report(
                reports / f"{data.name}-{method}.html", judgement, curve=surrogate.curve
            )
        planted = judgement.classifiers[0].planted
        if whole and planted is not None and method == families[0]:
            first = judgement.classifiers[0]
            print(
                f"a shift of {first.shift:g} standard deviations, planted: AUC {planted.auc}, at "
                f"best {first.optimum:.4f}; C2ST {planted.accuracy}, at best "
                f"{first.best_accuracy:.4f}", flush=True,
            )  # fmt: skip
        yield row(judgement, surrogate)


def few_enough(surrogate: Surrogate, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """As many held-out events as can be sampled in half a minute."""
    some = context[:PROBED]
    start = time.perf_counter()
    surrogate.sample(1, some)
    seconds = (time.perf_counter() - start) / len(some)
    most = 2 * max(2000, int(SAMPLING_SECONDS / seconds) // 1000 * 1000)
    return x[:most], context[:most]


def trained(
    data: Data,
    method: str,
    training: dict[str, Any],
    keep: Path | None,
    made: dict[str, Surrogate],
) -> Surrogate:
    """A surrogate of a family; one that is there, or was kept, if there is one."""
    folder = keep / f"{data.name}-{method}" if keep else None
    if method in made:
        return made[method]
    if folder is not None and folder.exists():
        made[method] = Surrogate.load(folder)
        return made[method]
    teacher = FAMILIES[method].teacher
    if teacher:
        surrogate = distil(
            trained(data, teacher, training, keep, made), context=data.training[1], device="cpu",
            **training,
        )  # fmt: skip
    else:
        surrogate = Surrogate.fit(
            *data.training, features=data.features, inputs=data.inputs, method=method,
            domain=data.domain, device="cpu", manifest={"data": data.name}, **training,
        )  # fmt: skip
    if folder is not None:
        surrogate.save(folder)
    made[method] = surrogate
    return surrogate


def exported(surrogate: Surrogate) -> str:
    """What came of an export."""
    try:
        with TemporaryDirectory() as folder:
            manifest = export(surrogate, folder)
    except SurrogateError as error:
        return f"no: {error}"[:LONGEST]
    if manifest["density"]["file"]:
        return "yes"
    return f"sampler; density: {manifest['density']['why_not']}"[:LONGEST]


def row(found: SurrogateJudgement, surrogate: Surrogate) -> list[str]:
    first = found.classifiers[0]
    other = found.classifiers[-1]
    worst = max(found.features, key=lambda one: one.wasserstein / one.wasserstein_null.value)
    times = [found.seconds_per_event.get(batch) for batch in ("1", "100", "10000")]
    title = FAMILIES[found.method].title
    return [
        title, "yes", f"{found.events:,}", found.quality, shown(found.nll),
        shown(first.surrogate.accuracy), shown(first.null.accuracy), shown(first.surrogate.auc),
        shown(first.null.auc), f"{first.surrogate.p_value:.2g}",
        f"{other.surrogate.accuracy.value:.4f} ({other.null.accuracy.value:.4f})",
        f"{worst.wasserstein:.3f} ({worst.wasserstein_null.value:.3f}) {worst.name}",
        *(f"{1e3 * t:.3g}" if t is not None else "–" for t in times),
        f"{found.training_seconds:.0f} ({len(surrogate.curve.validation)})",
        exported(surrogate),
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
    parser.add_argument("--data", nargs="+", default=["zmumu", "ee_jets"], choices=list(DATA))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--events", type=int)
    parser.add_argument("--held-out", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--reports", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    events = options.events or (15_000 if options.quick else 300_000)
    held_out = options.held_out or min(events, 200_000)
    parts = []
    training = dict(QUICK) if options.quick else {}
    if options.epochs:
        training["epochs"] = options.epochs
    if options.seconds:
        training["time_budget"] = options.seconds
    for name in options.data:
        start = time.monotonic()
        data = simulated(name, events, held_out, seed=1, keep=options.keep)
        rows = []
        for line in entries(data, options.families, training, options.keep, options.reports):
            rows.append(line)
            print(f"{name}: {' | '.join(line)}", flush=True)
        head = (
            f"`{name}`: p({', '.join(f.name for f in data.features)} | "
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
