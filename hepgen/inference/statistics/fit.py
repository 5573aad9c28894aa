r"""Maximum-likelihood fits, of many data sets at once.

.. math:: \hat\theta_s = \arg\max_{\theta \in \text{box}} \log L_s(\theta), \qquad
          V_s = \Bigl(-\frac{\partial^2 \log L_s}{\partial\theta^2}\Bigr)^{-1}
          \text{ at } \hat\theta_s

The box is where a parameter may be: the support of its prior, and the range in which the model
is valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import ParameterError, nearest
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.newton import STEPS, Box, Maximum, maximise, newton_step, reduced
from hepgen.parameters import Normal, ParameterSet

_FLAT = 30.0
"""An error of so many prior widths says that nothing fixes the direction."""

_PRIOR_VARIANCE = 4 / 3
"""Of a uniform prior, in units of :func:`prior_scale`: what a direction that nothing fixes has."""

_UNKNOWN_SHARE = 0.1
"""More of its variance than this from such directions, and a parameter has no finite error."""

Bounds = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Fit:
    """The best fits of S data sets, or of S sets at K points each: ``*`` is S, or S and K.

    Arguments:
        parameters: The free ones make θ.
        theta: The best fits, shape ``(*, D)``.
        log_likelihood: There, shape ``(*,)``.
        gradient: There, shape ``(*, D)``.
        hessian: Of log L there, shape ``(*, D, D)``; zero for what was held in all fits.
        covariance: Shape ``(*, D, D)``; rows and columns of zero for what is fixed or at its
            bound, infinite variance where nothing fixes a parameter; ``None`` where no Hessian
            was asked for.
        converged: Whether the maximum was found, shape ``(*,)``.
        at_bound: Which parameters are pressed against a bound, shape ``(*, D)``.
        flat: Which parameters neither the data nor a constraint fixes, shape ``(*, D)``.
        fixed: Which parameters were held, shape ``(*, D)``.
        start: Where the search began, shape ``(*, D)``.
        distance: How much higher log L may be by its gradient and curvature, shape ``(*,)``.
    """

    parameters: ParameterSet
    theta: Tensor
    log_likelihood: Tensor
    gradient: Tensor
    hessian: Tensor
    covariance: Tensor | None
    converged: Tensor
    at_bound: Tensor
    flat: Tensor
    fixed: Tensor
    start: Tensor
    distance: Tensor

    def __len__(self) -> int:
        return len(self.theta)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of θ."""
        return self.parameters.free_names

    def at(self, k: int) -> Fit:
        """The k-th of K points of each of S fits."""
        return self._map(lambda t: t[:, k])

    def at_rows(self, rows: Tensor) -> Fit:
        """Some of the S fits, repeats too, shape ``(M,)``."""
        return self._map(lambda t: t[rows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Fit:
        changed: dict[str, Any] = {
            name: change(t) for name, t in vars(self).items() if isinstance(t, Tensor)
        }
        return replace(self, **changed)

    def column(self, name: str) -> Tensor:
        """The best-fit values of one parameter, shape ``(*,)``."""
        return self.theta[..., index(self.parameters, name)]

    @property
    def errors(self) -> Tensor:
        """Standard errors by the curvature, shape ``(*, D)``; NaN without a covariance."""
        if self.covariance is None:
            return torch.full_like(self.theta, torch.nan)
        return self.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()

    def error(self, name: str) -> Tensor:
        """The standard error of one parameter, shape ``(*,)``."""
        return self.errors[..., index(self.parameters, name)]

    @cached_property
    def status(self) -> tuple[str, ...]:
        """For each of the S fits (or S·K, in order): ``converged``, or what failed."""
        shape = self.theta.shape[:-1]
        return tuple(
            "converged" if bool(self.converged[at]) else self._failure(at) for at in _places(shape)
        )

    def warnings(self, *at: int) -> tuple[str, ...]:
        """What a reader of one fit must know: no convergence, a bound, a flat direction."""
        at = at or (0,) * (self.theta.dim() - 1)
        words = [] if bool(self.converged[at]) else [self._failure(at)]
        words += self.at_bounds(*at).values()
        flat = [self.names[i] for i in self.flat[at].nonzero()[:, 0].tolist()]
        if flat:
            words.append(
                f"nothing fixes {', '.join(flat)}: no constraint, and data that say nothing of "
                "the direction; constrain one of them, or fix it"
            )
        return tuple(words)

    def at_bounds(self, *at: int) -> dict[str, str]:
        """The parameters of one fit that are at a bound, with the words of the warning."""
        at = at or (0,) * (self.theta.dim() - 1)
        return {
            self.names[i]: f"{self.names[i]} is at its bound, {self.theta[at][i].item():.6g}: its "
            "error and those of asymptotic formulae do not hold; give it a wider range if it may "
            "have one"
            for i in self.at_bound[at].nonzero()[:, 0].tolist()
        }

    def shifted(self, values: Mapping[str, Tensor]) -> Tensor:
        """Where the conditional best fits are to be expected, by the curvature.

        Arguments:
            values: Of some parameters, by name, each of shape ``(S, K)``.

        Returns:
            θ of shape ``(S, K, D)``, for S fits.
        """
        scale = prior_scale(self.parameters)
        moved = torch.stack([v.double() for v in values.values()])
        theta = self.theta[:, None].expand(*moved.shape[1:], -1).clone()
        fixed = (self.fixed | self.at_bound | self.flat)[:, None].expand_as(theta).clone()
        change = torch.zeros_like(theta)
        for name, value in zip(values, moved, strict=True):
            i = index(self.parameters, name)
            change[..., i] = (value - theta[..., i]) / scale[i]
            fixed[..., i] = True
        hessian = (self.hessian * scale[:, None] * scale)[:, None].expand(*theta.shape, -1)
        step, _ = newton_step(-hessian, (hessian @ change[..., None])[..., 0], fixed)
        return theta + scale * (change + step)

    def _failure(self, at: tuple[int, ...]) -> str:
        begin, end, slope = (t[at].tolist() for t in (self.start, self.theta, self.gradient))
        named = ", ".join(
            f"{name} {a:.6g} → {b:.6g} (gradient {g:.3g})"
            for name, a, b, g, held in zip(
                self.names, begin, end, slope, self.fixed[at].tolist(), strict=True
            )
            if not held
        )
        return (
            f"not converged: log L = {self.log_likelihood[at].item():.6g}, expected distance to "
            f"the maximum {self.distance[at].item():.2g}; {named}; try other starts (start=…), "
            "narrower priors, or fix a parameter that the data do not determine"
        )


def fit(
    likelihood: Likelihood,
    sets: DataSets,
    *,
    fixed: Mapping[str, float | Tensor] = {},
    start: Tensor | None = None,
    bounds: Bounds = {},  # noqa: B006
) -> Fit:
    """The best fit of each of S data sets.

    Arguments:
        likelihood: With the parameters.
        sets: S data sets.
        fixed: Values that are held, by name: a number, or one for each set, shape ``(S,)``.
        start: Shape ``(D,)``, ``(S, D)``, or ``(S, R, D)`` for R starts, the best of which
            counts; the defaults of the parameters where there is none.
        bounds: Narrower ranges than those of the parameters, by name.

    >>> from hepgen.inference.binned import uncorrelated_background
    >>> model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=-5.0)
    >>> found = fit(model, model.observed([51, 48]))
    >>> round(found.column("mu").item(), 4), found.status
    (-0.0669, ('converged',))
    """
    s, d = len(sets), len(likelihood.parameters.free)
    if start is None:
        start = defaults(likelihood.parameters)
    start = start.double()
    if start.dim() < 3:
        start = start.expand(s, d)[:, None]
    held, start = _hold(likelihood.parameters, fixed, start)
    return _best(fit_points(likelihood, sets, start, held, bounds=bounds))


def profile_fit(
    likelihood: Likelihood,
    sets: DataSets,
    values: Mapping[str, Tensor],
    start: Tensor,
    bounds: Bounds = {},  # noqa: B006
) -> Fit:
    """The conditional best fits of S data sets at K values of some parameters.

    Arguments:
        likelihood: With the parameters.
        sets: S data sets.
        values: The values that are held, by name, each of shape ``(S, K)``.
        start: Of the others, shape ``(S, K, D)``.
        bounds: Narrower ranges than those of the parameters, by name.

    Returns:
        Of shapes ``(S, K, …)``.
    """
    held, start = _hold(likelihood.parameters, values, start.double())
    return fit_points(likelihood, sets, start, held, bounds=bounds)


def fit_points(
    likelihood: Likelihood,
    sets: DataSets,
    start: Tensor,
    held: Tensor,
    *,
    bounds: Bounds = {},  # noqa: B006
    steps: int = STEPS,
) -> Fit:
    """The maximum of log L from each start, shape ``(S, K, D)``.

    What is ``held``, shape ``(S, K, D)``, stays at its start. No steps at all give the gradient
    and the curvature there.
    """
    low, high = box(likelihood.parameters, bounds)
    scale = prior_scale(likelihood.parameters)
    everything = torch.arange(len(sets))

    def function(rows: Tensor, theta: Tensor) -> Tensor:
        part = sets if len(rows) == len(everything) else sets[rows]
        return likelihood.log_likelihoods(part, theta)

    limits = Box(low, high, scale, held)
    start = limits.clamp(start, start)
    found = maximise(function, start, limits, steps=steps)
    return _to_fit(likelihood.parameters, found, limits, start)


def curvature_error(best: Fit, parameter: str, held: Sequence[str] = ()) -> Tensor:
    """The standard error of a parameter as if it had no bound, shape ``(S,)``.

    Arguments:
        best: S fits.
        parameter: Where the curvature says nothing of it, its error is its :func:`prior_scale`.
        held: Parameters that are taken as known.
    """
    i = index(best.parameters, parameter)
    scale = prior_scale(best.parameters)
    others = best.fixed | best.at_bound | best.flat
    for name in held:
        others[..., index(best.parameters, name)] = True
    others[..., i] = False
    unit = torch.zeros_like(best.theta)
    unit[..., i] = 1.0
    step, _ = newton_step(-best.hessian * scale[:, None] * scale, unit, others)
    variance = torch.where(step[..., i] > _FLAT**2, 1.0, step[..., i].clamp(min=1e-24))
    return variance.sqrt() * scale[i]


def joined(first: Fit, second: Fit) -> Fit:
    """Of two fits of the same data sets, the one with the higher log L, set by set."""
    better = second.log_likelihood > first.log_likelihood

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(better.reshape(*better.shape, *[1] * (a.dim() - better.dim())), b, a)

    chosen: dict[str, Any] = {
        name: choose(t, vars(second)[name])
        for name, t in vars(first).items()
        if isinstance(t, Tensor)
    }
    return replace(first, **chosen)


def at_end(value: float, end: float) -> bool:
    """Whether a value is an end of its range, but for rounding.

    >>> at_end(0.1 + 0.2, 0.3), at_end(0.0, -math.inf)
    (True, False)
    """
    return math.isclose(value, end, rel_tol=1e-9, abs_tol=1e-12)


def box(parameters: ParameterSet, bounds: Bounds = {}) -> tuple[Tensor, Tensor]:  # noqa: B006
    """Where the free parameters may be: the lower and the upper bounds, shapes ``(D,)``."""
    for name in bounds:
        index(parameters, name)
    pairs = [
        (
            max(p.low, p.prior.low, bounds.get(p.name, (p.low, p.high))[0]),
            min(p.high, p.prior.high, bounds.get(p.name, (p.low, p.high))[1]),
        )
        for p in parameters.free
        if p.prior is not None
    ]
    low, high = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).unbind(-1)
    return low, high


def prior_scale(parameters: ParameterSet) -> Tensor:
    """A length for each free parameter: the σ of a constraint, a quarter of a range, ``(D,)``."""
    scales = [p.std if isinstance(p, Normal) else (p.high - p.low) / 4 for p in parameters.priors]
    return torch.tensor(scales, dtype=torch.float64)


def defaults(parameters: ParameterSet) -> Tensor:
    """The defaults of the free parameters, inside of their bounds, shape ``(D,)``."""
    low, high = box(parameters)
    value = torch.tensor([p.default for p in parameters.free], dtype=torch.float64)
    return torch.minimum(torch.maximum(value, low), high)


def index(parameters: ParameterSet, name: str) -> int:
    """The column of a free parameter.

    Raises:
        ParameterError: There is none of that name.
    """
    if name not in parameters.free_names:
        raise ParameterError(
            f"no free parameter {name!r} in the likelihood; {nearest(name, parameters.free_names)}"
        )
    return parameters.free_names.index(name)


def _hold(
    parameters: ParameterSet, values: Mapping[str, float | Tensor], start: Tensor
) -> tuple[Tensor, Tensor]:
    held = torch.zeros(start.shape, dtype=torch.bool)
    start = start.clone()
    for name, value in values.items():
        i = index(parameters, name)
        fixed = torch.as_tensor(value, dtype=torch.float64)
        for extreme in (fixed.min().item(), fixed.max().item()):
            parameters[name].check(extreme)
        held[..., i] = True
        start[..., i] = fixed if fixed.dim() in (0, 2) else fixed[:, None]
    return held, start


def _best(points: Fit) -> Fit:
    """Of K searches a data set, the highest that converged, else the highest."""
    height = points.log_likelihood.nan_to_num(nan=-torch.inf)
    rank = torch.where(points.converged, height, height - 1e6)
    best = rank.argmax(1)
    rows = torch.arange(len(best))
    return points._map(lambda t: t[rows, best])


def _to_fit(parameters: ParameterSet, found: Maximum, limits: Box, start: Tensor) -> Fit:
    at_bound = ~found.free & ~limits.held
    covariance, flat = _covariance(found, limits.scale)
    return Fit(
        parameters, found.point, found.value, found.gradient, found.hessian, covariance,
        found.converged, at_bound, flat, limits.held, start, found.distance,
    )  # fmt: skip


def _covariance(found: Maximum, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of −H over what is free, and which parameters have no finite error.

    In prior widths −H = Σ_k λ_k v_k v_kᵀ. The variance of parameter i is Σ_k v_ki²/λ_k over the
    directions that something fixes. The others may run over the whole prior, with a variance that
    is no less than v_ki² times that of the prior: where that is not negligible beside the first,
    the parameter is flat, however small a part it has in the direction. Both depend on no unit.
    """
    fixed = ~found.free
    curvature = reduced(-found.hessian * scale[:, None] * scale, fixed)
    values, vectors = torch.linalg.eigh(curvature)
    weak = values < _FLAT**-2
    inverse = torch.where(weak, 0.0, 1 / values.masked_fill(weak, 1.0))
    covariance = (vectors * inverse[..., None, :]) @ vectors.mT
    kept = covariance.diagonal(dim1=-2, dim2=-1)
    dropped = _PRIOR_VARIANCE * (vectors.square() * weak[..., None, :]).sum(-1)
    flat = (dropped > _UNKNOWN_SHARE * kept) & ~fixed
    unbounded = torch.diag_embed(torch.where(flat, torch.inf, 0.0))
    covariance = covariance.masked_fill(fixed[..., :, None] | fixed[..., None, :], 0.0)
    return covariance * scale[:, None] * scale + unbounded, flat


def _places(shape: Sequence[int]) -> list[tuple[int, ...]]:
    return [
        tuple(at)
        for at in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist()
    ]
