r"""Shape variations that are learned from two simulated samples, as ratios to the nominal one.

A classifier tells the events with a nuisance parameter at ν = ±1 from those at 0: its
:math:`r^\pm(x) = p^\pm(x)/p_0(x)` at one θ. At others the same ratio is taken. Between and beyond
±1 its logarithm is interpolated, by Δ of :mod:`hepgen.inference.interpolation`:

.. math:: p(x | \theta, \nu) = p_0(x | \theta) \Big[1 + \sum_j \Big(
          \frac{e^{\ell_j(x, \nu_j)}}{Z_j(\theta, \nu_j)} - 1\Big)\Big], \quad
          \ell_j(x, \nu) = \Delta(\nu; \log r_j^+, \log r_j^-), \quad
          Z_j(\theta, \nu) = \int p_0(x | \theta)\, e^{\ell_j(x, \nu)}\, dx.

It is normalised at every θ and ν; with one variation it is positive everywhere, and with several
it becomes zero where they take away more than there is. Exponential families, such as a Gaussian
that is moved or an exponential that is stretched a little, are met at all ν and not only at ±1.
log Z is a polynomial in θ, fitted at some ν to the events that the density itself was learned from,
and a spline in ν.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, SimulationError
from hepgen.features import Feature
from hepgen.files import parse_json, write_atomically
from hepgen.inference.density import Density
from hepgen.inference.interpolation import difference, factor
from hepgen.inference.monomials import degree_within, polynomial, powers_of
from hepgen.inference.nre import ParametrisedClassifier
from hepgen.inference.sampler import Sampler, generator_of
from hepgen.inference.spline import spline
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.simulators.chain import stream

_ENDS = (1.0, -1.0)
NODES = torch.linspace(-4.0, 4.0, 17, dtype=torch.float64)
"""ν at which Z is fitted; beyond them log Z is continued by straight lines."""
_AT_ENDS = [10, 6]
"""Where ν = 1 and ν = −1 are among them."""
_DEGREES, _TERMS = (2, 3, 4, 5, 6), 36
"""Of polynomials in θ: the ratio is learned at one θ, and what it has wrong in the tails is not of
second degree; with many parameters it has to be."""
_NEWTON, _SOLVED = 50, 1e-10
_ROUNDS = 100
_ROWS = 2**15
_NORM = "norm.json"


@dataclass(frozen=True)
class LogNorm:
    r"""log Z(θ, ν) of one variation, Z = E[exp ℓ(x, ν) | θ].

    It is :math:`\Delta(\nu; m^+, m^-)` with the means m± of log r± at θ, and a spline in ν of what
    that leaves at :data:`NODES`, which is nearly a parabola.

    Arguments:
        centre, scale: Of θ, shape ``(D,)``.
        means: m± as polynomials in θ, their P coefficients, shape ``(P, 2)``.
        norms: log Z at the nodes likewise, shape ``(P, 17)``.
    """

    centre: Tensor
    scale: Tensor
    means: Tensor
    norms: Tensor

    @classmethod
    def fit(cls, log_ratios: Tensor, theta: Tensor, weight: Tensor | None = None) -> LogNorm:
        """From log r± ``(N, 2)`` of events at θ ``(N, D)`` with positive weights ``(N,)``."""
        centre, scale = theta.mean(0), theta.std(0).clamp_min(1e-300)
        basis = _basis((theta - centre) / scale)
        weight = torch.ones_like(basis[:, 0]) if weight is None else weight.double()
        weight = weight / weight.sum()
        root = weight.sqrt()[:, None]
        means = torch.linalg.lstsq(root * basis, root * log_ratios, driver="gelsd").solution
        factors = difference(NODES, log_ratios[:, :1], log_ratios[:, 1:]).exp()
        return cls(centre, scale, means, _log_mean(factors, basis, weight))

    def __call__(self, theta: Tensor, nu: Tensor) -> Tensor:
        """log Z at θ ``(*, D)`` and ν ``(*,)``: shape ``(*,)``."""
        basis = self._basis(theta)
        up, down = (basis @ self.means).unbind(-1)
        left = basis @ self.norms - difference(NODES, up[..., None], down[..., None])
        return difference(nu, up, down) + spline(NODES, left, nu)

    def ends(self, theta: Tensor) -> Tensor:
        """Z at ν = 1 and −1, shape ``(*, 2)``, for θ ``(*, D)``."""
        return (self._basis(theta) @ self.norms[:, _AT_ENDS]).exp()

    def _basis(self, theta: Tensor) -> Tensor:
        return _basis((theta - self.centre) / self.scale)


def _basis(t: Tensor) -> Tensor:
    """1 and the monomials of t ``(*, D)``, shape ``(*, P)``; up to which degree, D says."""
    dimension = t.shape[-1]
    degree = degree_within(dimension, _TERMS, _DEGREES)
    return polynomial(t, powers_of(torch.ones(dimension, dtype=torch.bool), degree))


def _log_mean(y: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
    r"""The c of log E[y | θ] = b(θ) c, which solve :math:`\sum_i w_i\, b_i (y_i - e^{b_i c}) = 0`.

    By Newton's method, as of a Poisson regression (McCullagh and Nelder, Generalized Linear
    Models, 1989): consistent whatever the distribution of y at a θ is.

    Arguments:
        y: Positive, shape ``(N, Y)``.
        basis: Of which the first column is 1, shape ``(N, P)``.
        weight: Positive, of sum 1, shape ``(N,)``.

    Returns:
        Shape ``(P, Y)``.
    """
    weighted = basis * weight[:, None]
    mean = weight @ y
    found = torch.zeros(basis.shape[-1], y.shape[-1], dtype=torch.float64)
    found[0] = mean.log()
    for _ in range(_NEWTON):
        expected = (basis @ found).exp()
        slope = weighted.T @ (y - expected)
        if bool((slope.abs() < _SOLVED * mean).all()):
            break
        curvature = torch.einsum("np,ny,nq->ypq", weighted, expected, basis)
        step = torch.linalg.lstsq(curvature, slope.T[..., None], driver="gelsd").solution
        found = found + step[..., 0].T
    return found


class ShapeVariation:
    """log r± of one nuisance parameter, and Z.

    Arguments:
        ratio: log p(x | ν)/p(x | 0) of one event.
        log_norm: log Z.
        symmetric: Take half of the difference of log r⁺ and log r⁻, and its negative, instead.
    """

    def __init__(
        self, ratio: ParametrisedClassifier, log_norm: LogNorm, symmetric: bool = False
    ) -> None:
        self.ratio, self.log_norm, self.symmetric = ratio, log_norm, symmetric

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
        symmetric: bool = False,
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
            symmetric: See the class.
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
        found = _log_ratios(ratio, x, symmetric)
        return cls(ratio, LogNorm.fit(found, theta.double(), weight), symmetric)

    def log_ratios(self, x: Tensor) -> Tensor:
        """log r⁺ and log r⁻ of each event, shape ``(N, 2)``, for x ``(N, d)``."""
        return _log_ratios(self.ratio, x, self.symmetric)

    def save(self, folder: Path) -> None:
        """Write the classifier, and Z beside it."""
        self.ratio.save(folder)
        content: dict[str, Any] = {n: v.tolist() for n, v in vars(self.log_norm).items()}
        content["symmetric"] = self.symmetric
        write_atomically(folder / _NORM, json.dumps(content).encode())

    @classmethod
    def load(cls, folder: Path) -> ShapeVariation:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: The files are missing, or not what was written.
        """
        ratio = ParametrisedClassifier.load(folder)
        try:
            content = parse_json((folder / _NORM).read_text("utf-8"))
            symmetric = content.pop("symmetric") is True
            norm = {name: torch.tensor(one, dtype=torch.float64) for name, one in content.items()}
            found = LogNorm(**norm)
            if found.norms.shape[1:] != NODES.shape:
                raise ValueError(f"Z is not at {len(NODES)} values of the nuisance parameter")
            return cls(ratio, found, symmetric)
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise FileError(f"{folder / _NORM} is no norm of a variation: {error!r}") from error


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
        """What p₀ wants of the events, then log r± of each variation: ``(n, e + 2J)``."""
        with torch.no_grad():
            ratios = [one.log_ratios(x) for one in self.variations.values()]
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
            nu = theta[..., own + j]
            log_norm = variation.log_norm(theta[..., :own], nu)[:, None]
            up, down = pairs[:, :, 2 * j, None], pairs[:, :, 2 * j + 1, None]
            total = total + torch.expm1(difference(nu[:, None], up, down) - log_norm)
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
            ends = ends * self.shape.log_norm.ends(theta) / self.shape.log_norm.ends(defaults)
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
def _log_ratios(ratio: ParametrisedClassifier, x: Tensor, symmetric: bool) -> Tensor:
    found = ratio.log_prob(x, torch.tensor(_ENDS, dtype=torch.float64)[:, None])
    return 0.5 * (found - found.flip(-1)) if symmetric else found


def _each(up: Tensor, down: Tensor, weights: Sequence[Tensor | None]) -> Tensor:
    """Weights of both, of the same sum, so that they do not say how likely either is."""
    parts = [
        torch.ones(len(x)).double() if w is None else w.double()
        for x, w in zip((up, down), weights, strict=True)
    ]
    if not all(float(w.sum()) > 0 for w in parts):
        raise DataError("the weights of a variation sum to less than zero; expected more")
    return torch.cat([w * len(w) / w.sum() for w in parts])
