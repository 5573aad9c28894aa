"""Neural likelihood estimation from few simulations: p(x | θ) of a vector x, by an ensemble.

:class:`hepgen.inference.nle.NLE` learns the density of single events from very many of them. Here
one θ has one simulated vector, ten thousand are a large sample, and the posterior of one observed
vector is what matters. So the density starts as the linear Gaussian model of its sample
(:mod:`hepgen.nn.residual_mixture`), and several trainings, each with a validation sample of its
own, are averaged: (1/M) Σ p_m(x | θ) (deep ensembles, Lakshminarayanan et al., arXiv:1612.01474).
A data set of several vectors is one of independent draws at the same θ.

A ``discrete`` feature is learned with uniform noise of one unit, new in every step, on the scale of
:mod:`hepgen.inference.counts`, and evaluated at the whole number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.counts import counted, log_slope, stabilised, whole
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.nle import check_columns, check_theta
from hepgen.inference.region import Region
from hepgen.inference.residual_ensemble import CANDIDATES, Candidate, Loss, fit_members, start
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.nn.density_weights import check_density_weights
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.nn.residual_mixture import ResidualMixture
from hepgen.nn.rows import Table
from hepgen.nn.train import Progress
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_PAIRS = 2**14
_KIND = "vector-nle"
_COUNTS_SCHEMA = 2
"""From which on discrete features are on the scale of counts; in files of 1 they may not be."""


class VectorNLE:
    """log p(x | θ), in physical variables; made by :meth:`fit` or :meth:`load`.

    Arguments:
        members: The trained densities.
        features: The columns of x.
        parameters: The columns of θ.
        location, scale: What standardises θ, shape ``(D,)`` each.
        region: Where it was trained. Outside, log L is −∞.
        architecture: What rebuilds a member.
        curves: Of each training.
    """

    def __init__(
        self,
        members: Sequence[ResidualMixture],
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        location: Tensor,
        scale: Tensor,
        region: Region,
        architecture: dict[str, Any],
        curves: tuple[TrainingCurve, ...],
    ) -> None:
        self.members = tuple(members)
        self.features, self.parameters, self.region = features, parameters, region
        self.curves = curves
        self._location, self._scale, self._architecture = location, scale, architecture
        self._prior = UnboundedPrior(parameters)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        weight: Tensor | None = None,
        negative_weights: bool = False,
        region: Region | None = None,
        members: int = 3,
        candidates: Sequence[Candidate] = CANDIDATES,
        validation_fraction: float = 0.1,
        batch_size: int = 256,
        epochs: int = 60,
        max_learning_rate: float = 6e-3,
        patience: int | None = 20,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        device: str = "auto",
    ) -> VectorNLE:
        """Learn p(x | θ) from simulated vectors, each with its own θ.

        Arguments:
            x: Vectors, shape ``(N, d)``, in physical variables.
            theta: The parameters that made them, shape ``(N, D)``, from any distribution.
            features: What the d columns are, with their bounds.
            parameters: What the D columns of θ are.
            weight: Of the vectors, shape ``(N,)``.
            negative_weights: Take them though a density must be positive: the events are then worth
                (Σw)²/Σw² of one weight, and the result may be far too small where they cancel; see
                :func:`hepgen.nn.density_weights.check_density_weights`.
            region: Learn from the θ inside only; by default everywhere.
            members: Trainings that are averaged.
            candidates: Sizes of the networks, of which validation chooses one.
            validation_fraction, batch_size, epochs, max_learning_rate: See
                :func:`hepgen.nn.train.train`.
            patience, seed, progress: See there, too; a member has seed + m.
            device: Where to train, see :func:`hepgen.nn.device.choose`.

        Raises:
            DataError: Vectors that cannot be used, too few inside the region, or negative weights
                that were not asked for.
            ParameterError: A θ outside its prior.
        """
        check_density_weights(weight, negative_weights)
        check_theta(theta, parameters, len(x))
        region = region or Region.everywhere(len(parameters.free))
        x, theta, weight = _inside(x, theta, weight, region, UnboundedPrior(parameters))
        space = FeatureSpace.from_sample(plain_or_discrete(features), x)
        location, scale = theta.double().mean(0), theta.double().std(0)
        context = ((theta.double() - location) / scale).float()
        rows = Table(space.forward(x).float(), context)
        counts = counted(space)
        trained = fit_members(
            rows, _loss(counts), (_real(rows.sample[0], counts, seed), context),
            candidates=candidates, members=members, seed=seed, device=device, weight=weight,
            validation_fraction=validation_fraction, batch_size=batch_size, epochs=epochs,
            max_learning_rate=max_learning_rate, patience=patience, progress=progress,
        )  # fmt: skip
        return cls(
            trained.members, space, parameters,
            location=location, scale=scale, region=region,
            architecture=trained.candidate.architecture, curves=trained.curves,
        )  # fmt: skip

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, float64, for shapes ``(N, d)`` and ``(K, D)``."""
        self.features.check(x)
        sets = self.encode([one[None] for one in x], [None] * len(x))
        return self.log_likelihoods(sets, theta.expand(len(x), -1, -1))

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, checked, in the space of the network."""
        for one in x:
            self.features.check(one)
        counts = counted(self.features)
        plain = [self.features.forward(one) for one in x]
        slopes = [
            self.features.log_jacobian(one) + log_slope(v, counts)
            for one, v in zip(x, plain, strict=True)
        ]
        return pad([stabilised(v, counts).float() for v in plain], weight, slopes)

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Log-likelihoods of S data sets at K points each, shape ``(S, K)``, float64.

        Arguments:
            sets: From :meth:`encode`.
            theta: Shape ``(S, K, D)``.
        """
        check_columns(theta, self.parameters)
        points = max(1, _PAIRS // sets.events.shape[1])
        parts = [
            torch.cat([self._sum(sets[s : s + 1], part) for part in torch.split(theta[s], points)])
            for s in range(len(sets))
        ]
        inside = self.region.contains(self._prior.unbounded(theta.detach()))
        return torch.where(inside, torch.stack(parts), -torch.inf)

    def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
        """n vectors at each θ, shape ``(n, *, d)`` for θ of shape ``(*, D)``."""
        check_columns(theta, self.parameters)
        context = self._context(theta).expand(n, *theta.shape).reshape(-1, theta.shape[-1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            member = torch.randint(len(self.members), (len(context),))
            u = context.new_empty(len(context), len(self.features))
            for m, density in enumerate(self.members):
                u[member == m] = density.sample(context[member == m])
        x = self.features.inverse(whole(u, counted(self.features)))
        return x.reshape(n, *theta.shape[:-1], len(self.features))

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "architecture": self._architecture,
            "features": self.features.to_dict(),
            "parameters": self.parameters.to_dict(),
            "theta": {"location": self._location.tolist(), "scale": self._scale.tolist()},
            "region": self.region.to_dict(),
            "training": list(self.curves),
        }
        schema = _COUNTS_SCHEMA if bool(counted(self.features).any()) else 1
        write_model(Path(folder), _KIND, description, nn.ModuleList(self.members), schema=schema)

    @classmethod
    def load(cls, folder: Path | str) -> VectorNLE:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version; or they
                are of schema 1 and have discrete features, whose scale changed then.
        """
        entry = read_model(Path(folder), _KIND)
        try:
            parameters = ParameterSet.from_dict(entry["parameters"])
            features = FeatureSpace.from_dict(entry["features"])
            curves = tuple(curve_from_dict(curve) for curve in entry["training"])
            architecture, region = entry["architecture"], Region.from_dict(entry["region"])
            location, scale = (
                torch.tensor(entry["theta"][key], dtype=torch.float64)
                for key in ("location", "scale")
            )
            members = [start(len(features), len(parameters.free), architecture, 0) for _ in curves]
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(
                f"{folder}/model.json does not describe a likelihood of vectors: {error!r}"
            ) from error
        discrete = [f.name for f in features.features if f.kind == "discrete"]
        if discrete and entry["schema"] < _COUNTS_SCHEMA:
            raise FileError(
                f"{folder}/model.json has schema {entry['schema']} and the discrete features "
                f"{', '.join(discrete)}, which files of schema {_COUNTS_SCHEMA} have on another "
                "scale: train it again"
            )
        likelihood = cls(
            members, features, parameters,
            location=location, scale=scale, region=region,
            architecture=architecture, curves=curves,
        )  # fmt: skip
        load_weights(Path(folder), nn.ModuleList(likelihood.members))
        return likelihood

    def __repr__(self) -> str:
        names = ", ".join(self.features.names)
        return f"VectorNLE(p({names} | {', '.join(self.parameters.free_names)}))"

    def _context(self, theta: Tensor) -> Tensor:
        return ((theta.double() - self._location) / self._scale).float()

    def _sum(self, one: EventSets, theta: Tensor) -> Tensor:
        """log L of one data set, shape ``(K,)``, at θ of shape ``(K, D)``."""
        context = self._context(theta)
        total = one.constant.expand(len(theta))
        for event, weight in zip(one.events[0], one.weight[0], strict=True):
            members = [m.log_prob(event, context) for m in self.members]
            mean = torch.stack(members).double().logsumexp(0) - math.log(len(members))
            total = total + weight * mean
        return total


def plain_or_discrete(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features as plain real numbers or counts."""
    plain = as_continuous(features)
    return tuple(
        replace(p, kind="discrete") if f.kind == "discrete" else p
        for p, f in zip(plain, features, strict=True)
    )


def _real(v: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Real numbers for counts, for what is measured before training."""
    generator = torch.Generator().manual_seed(seed)
    return stabilised(v + counts * (torch.rand(v.shape, generator=generator) - 0.5), counts)


def _loss(counts: Tensor) -> Loss:
    def loss(density: ResidualMixture, batch: tuple[Tensor, ...]) -> Tensor:
        v, context = batch
        noise = counts.to(v) * (torch.rand_like(v) - 0.5)
        return -density.log_prob(stabilised(v + noise, counts), context)

    return loss


def _inside(
    x: Tensor, theta: Tensor, weight: Tensor | None, region: Region, prior: UnboundedPrior
) -> tuple[Tensor, Tensor, Tensor | None]:
    inside = region.contains(prior.unbounded(theta))
    needed = 10 * theta.shape[-1]
    if int(inside.sum()) < needed:
        raise DataError(
            f"{int(inside.sum())} of {len(theta)} simulations are inside the region; expected "
            f"{needed} at least; simulate there, or widen it"
        )
    return x[inside], theta[inside], None if weight is None else weight[inside]
