"""Surrogates of calorimeter images: classifiers against them, and how fast they are.

    python tests/benchmarks/showers.py [--quick] [--folder DIR] [--minutes 5] [--steps 64]
        [--train 36000] [--test 5000] [--only NAME …] [--save data/showers.npz]

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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.diagnostics.comparison.judge import judge_images
from hepgen.features import Feature
from hepgen.judgement import SurrogateJudgement, TwoSampleTest
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.images.surrogate import ImageSurrogate

SHAPE = (10, 12, 12)
STEP = 0.001
INPUTS = (Feature("energy", "GeV"), Feature("impact_eta"), Feature("impact_phi"))
BLOCK = 500
UNET = {
    "network": "unet", "hidden": 16, "blocks": 1, "architecture": {"shape": list(SHAPE)},
    "whiten": False, "probes": 2, "sampler": "dpm", "solver": "linear", "high": 8.0,
}  # fmt: skip
COUPLING = {"layers": 4, "hidden": [128], "tail": 100.0, "identity": True}
BATCHES = 1, 100, 1000


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


def words(test: TwoSampleTest) -> str:
    """The AUC, and how often the classifier is right."""
    return f"AUC {test.auc}, C2ST {test.accuracy}"


def judged(
    name: str, model: ImageSurrogate, sample: tuple[Tensor, Tensor],
    known: SurrogateJudgement | None,
) -> SurrogateJudgement:  # fmt: skip
    """By observables and by cells, printed; the null with the first surrogate."""
    found = judge_images(model, *sample, times=False, known=known)
    for one in found.classifiers:
        if known is None:
            print(f"null, {one.name}: {words(one.null)}", flush=True)
        print(f"{name}, {one.name}: {words(one.surrogate)}", flush=True)
    return found


def milliseconds(models: dict[str, ImageSurrogate], particles: Tensor) -> dict[str, list[float]]:
    """CPU ms for a shower at each batch, the best of three rounds that take the models in turn."""
    best = {name: [np.inf] * len(BATCHES) for name in models}
    for _ in range(3):
        for name, model in models.items():
            for i, batch in enumerate(BATCHES):
                calls = 5 if batch == 1 else 1
                start = time.process_time()
                for _ in range(calls):
                    model.sample(1, particles[:batch])
                spent = 1000 * (time.process_time() - start) / (calls * batch)
                best[name][i] = min(best[name][i], spent)
    return best


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
                energies={"options": {"layers": 2}, "batch_size": 512, "epochs": 40,
                          "time_budget": self.seconds / 6},
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
        return self.diffusion.distilled(
            1, particles=self.sample[1], events=min(self.train // 10, 4000),
            time_budget=self.seconds / 4,
        )  # fmt: skip


def main(surrogates: Surrogates, test: int, only: list[str], save: Path | None) -> None:
    """Print everything."""
    surrogates.folder.mkdir(parents=True, exist_ok=True)
    sample = kept(surrogates.folder / "test.npz", 2 * test, 11)
    models: dict[str, ImageSurrogate] = {name: getattr(surrogates, name) for name in only}
    found: dict[str, SurrogateJudgement] = {}
    for name, model in models.items():
        found[name] = judged(name, model, sample, next(iter(found.values()), None))
    rates = milliseconds(models, sample[1])
    for name, each in rates.items():
        print(f"{name}: CPU ms for each shower at batch 1, 100, 1000: "
              + ", ".join(f"{rate:.3g}" for rate in each), flush=True)  # fmt: skip
    if {"diffusion", "distilled"} <= found.keys():
        faster = [a / b for a, b in zip(rates["diffusion"], rates["distilled"], strict=True)]
        aucs = [[one.surrogate.auc.value for one in found[name].classifiers]
                for name in ("distilled", "diffusion")]  # fmt: skip
        worse = [a - b for a, b in zip(*aucs, strict=True)]
        print(
            f"distilled, one step against {surrogates.steps}: asked 20 times faster at an AUC at "
            f"most 0.05 worse, measured {', '.join(f'{f:.1f}' for f in faster)} times at batch 1, "
            f"100, 1000, AUC worse by {worse[0]:+.3f} (observables), {worse[1]:+.3f} (cells)"
        )
    if save:
        _save(save, models, *sample)


def _save(path: Path, models: dict[str, ImageSurrogate], truth: Tensor, particles: Tensor) -> None:
    """What the page of the documentation shows, small: GeV, of the same particles."""
    truth, particles = truth[:1000], particles[:1000]
    made = {
        "truth": truth,
        **{name: model.sample(1, particles)[0] for name, model in models.items()},
    }
    arrays: dict[str, Any] = {}
    for name, images in made.items():
        image = images.reshape(-1, *SHAPE)
        arrays[f"{name}_mean"] = image.mean(0).numpy().astype(np.float32)
        arrays[f"{name}_showers"] = image[:3].numpy().astype(np.float16)
        arrays[f"{name}_layers"] = image.sum((2, 3)).numpy().astype(np.float16)
        arrays[f"{name}_read"] = (image > 0).sum((1, 2, 3)).numpy().astype(np.int16)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    names = ["flow", "diffusion", "distilled"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--train", type=int, default=36_000)
    parser.add_argument("--test", type=int, default=5000)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.minutes, given.steps, given.train, given.test = 0.2, 8, 4000, 1000
    torch.set_num_threads(1)
    place = given.folder or Path(tempfile.mkdtemp())
    main(
        Surrogates(place, given.train, given.minutes, given.steps), given.test, given.only,
        given.save,
    )  # fmt: skip
