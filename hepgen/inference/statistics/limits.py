r"""Upper limits by CLs, observed and expected, by asymptotic formulae and by toys.

.. math:: \mathrm{CL_s}(\mu) = \frac{P(\tilde q_\mu \ge \tilde q_\mu^\mathrm{obs} | \mu)}
          {P(\tilde q_\mu \ge \tilde q_\mu^\mathrm{obs} | 0)}, \qquad
          \mathrm{CL_s}(\mu_\mathrm{up}) = 1 - \mathrm{level}

(Read, J. Phys. G 28 (2002) 2693; Cowan et al., arXiv:1007.1727). The expected limits are those of
data without a signal whose μ̂ is −2, …, +2 standard deviations away from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import elementwise
from scipy.special import ndtr

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.asymptotics import cls, expected_cls, expected_root
from hepgen.inference.statistics.fit import Fit, box, fit, index
from hepgen.inference.statistics.test_statistics import asimov_data, conditional_point, evaluate
from hepgen.inference.statistics.toys import (
    Map,
    Progress,
    count_above,
    fraction_above,
    toy_statistics,
)
from hepgen.statements import SIGMAS, Limit, LimitScan

Array = NDArray[np.float64]

_HALVINGS = 24
_ROUGH = 0.1
"""A limit by toys with a larger relative error is called uncertain."""
FOR_A_BAND = "for that band"
"""The end of warnings that concern an expected limit alone."""


def upper_limit(
    likelihood: Likelihood,
    data: DataSets | None,
    parameter: str,
    *,
    level: float = 0.95,
    method: Literal["asymptotics", "toys"] = "asymptotics",
    values: Sequence[float] | Array | None = None,
    points: int = 21,
    toys: int = 2000,
    seed: int = 0,
    at: float = math.nan,
    progress: Progress | None = None,
    over: Map = map,
    start: torch.Tensor | None = None,
) -> LimitScan:
    """The CLs upper limit of one data set, with the expected one and its bands.

    Arguments:
        likelihood: With the parameters; 0 of the parameter means that there is no signal.
        data: One data set, or ``None`` for the expected limit alone, with the nuisance
            parameters at their defaults.
        parameter: μ ≥ 0.
        level: Of confidence.
        method: Asymptotic formulae, or toys with and without the signal.
        values: Where CLs is to be given; by default up to 1.3 times the limit at +2σ.
        points: How many of those.
        toys: With a signal at each value, and as many without one.
        seed: Of the toys.
        at: What it is a limit for, e.g. the mass of a resonance.
        progress: Called after each block of toys of each value.
        over: Makes the calls, one for each block of toys.
        start: Where fits begin, shape ``(D,)``; at the defaults of the parameters without.

    >>> from hepgen.inference.binned import uncorrelated_background
    >>> model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    >>> scan = upper_limit(model, model.observed([51, 48]), "mu", values=[1.0])
    >>> scan.observed.round(3).tolist(), scan.expected.round(3).tolist()
    ([0.053], [[0.003, 0.014, 0.064, 0.235, 0.573]])
    """
    curves = _Curves.of(likelihood, data, parameter, start)
    limit = _asymptotic_limit(curves, level, at)
    grid = _values(values, limit, curves.high, points)
    if method == "toys":
        return _toy_scan(curves, limit, grid, toys, seed, progress, over)
    observed, asimov = curves.both(grid)
    return LimitScan(
        limit, grid, cls(observed, asimov), expected_cls(asimov), warnings=curves.warnings
    )


@dataclass(frozen=True)
class _Curves:
    """q̃ of the data and of the Asimov data set without a signal, as functions of μ."""

    likelihood: Likelihood
    parameter: str
    data: DataSets | None
    asimov: DataSets
    fits: tuple[Fit | None, Fit]
    high: float
    failed: list[float] = field(default_factory=list)
    """Values of μ where a fit did not converge."""

    @classmethod
    def of(
        cls,
        likelihood: Likelihood,
        data: DataSets | None,
        parameter: str,
        start: torch.Tensor | None = None,
    ) -> _Curves:
        bounds = {parameter: (0.0, math.inf)}
        asimov = asimov_data(likelihood, parameter, 0.0, data, start)
        fits = (
            None if data is None else fit(likelihood, data, start=start, bounds=bounds),
            fit(likelihood, asimov, start=start, bounds=bounds),
        )
        i = index(likelihood.parameters, parameter)
        high = box(likelihood.parameters)[1][i].item()
        return _Curves(likelihood, parameter, data, asimov, fits, high)

    def of_asimov(self, mu: Array) -> Array:
        """q̃ of the Asimov data set."""
        return self._statistic(self.asimov, mu, self.fits[1])

    def of_data(self, mu: Array) -> Array:
        """q̃ of the data; NaN where there are none."""
        if self.data is None:
            return np.full_like(mu, np.nan)
        return self._statistic(self.data, mu, self.fits[0])

    def both(self, mu: Array) -> tuple[Array, Array]:
        """q̃ of the data and of the Asimov data set."""
        return self.of_data(mu), self.of_asimov(mu)

    def _statistic(self, sets: DataSets, mu: Array, best: Fit | None) -> Array:
        values = torch.as_tensor(np.asarray(mu, dtype=np.float64)).reshape(-1)
        found = evaluate("q_tilde", self.likelihood, sets, self.parameter, values, best)
        self.failed.extend(values[found.failed[0]].tolist())
        return found.statistic[0].numpy().reshape(np.shape(mu))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the fits so far, but for a signal that fluctuated below nothing."""
        best = self.fits[0] or self.fits[1]
        words = [w for w in best.warnings(0) if not w.startswith(f"{self.parameter} is at")]
        if self.failed:
            words.append(
                f"{len(self.failed)} fits with {self.parameter} held did not converge, from "
                f"{min(self.failed):.4g} to {max(self.failed):.4g}: limits there are not to be "
                "believed"
            )
        return tuple(words)


def _asymptotic_limit(curves: _Curves, level: float, at: float) -> Limit:
    alpha = 1 - level
    targets = expected_root(alpha)
    grid = _halvings(curves)
    observed, asimov = curves.both(grid)

    def root(mu: Array, target: Array) -> Array:
        return np.asarray(np.sqrt(curves.of_asimov(mu)) - target)

    def excess(mu: Array, target: Array) -> Array:
        return np.asarray(target - cls(*curves.both(mu)))

    expected = _solve(root, grid, np.sqrt(asimov) - targets[:, None], targets)
    found = math.nan
    if curves.data is not None:
        rising = (alpha - cls(observed, asimov))[None]
        found = float(_solve(excess, grid, rising, np.array([alpha]))[0])
    words = list(curves.warnings)
    bands = zip(SIGMAS, expected.tolist(), strict=True)
    beyond = [", ".join(f"expected ({n:+d}σ)" for n, one in bands if math.isnan(one))]
    if curves.data is not None and math.isnan(found):
        beyond.insert(0, "observed")
    words += [
        f"the {which} limit on {curves.parameter} lies beyond its range, which ends at "
        f"{curves.high:g}; widen the prior"
        for which in beyond
        if which
    ]
    one = curves.likelihood.parameters[curves.parameter]
    return Limit(
        curves.parameter, level, found, expected, "CLs asymptotics", at=at, unit=one.unit,
        label=one.label, warnings=tuple(words),
    )  # fmt: skip


def _halvings(curves: _Curves) -> Array:
    """From near 0 to the end of the range, each twice the one before."""
    i = index(curves.likelihood.parameters, curves.parameter)
    prior = curves.likelihood.parameters.priors[i]
    high = curves.high if math.isfinite(curves.high) else prior.reach[1]
    return high * 2.0 ** np.arange(-_HALVINGS, 1.0)


def _solve(
    function: Callable[[Array, Array], Array], grid: Array, values: Array, targets: Array
) -> Array:
    """Where J functions, rising on the whole, pass 0 for the last time; NaN where they do not.

    Arguments:
        function: Of μ and the target, shapes ``(M,)``.
        grid: Of μ, shape ``(K,)``.
        values: On the grid, shape ``(J, K)``.
        targets: Shape ``(J,)``.
    """
    rising = (values[:, :-1] < 0) & (values[:, 1:] >= 0)
    some = rising.any(1)
    last = rising.shape[1] - 1 - rising[:, ::-1].argmax(1)[some]
    out = np.full(len(targets), np.nan)
    if some.any():
        out[some] = elementwise.find_root(
            function, (grid[last], grid[last + 1]), args=(targets[some],),
            tolerances={"xrtol": 1e-7, "xatol": 0.0, "fatol": 1e-9, "frtol": 0.0}, maxiter=40,
        ).x  # fmt: skip
    return out


def _values(
    values: Sequence[float] | Array | None, limit: Limit, high: float, points: int
) -> Array:
    if values is not None:
        return np.sort(np.asarray(values, dtype=np.float64))
    known = [v for v in (limit.observed, *limit.expected.tolist()) if math.isfinite(v)]
    top = min(high, 1.3 * max(known)) if known else high
    return np.linspace(top / points, top, points)


def _toy_scan(
    curves: _Curves,
    asymptotic: Limit,
    grid: Array,
    toys: int,
    seed: int,
    progress: Progress | None,
    over: Map,
) -> LimitScan:
    """CLs at each value by toys; the toys without a signal serve all values."""
    likelihood, parameter = curves.likelihood, curves.parameter
    alpha = 1 - asymptotic.level
    base = curves.data if curves.data is not None else curves.asimov
    values = torch.as_tensor(grid)
    null = toy_statistics(
        likelihood, conditional_point(likelihood, base, parameter, 0.0), parameter, values,
        "q_tilde", toys=toys, seed=seed, progress=progress, over=over,
    )  # fmt: skip
    observed = curves.of_data(grid)
    rows, failed = [], null.failed
    for k, mu in enumerate(grid.tolist()):
        signal = toy_statistics(
            likelihood, conditional_point(likelihood, base, parameter, mu), parameter,
            values[k : k + 1], "q_tilde", toys=toys, seed=seed + 1 + k,
            progress=progress, over=over,
        )  # fmt: skip
        failed += signal.failed
        without = null.statistic[:, k]
        both = signal.statistic[:, 0]
        bands = [_expected_ratio(both, without, sigma) for sigma in SIGMAS]
        rows.append([_ratio(both, without, observed[k]), *bands])
    ratio, error = np.moveaxis(np.array(rows), -1, 0)
    found = [_interpolated(grid, ratio[:, j], error[:, j], alpha) for j in range(6)]
    words = list(curves.warnings)
    if failed:
        words.append(f"{failed} toys have a fit that did not converge")
    if math.isnan(found[0][0]) and curves.data is not None:
        words.append(f"CLs (observed) does not cross {alpha:g} among the values tested")
    words += _of_bands(found[1:], toys, alpha)
    if found[0][1] > _ROUGH * found[0][0]:
        words.append(
            f"the observed limit is uncertain by {found[0][1] / found[0][0]:.0%} from the number "
            f"of toys, {toys}; draw more"
        )
    limit = Limit(
        parameter, asymptotic.level, found[0][0], np.array([v for v, _ in found[1:]]), "CLs toys",
        found[0][1], np.array([e for _, e in found[1:]]), asymptotic.at, asymptotic.unit,
        asymptotic.label, tuple(words),
    )  # fmt: skip
    return LimitScan(limit, grid, ratio[:, 0], ratio[:, 1:], error[:, 0], tuple(words))


def _ratio(signal: torch.Tensor, background: torch.Tensor, q: float) -> tuple[float, float]:
    """CLs and its error, from the binomial errors of both p-values."""
    if math.isnan(q) or not count_above(background, q):
        return math.nan, math.nan
    (both, e), (b, eb) = fraction_above(signal, q), fraction_above(background, q)
    return both / b, math.hypot(e / b, both * eb / b**2)


def _expected_ratio(
    signal: torch.Tensor, background: torch.Tensor, sigma: int
) -> tuple[float, float]:
    """CLs of data that are n standard deviations off, of which p_b is known, and its error.

    The statistic there is a quantile of the toys without a signal, with an error of its own.
    """
    b = float(ndtr(sigma))
    error = math.sqrt(b * (1 - b) / len(background))
    at = torch.tensor([b, b - error, b + error], dtype=background.dtype)
    q, more, fewer = torch.quantile(background, (1 - at).clamp(0, 1)).tolist()
    if math.isnan(q):
        return math.nan, math.nan
    both, e = fraction_above(signal, q)
    moved = [fraction_above(signal, end)[0] for end in (more, fewer)]
    return both / b, math.hypot(e, (moved[1] - moved[0]) / 2) / b


def _of_bands(found: Sequence[tuple[float, float]], toys: int, alpha: float) -> list[str]:
    """What is to be said of expected limits by so many toys."""
    words = []
    for sigma, (limit, error) in zip(SIGMAS, found, strict=True):
        # Of T toys a fraction is 1/(T + 1) at least: see fraction_above.
        needed = math.ceil(1 / (alpha * float(ndtr(sigma)))) - 1
        which = f"the limit expected at {sigma:+d}σ"
        if math.isnan(limit) and toys <= needed:
            words.append(
                f"{which} needs more than {needed} toys, and has {toys}: draw more {FOR_A_BAND}"
            )
        elif math.isnan(limit):
            words.append(f"CLs ({sigma:+d}σ) does not cross {alpha:g} among the values tested")
        elif error > _ROUGH * limit:
            words.append(
                f"{which} is uncertain by {error / limit:.0%} from the number of toys, {toys}: "
                f"draw more {FOR_A_BAND}"
            )
    return words


def _interpolated(mu: Array, values: Array, errors: Array, alpha: float) -> tuple[float, float]:
    """Where CLs falls through α for the last time, linear in log CLs, and its error."""
    falling = np.nonzero((values[:-1] >= alpha) & (values[1:] < alpha))[0]
    if not len(falling):
        return math.nan, math.nan
    k = falling[-1]
    # Where few toys are above, CLs counts as its error at least, which is that of one toy.
    pair = np.maximum(values[k : k + 2], errors[k : k + 2])
    a, b = np.log(pair).tolist()
    slope = (b - a) / (mu[k + 1] - mu[k])
    if slope >= 0:
        return float(mu[k : k + 2].mean()), float(mu[k + 1] - mu[k]) / 2
    part = (math.log(alpha) - a) / (b - a)
    relative = math.hypot(*(np.array([1 - part, part]) * errors[k : k + 2] / pair))
    return float(mu[k] + (math.log(alpha) - a) / slope), float(abs(relative / slope))
