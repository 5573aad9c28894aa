r"""Shape variations that are learned from two simulated samples, as ratios to the nominal one.

A classifier tells the events with a nuisance parameter at ν = ±1 from those at 0: its
:math:`r^\pm(x) = p^\pm(x)/p_0(x)` at one θ. At others the same ratio is taken, so that
:math:`p^\pm(x|\theta) = p_0(x|\theta)\, r^\pm(x)/Z^\pm(\theta)`, and

.. math:: p(x | \theta, \nu) = p_0(x | \theta) \Big[1 + \sum_j \Delta\Big(\nu_j;
          \frac{r_j^+(x)}{Z_j^+(\theta)} - 1, \frac{r_j^-(x)}{Z_j^-(\theta)} - 1\Big)\Big], \qquad
          Z_j^\pm(\theta) = \int p_0(x | \theta)\, r_j^\pm(x)\, dx

with Δ of :mod:`hepgen.inference.interpolation`. It is normalised at every θ and ν, and becomes zero
where Δ takes away more than there is. Z is a parabola in θ, fitted to the events that the density
itself was learned from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, SimulationError
from hepgen.features import Feature
from hepgen.files import parse_json, write_atomically
from hepgen.inference.density import Density
from hepgen.inference.interpolation import difference, factor
from hepgen.inference.nre import ParametrisedClassifier
from hepgen.inference.ratio import monomials
from hepgen.inference.sampler import Sampler, generator_of
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.simulators.chain import stream

_ENDS = (1.0, -1.0)
_LEAST = 1e-3
_ROUNDS = 100
_ROWS = 2**15
_MEAN = "mean.json"


@dataclass(frozen=True)
class ParabolaMean:
    """E[y | θ] as a polynomial of second degree, for each of two columns of y.

    Arguments:
        centre, scale: Of θ, shape ``(D,)``.
        coefficients: Of 1, t, and products of two, shape ``(1 + D + D(D + 1)/2, 2)``.
    """

    centre: Tensor
    scale: Tensor
    coefficients: Tensor

    @classmethod
    def fit(cls, y: Tensor, theta: Tensor, weight: Tensor | None = None) -> ParabolaMean:
        """By least squares, of y ``(N, 2)`` at θ ``(N, D)`` with positive weights ``(N,)``."""
        centre, scale = theta.mean(0), theta.std(0).clamp_min(1e-300)
        basis = monomials((theta - centre) / scale)
        root = 1.0 if weight is None else weight.double().sqrt()[:, None]
        found = torch.linalg.lstsq(root * basis, root * y, driver="gelsd").solution
        return cls(centre, scale, found)

    def __call__(self, theta: Tensor) -> Tensor:
        """Shape ``(*, 2)`` for θ ``(*, D)``."""
        found = monomials((theta - self.centre) / self.scale) @ self.coefficients
        return found.clamp_min(_LEAST)


class ShapeVariation:
    """r± of one nuisance parameter, and its mean.

    Arguments:
        ratio: log p(x | ν)/p(x | 0) of one event.
        mean: Z⁺ and Z⁻ at θ.
    """

    def __init__(self, ratio: ParametrisedClassifier, mean: ParabolaMean) -> None:
        self.ratio, self.mean = ratio, mean

    @classmethod
    def fit(
        cls,
        nominal: Tensor,
        up: Tensor,
        down: Tensor,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        weight: Tensor | None = None,
        weights: Sequence[Tensor | None] = (None, None, None),
        hidden: Sequence[int] = (64, 64, 64),
        **options: Unpack[TrainingOptions],
    ) -> ShapeVariation:
        """Learn it.

        Arguments:
            nominal, up, down: Events at ν = 0, 1 and −1, all at one θ, shape ``(N, d)`` each.
            x, theta: Nominal events at many θ, shape ``(M, d)`` and ``(M, D)``, for Z.
            features: What the d columns are.
            weight: Positive weights of the events at many θ, shape ``(M,)``.
            weights: Signed event weights of the first three.
            hidden, options: Of the classifier.

        Raises:
            DataError: Events that cannot be used.
        """
        nu = ParameterSet([Parameter("nu", 0.0, prior=Uniform(-1.0, 1.0))])
        ends = [torch.full((len(e), 1), v).double() for e, v in zip((up, down), _ENDS, strict=True)]
        own = None if weights[1] is None and weights[2] is None else _each(up, down, weights[1:])
        ratio = ParametrisedClassifier.fit(
            torch.cat([up, down]), torch.cat(ends), nominal, torch.zeros(1).double(),
            features=features, parameters=nu, weight=own, weight_reference=weights[0],
            hidden=hidden, **options,
        )  # fmt: skip
        return cls(ratio, ParabolaMean.fit(_ratios(ratio, x), theta.double(), weight))

    def ratios(self, x: Tensor) -> Tensor:
        """r⁺ and r⁻ of each event, shape ``(N, 2)``, for x ``(N, d)``."""
        return _ratios(self.ratio, x)

    def save(self, folder: Path) -> None:
        """Write the classifier, and Z beside it."""
        self.ratio.save(folder)
        content = {name: value.tolist() for name, value in vars(self.mean).items()}
        write_atomically(folder / _MEAN, json.dumps(content).encode())

    @classmethod
    def load(cls, folder: Path) -> ShapeVariation:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: The files are missing, or not what was written.
        """
        ratio = ParametrisedClassifier.load(folder)
        try:
            content = parse_json((folder / _MEAN).read_text("utf-8"))
            mean = {name: torch.tensor(one, dtype=torch.float64) for name, one in content.items()}
            return cls(ratio, ParabolaMean(**mean))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{folder / _MEAN} is no mean of a variation: {error!r}") from error


class Reweighted:
    """p(x | θ, ν), see the module.

    Arguments:
        nominal: p₀.
        variations: By nuisance parameter.
        nuisances: These parameters.
    """

    def __init__(
        self, nominal: Density, variations: Mapping[str, ShapeVariation], nuisances: ParameterSet
    ) -> None:
        self.nominal, self.variations = nominal, dict(variations)
        own = [nuisances[name] for name in self.variations]
        self.parameters = ParameterSet([*nominal.parameters, *own])

    def prepare(self, x: Tensor) -> Tensor:
        """What p₀ wants of the events, then r⁺ and r⁻ of each variation: ``(n, e + 2J)``."""
        with torch.no_grad():
            ratios = [one.ratios(x) for one in self.variations.values()]
        return torch.cat([self.nominal.prepare(x).double(), *ratios], dim=-1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`hepgen.inference.density.Density`."""
        own = len(self.nominal.parameters.free)
        width = prepared.shape[-1] - 2 * len(self.variations)
        height = self.nominal.log_densities(prepared[..., :width], theta[..., :own]).double()
        change = self.change(prepared, theta)
        positive = change > 0
        return height + torch.where(
            positive, torch.where(positive, change, 1.0).log(), -torch.inf
        )  # fmt: skip

    def change(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """p(x | θ, ν)/p₀(x | θ), shape ``(S, n, K)``, for ``(S, n, e + 2J)`` and ``(S, K, D)``."""
        own = len(self.nominal.parameters.free)
        theta, pairs = theta.double(), prepared[..., -2 * len(self.variations) :]
        total = torch.ones_like(theta[:, None, :, 0])
        for j, variation in enumerate(self.variations.values()):
            mean = variation.mean(theta[..., :own])[:, None]
            up, down = (
                pairs[:, :, 2 * j + end, None] / mean[..., end] - 1 for end in range(2)
            )  # fmt: skip
            total = total + difference(theta[:, None, :, own + j], up, down)
        return total


@dataclass(frozen=True)
class VariedRate:
    r"""The factor of a rate, I(ν; κ⁺ Z⁺(θ)/Z⁺(θ₀), κ⁻ Z⁻(θ)/Z⁻(θ₀)), exponential beyond ±1.

    Arguments:
        name: ν.
        up, down: κ± at θ₀.
        parameters: The free ones are those that Z depends on.
        shape: The shape that changes with it; Z is one without.
    """

    name: str
    up: float
    down: float
    parameters: ParameterSet
    shape: ShapeVariation | None = None

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The factor, shape ``(*,)``."""
        ends = torch.tensor([self.up, self.down], dtype=torch.float64)
        nu = values[self.name].double()
        if self.shape is not None:
            defaults = torch.tensor([p.default for p in self.parameters.free]).double()
            theta = torch.stack(
                [values[n].double().expand_as(nu) for n in self.parameters.free_names], dim=-1
            )
            ends = ends * self.shape.mean(theta) / self.shape.mean(defaults)
        return factor(nu, ends[..., 0], ends[..., 1])


class ReweightedSampler:
    """Events of a nominal sampler, kept with a probability in proportion to p/p₀.

    The largest p/p₀ is that among the first events of a data set: where one of the others exceeds
    it, that is kept, too.

    Arguments:
        sampler: Of p₀.
        density: p.
    """

    def __init__(self, sampler: Sampler, density: Reweighted) -> None:
        self.sampler, self.density = sampler, density

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`hepgen.inference.sampler.Sampler`.

        Raises:
            SimulationError: Too few are kept.
        """
        found: list[list[Tensor]] = [[] for _ in counts]
        missing, most = counts.clone(), torch.zeros(len(counts), dtype=torch.float64)
        for block in range(_ROUNDS):
            if not bool(missing.any()):
                return torch.cat([x for parts in found for x in parts])
            wanted = torch.where(missing > 0, 2 * missing + 64, 0)
            x = self.sampler.draw(wanted, values, stream(seed, "nominal", block))
            owner = torch.arange(len(counts)).repeat_interleave(wanted)
            change = self._change(x, values, owner, len(counts)).clamp_min(0)
            if block == 0:
                most = most.scatter_reduce(0, owner, change, "amax")
            u = torch.rand(len(x), generator=generator_of(seed, f"kept/{block}")).double()
            kept = u * most[owner] < change
            for s in missing.nonzero()[:, 0].tolist():
                some = x[kept & (owner == s)][: int(missing[s])]
                found[s].append(some)
                missing[s] -= len(some)
        raise SimulationError(
            f"{int(missing.max())} of {int(counts.max())} events are missing after {_ROUNDS} "
            f"rounds: variations {', '.join(self.density.variations)} leave too few of the "
            "nominal events"
        )

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See :class:`hepgen.inference.sampler.Sampler`."""
        x, weight = self.sampler.expected(values)
        change = self._change(x, values, torch.zeros(len(x)).long(), 1).clamp_min(0)
        return x, weight * change / (weight @ change)

    @torch.no_grad()
    def _change(self, x: Tensor, values: Mapping[str, Tensor], owner: Tensor, sets: int) -> Tensor:
        """p/p₀ of each event, shape ``(M,)``."""
        names = self.density.parameters.free_names
        theta = torch.stack([values[n].double().expand(sets) for n in names], dim=-1)
        parts = [
            self.density.change(self.density.prepare(some)[:, None], theta[own][:, None])[:, 0, 0]
            for some, own in zip(torch.split(x, _ROWS), torch.split(owner, _ROWS), strict=True)
        ]
        return torch.cat(parts)


@torch.no_grad()
def _ratios(ratio: ParametrisedClassifier, x: Tensor) -> Tensor:
    ends = torch.tensor(_ENDS, dtype=torch.float64)[:, None]
    return ratio.log_prob(x, ends).exp()


def _each(up: Tensor, down: Tensor, weights: Sequence[Tensor | None]) -> Tensor:
    """Weights of both, of the same sum, so that they do not say how likely either is."""
    parts = [
        torch.ones(len(x)).double() if w is None else w.double()
        for x, w in zip((up, down), weights, strict=True)
    ]
    if not all(float(w.sum()) > 0 for w in parts):
        raise DataError("the weights of a variation sum to less than zero; expected more")
    return torch.cat([w * len(w) / w.sum() for w in parts])
