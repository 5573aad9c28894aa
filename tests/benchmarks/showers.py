"""Surrogates of calorimeter images: classifiers against them, and how fast they are.

    python tests/benchmarks/showers.py [--quick] [--folder DIR] [--minutes 10] [--steps 64]
        [--train 40000] [--test 10000] [--only NAME …] [--save data/showers.npz]

Electrons of 30 to 70 GeV with an impact point of their own, in the calorimeter of
workflows/calo_shower.toml. Each surrogate is judged by two classifiers, one of the observables of
the CaloChallenge (energies, centres, widths, sparsity of the layers), one of all cells; beside
them the null, two simulated samples. One thread. Asked: a distilled sampler that is 20 times
faster than the full one, at an AUC that is at most 0.05 worse. What is trained is kept in DIR.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hepgen.features import Feature
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.diffusion.distillation import distil
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.images.surrogate import ImageSurrogate

SHAPE = (10, 12, 12)
STEP = 0.001
INPUTS = (Feature("energy", "GeV"), Feature("impact_eta"), Feature("impact_phi"))
BLOCK = 500
UNET = {
    "network": "unet", "hidden": 16, "blocks": 1, "architecture": {"shape": list(SHAPE)},
    "whiten": False, "probes": 1, "sampler": "dpm", "solver": "linear", "high": 8.0,
}  # fmt: skip
COUPLING = {"layers": 4, "hidden": [128]}
Array = NDArray[np.float64]


def simulated(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images in GeV, shape ``(n, 1440)``, and particles ``(n, 3)``."""
    chain = process("calo_shower")
    generator = torch.Generator().manual_seed(seed)
    images, particles = [], []
    for block in range(n // BLOCK):
        u = torch.rand(BLOCK, 3, generator=generator, dtype=torch.float64)
        particle = torch.stack([30 + 40 * u[:, 0], u[:, 1] - 0.5, u[:, 2] - 0.5], -1)
        columns = dict(zip((f.name for f in INPUTS), particle.T[..., None], strict=True))
        state = chain.simulate(chain.parameters.values(None) | columns, 1, seed, block).state
        index, energy = state["Cell_index"][:, 0], state["Cell_energy"][:, 0]
        images.append(torch.zeros(BLOCK, 1440, dtype=energy.dtype).scatter_add(1, index, energy))
        particles.append(particle)
    return torch.cat(images), torch.cat(particles)


def kept(path: Path, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first n showers of a file, simulated first where there is none."""
    if not path.exists():
        images, particles = simulated(n, seed)
        np.savez(path, images=images.float().numpy(), particles=particles.numpy())
    with np.load(path) as file:
        images, particles = (torch.from_numpy(file[name][:n]) for name in ("images", "particles"))
    # In counts again: single precision is not enough for the rounding.
    return (images.double() / STEP).round() * STEP, particles.double()


def observables(images: Tensor, particles: Tensor) -> Array:
    """Of each layer: energy, whether it has any, cells read, centre and width in η and φ."""
    image = images.numpy().reshape(-1, *SHAPE)
    at = np.arange(12) - 5.5
    energy = image.sum((2, 3))
    some = np.maximum(energy, 1e-9)
    columns = [energy / particles.numpy()[:, :1], energy > 0, (image > 0).sum((2, 3)), particles]
    for axis in (2, 3):
        profile = image.sum(5 - axis)
        centre = (profile * at).sum(-1) / some
        variance = (profile * at**2).sum(-1) / some - centre**2
        columns += [centre, np.sqrt(np.maximum(variance, 0))]
    return np.concatenate(columns, 1).astype(np.float64)


def voxels(images: Tensor, particles: Tensor) -> Array:
    """ln(1 + e / 9 MeV) of every cell."""
    return np.concatenate([np.log1p(images.numpy() / 0.009), particles.numpy()], 1)


def auc(first: Array, second: Array, epochs: int, seed: int = 0) -> tuple[float, float]:
    """Of a perceptron that tells two samples apart, on a fifth of them; and its standard error.

    Three fifths train it, and the epoch with the best loss on the rest is taken.
    """
    n = min(len(first), len(second))
    order = np.random.default_rng(seed).permutation(2 * n)
    x = np.concatenate([first[:n], second[:n]])[order]
    y = torch.from_numpy((order < n).astype(np.float32))
    train, check = int(1.2 * n), int(1.6 * n)
    x = (x - x[:train].mean(0)) / (x[:train].std(0) + 1e-9)
    scores = _classified(torch.from_numpy(x.clip(-8, 8)).float(), y, train, check, epochs, seed)
    rank, positive = rankdata(scores), y[check:].numpy() > 0
    p, q = positive.sum(), (~positive).sum()
    value = float((rank[positive].sum() - p * (p + 1) / 2) / (p * q))
    return value, float(np.sqrt((p + q + 1) / (12 * p * q)))


def _classified(x: Tensor, y: Tensor, train: int, check: int, epochs: int, seed: int) -> Array:
    torch.manual_seed(seed)
    wide = 256
    network = nn.Sequential(
        nn.Linear(x.shape[1], wide), nn.SiLU(), nn.Dropout(0.1), nn.Linear(wide, wide), nn.SiLU(),
        nn.Dropout(0.1), nn.Linear(wide, 1), nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    steps = epochs * (train // 256)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1)
    best, scores = np.inf, np.zeros(len(x) - check)
    for _ in range(epochs):
        network.train()
        for rows in torch.split(torch.randperm(train)[: train // 256 * 256], 256):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
        network.eval()
        with torch.no_grad():
            loss = float(binary_cross_entropy_with_logits(network(x[train:check]), y[train:check]))
            if loss < best:
                best, scores = loss, network(x[check:]).double().numpy()
    return scores


def judged(name: str, images: Tensor, truth: Tensor, particles: tuple[Tensor, Tensor],
           epochs: int) -> dict[str, float]:  # fmt: skip
    """Both AUCs, printed; images of the first particles against a truth of the second."""
    found = {}
    for words, see in (("observables", observables), ("cells", voxels)):
        value, error = auc(see(images, particles[0]), see(truth, particles[1]), epochs)
        found[words] = value
        print(f"{name}: AUC of {words} {value:.3f} ± {error:.3f}", flush=True)
    return found


def timed(model: ImageSurrogate, particles: Tensor) -> float:
    """ms of processor time for each image of a batch, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        model.images(particles)
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds) / len(particles)


def trained(folder: Path, make: Callable[[], ImageSurrogate]) -> ImageSurrogate:
    """The surrogate in a folder, trained first where there is none."""
    if not (folder / "model.json").exists():
        start = time.process_time()
        made = make()
        made.save(folder)
        curve = made.cells.curve
        print(f"{folder.name}: trained in {time.process_time() - start:.0f} s of processor time, "
              f"{len(curve.validation)} epochs, loss {curve.validation[0]:.1f} to "
              f"{min(curve.validation):.1f}", flush=True)  # fmt: skip
    return ImageSurrogate.load(folder)


class Surrogates:
    """A flow, a diffusion, and what is distilled of it; trained when they are asked for.

    Arguments:
        folder: Where they, and the showers, are kept.
        train: Images to train on.
        minutes: For the diffusion; a quarter each for the others.
        steps: Of the diffusion's sampler.
    """

    def __init__(self, folder: Path, train: int, minutes: float, steps: int) -> None:
        self.folder, self.train, self.seconds, self.steps = folder, train, 60 * minutes, steps

    @cached_property
    def sample(self) -> tuple[Tensor, Tensor]:
        return kept(self.folder / "train.npz", self.train, 12)

    @cached_property
    def flow(self) -> ImageSurrogate:
        return trained(
            self.folder / "flow",
            lambda: self._fit(
                "coupling", COUPLING, 0.25, batch_size=256, max_learning_rate=1e-3,
                energies={"batch_size": 512, "epochs": 12, "time_budget": self.seconds / 6},
            ),
        )  # fmt: skip

    @cached_property
    def diffusion(self) -> ImageSurrogate:
        surrogate = trained(
            self.folder / "diffusion",
            lambda: self._fit("diffusion", UNET, 1.0, batch_size=128, max_learning_rate=2e-3,
                              energies=self.flow.energies),
        )  # fmt: skip
        assert isinstance(surrogate.cells.model, Diffusion)
        surrogate.cells.model.steps = self.steps
        return surrogate

    @cached_property
    def distilled(self) -> ImageSurrogate:
        return trained(self.folder / "distilled", self._student)

    def _fit(
        self, method: str, options: dict[str, Any], share: float, **more: Any
    ) -> ImageSurrogate:
        return ImageSurrogate.fit(
            *self.sample, inputs=INPUTS, shape=SHAPE, step=STEP, method=method, options=options,
            validation_fraction=0.03, epochs=40, patience=None, time_budget=self.seconds * share,
            **more,
        )  # fmt: skip

    def _student(self) -> ImageSurrogate:
        images, particles = self.sample
        energies = images.reshape(-1, SHAPE[0], 144).sum(-1).clamp(min=1e-3)
        cells = distil(
            self.diffusion.cells, 1, events=min(self.train // 10, 4000),
            context=torch.cat([particles, energies.sqrt()], -1), teacher_steps=12, batch_size=64,
            max_learning_rate=5e-3, epochs=40, patience=None, time_budget=self.seconds / 4,
        )  # fmt: skip
        return replace(self.diffusion, cells=cells)


def main(
    surrogates: Surrogates, test: int, epochs: int, only: list[str], save: Path | None
) -> None:
    """Print everything."""
    surrogates.folder.mkdir(parents=True, exist_ok=True)
    truth, particles = kept(surrogates.folder / "test.npz", 2 * test, 11)
    halves = (particles[:test], particles[test:])
    if "null" in only:
        judged("null, simulation against simulation", truth[:test], truth[test:], halves, epochs)
    found: dict[str, dict[str, float]] = {}
    rates: dict[str, list[float]] = {}
    made: dict[str, Tensor] = {}
    for name in ("flow", "diffusion", "distilled"):
        if name not in only:
            continue
        model: ImageSurrogate = getattr(surrogates, name)
        rates[name] = [timed(model, halves[0][:batch]) for batch in (1, 100)]
        start = time.process_time()
        parts = enumerate(torch.split(halves[0], 1000))
        made[name] = torch.cat([model.images(part, seed) for seed, part in parts])
        rates[name].append(1000 * (time.process_time() - start) / test)
        found[name] = judged(name, made[name], truth[test:], halves, epochs)
        print(f"{name}: ms for each shower at batch 1, 100, 1000: "
              + ", ".join(f"{rate:.3g}" for rate in rates[name]), flush=True)  # fmt: skip
    if {"diffusion", "distilled"} <= found.keys():
        faster = [a / b for a, b in zip(rates["diffusion"], rates["distilled"], strict=True)]
        worse = [found["distilled"][k] - found["diffusion"][k] for k in ("observables", "cells")]
        print(
            f"distilled, one step against {surrogates.steps}: asked 20 times faster at an AUC at "
            f"most 0.05 worse, measured {', '.join(f'{f:.1f}' for f in faster)} times at batch 1, "
            f"100, 1000, AUC worse by {worse[0]:+.3f} (observables), {worse[1]:+.3f} (cells)"
        )
    if save and made:
        _save(save, truth[:test], made)


def _save(path: Path, truth: Tensor, made: dict[str, Tensor]) -> None:
    """What the page of the documentation shows, small: GeV, of the same particles."""
    arrays: dict[str, Any] = {}
    for name, images in {"truth": truth, **made}.items():
        image = images.reshape(-1, *SHAPE)
        arrays[f"{name}_mean"] = image.mean(0).numpy().astype(np.float32)
        arrays[f"{name}_showers"] = image[:3].numpy().astype(np.float16)
        arrays[f"{name}_layers"] = image.sum((2, 3))[:1500].numpy().astype(np.float16)
        arrays[f"{name}_read"] = (image > 0).sum((1, 2, 3)).numpy().astype(np.int16)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    names = ["null", "flow", "diffusion", "distilled"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--train", type=int, default=40_000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.minutes, given.steps, given.train, given.test = 0.2, 8, 4000, 1000
    torch.set_num_threads(1)
    place = given.folder or Path(tempfile.mkdtemp())
    main(
        Surrogates(place, given.train, given.minutes, given.steps), given.test,
        4 if given.quick else 12, given.only, given.save,
    )  # fmt: skip
