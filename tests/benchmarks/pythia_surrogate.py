"""A surrogate of Pythia 8 + detector + FastJet: is it one, and how much faster?

    python tests/benchmarks/pythia_surrogate.py [--store events.npz] [--seconds 900]

20 observables of ``workflows/ee_jets_pythia.toml`` at random α_s, a and b. Two classifiers see the
observables and θ of half of 100,000 held-out events, and of as many of the surrogate at the θ of
the other half; beside them the null and a planted shift. Then processor time per event on one
thread, surrogate and chain in turn: many events at each parameter point, and one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hepgen.diagnostics.comparison.judge import judge
from hepgen.pipeline.session import Session
from hepgen.pipeline.surrogates import SurrogateTask, surrogate_task
from hepgen.simulators.campaign import Campaign
from hepgen.surrogates.surrogate import Surrogate

WORKFLOW = Path(__file__).parents[2] / "workflows/ee_jets_pythia.toml"
C2ST, FASTER = 0.55, 1000.0


def main() -> None:
    """Simulate or read, train or load, compare, time."""
    chosen = arguments()
    torch.set_num_threads(1)
    session = Session.open(WORKFLOW)
    task = surrogate_task(session)
    x, theta = events(task, chosen.events + chosen.held_out, chosen.store)
    surrogate = fitted(session, task, x[: -chosen.held_out], theta[: -chosen.held_out], chosen)
    quality(surrogate, x[-chosen.held_out :], theta[-chosen.held_out :])
    speed(task.campaign, surrogate, theta, chosen.rounds)


def arguments() -> argparse.Namespace:
    """What to do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=400_000, help="to train on, at most")
    parser.add_argument("--held-out", type=int, default=100_000)
    parser.add_argument("--store", type=Path, help="events: read if there, else written")
    parser.add_argument("--model", type=Path, help="surrogate: read if there, else written")
    parser.add_argument("--method", help="the family; by default the workflow's")
    parser.add_argument("--seconds", type=float, default=900.0, help="of training")
    parser.add_argument("--rounds", type=int, default=3, help="of the timing")
    return parser.parse_args()


def events(task: SurrogateTask, n: int, store: Path | None) -> tuple[Tensor, Tensor]:
    """x and θ of selected events, simulated where there is no file of them."""
    if store is None or not store.is_file():
        found = simulated(replace(task.campaign, events=int(1.05 * n)), task)
        if store is not None:
            np.savez(store, x=found[0], theta=found[1])
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])
    with np.load(store) as stored:
        return torch.from_numpy(stored["x"]), torch.from_numpy(stored["theta"])


def simulated(
    campaign: Campaign, task: SurrogateTask
) -> tuple[np.ndarray[tuple[int, int]], np.ndarray[tuple[int, int]]]:
    """x and θ of all blocks of a campaign."""
    x, theta = [], []
    for block in range(campaign.blocks):
        found = campaign.simulate(block).events
        x.append(found.flat(task.x))
        theta.append(found.theta(task.parameters))
    return np.concatenate(x), np.concatenate(theta)


def fitted(
    session: Session, task: SurrogateTask, x: Tensor, theta: Tensor, chosen: argparse.Namespace
) -> Surrogate:
    """The surrogate, trained where there is no file of it."""
    if chosen.model is not None and (chosen.model / "model.json").is_file():
        return Surrogate.load(chosen.model)
    entry = session.workflow.surrogate
    settings = entry.model_dump(include={"epochs", "batch_size", "max_learning_rate"})
    method = chosen.method or entry.method
    surrogate = Surrogate.fit(
        x, theta, features=task.features, inputs=task.inputs, method=method,
        options=entry.options if method == entry.method else {}, domain=task.domain(theta),
        seed=entry.seed, device="cpu", time_budget=chosen.seconds, patience=None, **settings,
    )  # fmt: skip
    print(f"{surrogate}: {len(x)} events, {surrogate.curve.seconds:.0f} s of training")
    if chosen.model is not None:
        surrogate.save(chosen.model)
    return surrogate


def quality(surrogate: Surrogate, x: Tensor, theta: Tensor) -> None:
    """Classifiers on all observables, distances of each."""
    found = judge(surrogate, x, theta, times=False)
    print(f"held-out −log p: {found.nll} nats")
    for one in found.classifiers:
        print(
            f"C2ST, {one.name}, {found.events} events of each: asked at most {C2ST}, measured "
            f"{one.surrogate.accuracy}, AUC {one.surrogate.auc}; null {one.null.accuracy}; "
            f"planted shift: AUC {one.planted and one.planted.auc}, at best {one.optimum:.4f}"
        )
    for column in found.features:
        print(f"  {column.name:16s} W1 {column.wasserstein:.4f} σ (null {column.wasserstein_null})")


def speed(campaign: Campaign, surrogate: Surrogate, theta: Tensor, rounds: int) -> None:
    """Processor time per event, chain and surrogate in turn."""
    many = replace(campaign, events=4096, block_size=4096)
    single = replace(campaign, events=16, block_size=16, points=1)
    ratios: dict[str, list[float]] = {"many": [], "one": []}
    for number in range(rounds):
        chain = {
            "many": timed(partial(block, many, number), 4096),
            "one": timed(partial(block, single, number), 16),
        }
        fast = {
            "many": timed(partial(surrogate.sample, 16_384, theta[0], number), 16_384),
            "one": timed(partial(surrogate.sample, 1, theta[:16_384], number), 16_384),
        }
        for case, seconds in chain.items():
            ratios[case].append(seconds / fast[case])
            print(
                f"  {case:4s} events at a point: chain {1e3 * seconds:8.3f} ms/event, "
                f"surrogate {1e3 * fast[case]:.4f} ms/event, {ratios[case][-1]:.0f} ×"
            )
    for case, words in (("many", "256 events at each θ"), ("one", "each event at its own θ")):
        print(f"faster, {words}: asked {FASTER:.0f}, measured {np.median(ratios[case]):.0f}")


def block(campaign: Campaign, number: int) -> object:
    """The events of one seed."""
    return replace(campaign, seed=campaign.seed + 1 + number).simulate(0)


def timed(run: Callable[[], object], n: int) -> float:
    """Processor seconds per event."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / n


if __name__ == "__main__":
    main()
