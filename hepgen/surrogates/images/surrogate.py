"""A surrogate of calorimeter images: p(layer energies | particle) · p(cells | layer energies, …).

The energies of the layers are a handful of numbers, and a flow knows them well; the cells share
them out (CaloFlow, arXiv:2106.05285; CaloDiffusion, arXiv:2308.03876). Both factors are ordinary
surrogates, of any family, and are saved with what stands between them and images in one folder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, SurrogateError
from hepgen.events import THETA, Events
from hepgen.features import Feature
from hepgen.nn.model_files import load_weights, read_model, write_model
from hepgen.nn.train import Progress
from hepgen.results import TrainingCurve
from hepgen.simulators.calorimeter.reconstruction import sparse
from hepgen.simulators.chain import stream
from hepgen.surrogates.conditional import LogDensity, Quality
from hepgen.surrogates.diffusion.distillation import distil
from hepgen.surrogates.images.cells import (
    CellCode,
    fractions,
    layer_energies,
    log_fraction_slope,
)
from hepgen.surrogates.images.law import CellLaw
from hepgen.surrogates.images.preimages import preimages
from hepgen.surrogates.surrogate import Domain, Surrogate
from hepgen.surrogates.vae.bound import ImportanceBound, importance_bound

KIND = "image-surrogate"
_PARTS = ("energies", "cells")
_ROWS = 2048
"""How many images are made at once."""
_DISTILLATION = {"teacher_steps": 12, "batch_size": 64, "max_learning_rate": 5e-3}


@dataclass
class ImageSurrogate:
    """p(image | particle); made by :meth:`fit` or :meth:`load`.

    Arguments:
        code: What an image is.
        law: How often and how bright its cells are, before a network is asked.
        energies: p(fractions | particle), see :func:`hepgen.surrogates.images.cells.fractions`.
        cells: p(u | particle, roots of the layer energies); any surrogate of the same context.
        draws: K of :meth:`bound`; not saved.
    """

    code: CellCode
    law: CellLaw
    energies: Surrogate
    cells: Surrogate
    draws: int = 64

    @classmethod
    def fit(
        cls,
        images: Tensor,
        particle: Tensor,
        *,
        inputs: Sequence[Feature],
        shape: tuple[int, int, int],
        step: float = 0.0,
        method: str = "diffusion",
        options: Mapping[str, Any] | None = None,
        energies: Surrogate | Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        **training: Any,
    ) -> ImageSurrogate:
        """Learn from N images.

        Arguments:
            images: GeV, shape ``(N, voxels)``; 0 where a cell is not read.
            particle: Shape ``(N, C)``; its first column is the incident energy in GeV.
            inputs: What the columns of ``particle`` are.
            shape: Layers, cells in η, cells in φ.
            step: Of the converter, GeV; 0 if energies are not in counts.
            method, options: Of the family that learns the cells.
            energies: Keywords of :meth:`Surrogate.fit` for the energies of the layers, ``method``
                among them (by default ``flow``); or a surrogate that knows them already.
            seed: Of everything.
            progress: Of the training of the cells.
            training: Its settings.

        Raises:
            DataError: Images that cannot be used.
        """
        read = images[images > 0]
        if len(read) == 0 or len(images) != len(particle):
            raise DataError(
                f"{len(images)} images, {len(read)} cells read in them, and {len(particle)} "
                "particles; expected one of each, and some cells"
            )
        code = CellCode(shape, float(read.min()), step)
        generator = torch.Generator().manual_seed(seed)
        layer, v = code.encode(images, generator)
        z = torch.cat([particle.double(), layer.sqrt()], -1)
        law = CellLaw(code.voxels, z.shape[-1], particle.shape[-1])
        u = law.fit(z, v, generator)
        if not isinstance(energies, Surrogate):
            energies = _fit_energies(layer, particle, inputs, seed, dict(energies or {}))
        cells = Surrogate.fit(
            u.double(), z, features=[Feature(f"cell_{i}") for i in range(code.voxels)],
            inputs=[*inputs, *(Feature(name, "sqrt(GeV)") for name in _roots(code))],
            method=method, options=options, domain=_domain(energies.domain, code), seed=seed,
            progress=progress, **training,
        )  # fmt: skip
        return cls(code, law, energies, cells)

    @property
    def method(self) -> str:
        """The family that makes the cells."""
        return self.cells.method

    @property
    def domain(self) -> Domain:
        """The range of the particle in the training."""
        return self.energies.domain

    @property
    def size(self) -> int:
        """How many numbers an image has."""
        return self.code.voxels

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the particle."""
        return self.domain.names

    @property
    def curve(self) -> TrainingCurve:
        """How the training of the cells went."""
        return self.cells.curve

    @property
    def manifest(self) -> dict[str, Any]:
        """What it stands for."""
        return self.cells.manifest

    @property
    def quality(self) -> Quality:
        """A bound where both parts have a density, an estimate where one is; see :meth:`bound`."""
        kinds = {self.energies.quality.kind, self.cells.quality.kind}
        if "none" in kinds:
            return Quality("none", f"its cells have none: {self.cells.quality}")
        words = f"importance-weighted, K = {self.draws}; cells: {self.cells.quality}"
        return Quality("estimate" if "estimate" in kinds else "bound", words)

    @property
    def extrapolate(self) -> bool:
        """Whether a particle outside of :attr:`domain` is let through."""
        return self.energies.extrapolate

    @extrapolate.setter
    def extrapolate(self, allowed: bool) -> None:
        self.energies.extrapolate = self.cells.extrapolate = allowed

    def sample(self, n: int, context: Tensor, seed: int = 0) -> Tensor:
        """n images of each particle, GeV, float64: shape ``(n, *, voxels)`` for shape ``(*, C)``.

        The same seed gives the same images.

        Raises:
            SurrogateError: A column is missing, or a particle is outside the training.
        """
        self._check(context)
        rows = context.double().expand(n, *context.shape).flatten(0, -2)
        parts = []
        with torch.inference_mode():  # of one image, half the time is what surrounds the numbers
            for number, some in enumerate(torch.split(rows, _ROWS)):
                first, second = np.random.SeedSequence([seed, number]).generate_state(2)
                layer = layer_energies(self.energies.sample(1, some, int(first))[0], some[:, 0])
                parts.append(self.cells_given(some, layer, int(second)))
        return torch.cat(parts).reshape(n, *context.shape[:-1], self.size)

    def sample_and_log_prob(
        self, n: int, context: Tensor, seed: int = 0
    ) -> tuple[Tensor, LogDensity]:
        """Images as :meth:`sample` makes them, and what :meth:`log_density` says of each."""
        self._check(context)
        self._check_density()
        x = self.sample(n, context, seed)
        rows = context.expand(n, *context.shape).reshape(-1, context.shape[-1])
        found = self.log_density(x.reshape(-1, self.size), rows, seed)
        shape = x.shape[:-1]
        return x, replace(found, value=found.value.reshape(shape), error=found.error.reshape(shape))

    def log_prob(self, x: Tensor, context: Tensor, seed: int = 0) -> Tensor:
        """A lower bound of log p(image | particle), shape ``(N,)``, see :meth:`bound`."""
        return self.log_density(x, context, seed).value

    def log_density(self, x: Tensor, context: Tensor, seed: int = 0) -> LogDensity:
        """As :meth:`log_prob`, with its Monte Carlo error; arguments and errors of :meth:`bound`.

        It has no derivative.
        """
        found = self.bound(x, context, seed)
        return LogDensity(found.value, found.error, self.quality)

    @torch.no_grad()
    def bound(self, x: Tensor, context: Tensor, seed: int = 0) -> ImportanceBound:
        r"""The importance-weighted bound of log p(image | particle), with its effective draws.

        Of images in counts p is a probability, and of others a density, in GeV to the power of
        minus the number of cells that are read. Many (E, u) give the same image:

        .. math:: \log p(\text{image} \mid c) = \log \int p(E \mid c) \, p(u \mid E, c) \,
                  \mathrm{d}(E, u) \ge E \log \frac1K \sum_k w_k,

        with the weights w of ``draws`` of :mod:`hepgen.surrogates.images.preimages`. For an image
        of which few draws are effective the bound is far below. It is one where both parts have a
        density that is exact or a bound themselves: with the noise of an estimate it may be above.

        Arguments:
            x: Images in GeV, shape ``(N, voxels)``.
            context: Particles, shape ``(N, C)`` or ``(C,)``.
            seed: Of the draws.

        Raises:
            SurrogateError: A part has no density, or a particle is outside the training.
            DataError: An image of another shape, or energies that cannot be read.
        """
        self._check(context)
        self._check_density()
        self.code.check(x)
        self.code.check_counts(x)
        particles = context.double().expand(len(x), context.shape[-1])
        rows = max(1, _ROWS // self.draws)
        weights = [context.new_zeros(self.draws, 0).double()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "density", 0))
            for some in torch.split(torch.arange(len(x)), rows) if len(x) else ():
                weights.append(self._log_weights(x[some], particles[some]))
        return importance_bound(torch.cat(weights, -1))

    def _log_weights(self, x: Tensor, particles: Tensor) -> Tensor:
        """log w of draws from q, shape ``(draws, B)``."""
        made = preimages(self.code, self.law, x, particles, self.draws)
        layer = made.energies.flatten(0, 1)
        given = particles.repeat_interleave(self.draws, 0)
        first, second = torch.randint(2**31, (2,)).tolist()
        energies = self.energies.log_density(fractions(layer, given[:, 0]), given, first).value
        slope = log_fraction_slope(layer, given[:, 0])
        z = torch.cat([given, layer.sqrt()], -1)
        cells = self.cells.log_density(made.u.flatten(0, 1), z, second).value
        return ((energies + slope + cells).reshape(len(x), self.draws) + made.log_weight).mT

    @torch.no_grad()
    def cells_given(self, particle: Tensor, layer: Tensor, seed: int = 0) -> Tensor:
        """Images with the layer energies ``(B, layers)``, in GeV, shape ``(B, voxels)``."""
        z = torch.cat([particle.double(), layer.sqrt()], -1)
        u = self.cells.sample(1, z, seed)[0]
        return self.code.decode(layer, self.law.inverse(u, z))

    def distilled(
        self,
        steps: int = 1,
        *,
        particles: Tensor | None = None,
        events: int = 4000,
        seed: int = 0,
        **settings: Any,
    ) -> ImageSurrogate:
        """The same with cells in a few evaluations of a network, if a diffusion makes them.

        Arguments:
            steps: Evaluations.
            particles: Shape ``(M, C)``, some of which its examples are of; by default uniform over
                the range of the training. The energies of their layers are drawn.
            events: How many examples the diffusion makes.
            seed: Of everything.
            settings: Others of :func:`hepgen.surrogates.diffusion.distillation.distil`.

        Raises:
            SurrogateError: Its cells are not from a diffusion.
        """
        if particles is None:
            domain = self.energies.domain
            low, high = (torch.tensor(edge).double() for edge in (domain.low, domain.high))
            generator = torch.Generator().manual_seed(seed)
            uniform = torch.rand(events, len(low), generator=generator, dtype=torch.float64)
            particles = torch.lerp(low, high, uniform)
        energies = layer_energies(self.energies.sample(1, particles, seed)[0], particles[:, 0])
        cells = distil(
            self.cells, steps, events=events, seed=seed,
            context=torch.cat([particles, energies.sqrt()], -1), **{**_DISTILLATION, **settings},
        )  # fmt: skip
        return replace(self, cells=cells)

    def events(self, particle: Tensor, images: Tensor) -> Events:
        """Images as events that the writers of HDF5 and ROOT take, with the cells that are read.

        Arguments:
            particle: Shape ``(B, C)``.
            images: GeV, shape ``(B, voxels)``.
        """
        cells = sparse(images, images > 0)
        read = cells.pop("nCell")
        filled = torch.arange(int(read.max().clamp(min=1))) < read[:, None]
        columns = {THETA + name: particle[:, i].numpy() for i, name in enumerate(self.names)}
        jagged = {name: _jagged(values[filled], read) for name, values in cells.items()}
        return Events.from_columns(columns | jagged)

    def save(self, folder: Path | str) -> None:
        """Write ``model.json``, ``weights.safetensors``, and the folders of both surrogates."""
        code = self.code
        folder = Path(folder)
        for name in _PARTS:
            getattr(self, name).save(folder / name)
        parts = {name: _digest(folder / name) for name in _PARTS}
        description = {
            "shape": code.shape, "least": code.least, "step": code.step, "parts": parts,
        }  # fmt: skip
        write_model(folder, KIND, description, self.law)

    @classmethod
    def load(cls, folder: Path | str) -> ImageSurrogate:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        folder = Path(folder)
        entry = read_model(folder, KIND)
        energies, cells = (Surrogate.load(folder / name) for name in _PARTS)
        for name, expected in dict(entry.get("parts", {})).items():
            if name in _PARTS and _digest(folder / name) != expected:
                raise FileError(
                    f"{folder / name} is of another model than {folder}/model.json; copy the "
                    "whole folder, or train again"
                )
        try:
            code = CellCode(tuple(entry["shape"]), entry["least"], entry["step"])
            particle = len(energies.domain.names)
            law = CellLaw(code.voxels, particle + code.layers, particle)
        except (KeyError, TypeError, ValueError, SurrogateError) as error:
            raise FileError(f"{folder}/model.json is not of images: {error!r}") from error
        load_weights(folder, law)
        return cls(code, law, energies, cells)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.code.shape))
        return f"ImageSurrogate({self.method}: p({size} cells | {', '.join(self.names)}))"

    def _check_density(self) -> None:
        if self.quality.kind == "none":
            raise SurrogateError(
                f"a surrogate of images by {self.method} has no density: {self.quality.words}; "
                "compare its images with simulated ones, or train a family that has one, such as "
                "coupling"
            )

    def _check(self, context: Tensor) -> None:
        if context.shape[-1] != len(self.names):
            raise SurrogateError(
                f"particles of shape {tuple(context.shape)}; expected {len(self.names)} columns: "
                f"{', '.join(self.names)}"
            )
        if not self.extrapolate:
            self.domain.check(context.detach().reshape(-1, len(self.names)))


def _digest(folder: Path) -> str:
    """Of the description of a model, which has the hash of its weights."""
    return hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()


def _fit_energies(
    layer: Tensor, particle: Tensor, inputs: Sequence[Feature], seed: int, settings: dict[str, Any]
) -> Surrogate:
    features = [Feature("E_dep/E_inc", low=0.0)]
    features += [
        Feature(f"E_{i}/E_from_{i}", low=0.0, high=1.0) for i in range(layer.shape[-1] - 1)
    ]
    x = fractions(layer, particle[:, 0].double())
    settings = {"method": "flow", "seed": seed, **settings}
    return Surrogate.fit(x, particle.double(), features=features, inputs=inputs, **settings)


def _roots(code: CellCode) -> list[str]:
    return [f"root_energy_{i}" for i in range(code.layers)]


def _domain(particle: Domain, code: CellCode) -> Domain:
    """Of the cells: particles as of the energies, and any energy that these can draw."""
    n = code.layers
    most = math.sqrt(10 * particle.high[0])
    names = (*particle.names, *_roots(code))
    return Domain(names, (*particle.low, *[0.0] * n), (*particle.high, *[most] * n))


def _jagged(values: Tensor, counts: Tensor) -> Any:
    import awkward as ak

    return ak.unflatten(values.numpy(), counts.numpy())
