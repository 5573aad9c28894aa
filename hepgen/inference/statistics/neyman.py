r"""The Neyman construction: sets that cover by the toys, and not by an asymptotic formula.

.. math:: C_\alpha(x) = \{\psi : t(x; \psi) \le c_\alpha(\psi)\}, \qquad
          P(t(X; \psi) \le c_\alpha(\psi)\,|\,\psi) = \alpha

for a statistic t that says how badly the data go with ψ (Neyman, Phil. Trans. A 236 (1937) 333).
With the likelihood ratio for t this is the unified approach of Feldman and Cousins
(physics/9711021). The critical values c_α are learned over ψ from toys
(:class:`~hepgen.inference.statistics.critical_values.CriticalValues`; Masserano, Dorigo, Izbicki,
Kuusela and Lee, arXiv:2205.15680). The statistic may be wrong, e.g. that of a learned likelihood:
as long as toys are what the data would be, the sets cover; they are only wider than need be.

What holds with nuisance parameters ν depends on where the toys are drawn and where c_α is read:

- c_α(ψ), toys with ν drawn from a distribution: coverage *on average* over that distribution.
- c_α(ψ, ν), read at the conditional best fit ν(ψ) of the data: coverage where the statistic's
  distribution changes little over the errors of ν (the profile construction of the LHC).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.critical_values import CriticalValues
from hepgen.inference.statistics.fit import at_end, index
from hepgen.inference.statistics.profile import profile
from hepgen.inference.statistics.toys import BLOCK, Map, left_out
from hepgen.parameters import ParameterSet
from hepgen.statements import Interval

Generate = Callable[[Tensor, int], DataSets]
"""A data set at each θ, shape ``(S, D)``, as a function of a seed: what the data would be."""


IMPOSSIBLE = 1e6
"""What :func:`~hepgen.inference.statistics.profile.profile` gives where a likelihood is zero."""


class Measured(NamedTuple):
    """A statistic, and where its critical value is to be read.

    Arguments:
        statistic: t of S data sets at K values, shape ``(S, K)``; large where they do not go
            together.
        conditions: Shape ``(S, K, C)``: the columns ``conditions`` of the statistic.
        failed: Where t is unknown because a fit did not converge, shape ``(S, K)``; ``None`` for
            nowhere.
    """

    statistic: Tensor
    conditions: Tensor
    failed: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """Where t is known, shape ``(S, K)``."""
        if self.failed is None:
            return torch.ones_like(self.statistic, dtype=torch.bool)
        return ~self.failed


class ToyStatistics(NamedTuple):
    """t of N toys, each at its own ψ.

    Arguments:
        statistic: Shape ``(N,)``.
        known: Which toys have one, shape ``(N,)``: the fits of the others failed.
        warnings: How many were lost.
    """

    statistic: Tensor
    known: Tensor
    warnings: tuple[str, ...]


@runtime_checkable
class Statistic(Protocol):
    """t(data; ψ), and the parameters on which its distribution depends."""

    @property
    def parameters(self) -> ParameterSet:
        """Those of the model: the free ones make θ."""

    @property
    def interest(self) -> tuple[str, ...]:
        """The I parameters that make ψ."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """The C parameters on which critical values depend, those of interest first."""

    def __call__(self, sets: Any, psi: Tensor) -> Measured:
        """Of S data sets at K values each, ψ of shape ``(S, K, I)``."""


@dataclass(frozen=True)
class ProfileRatio:
    r"""The profile likelihood ratio :math:`t = -2\ln[L(\psi, \hat\nu(\psi))/L(\hat\psi, \hat\nu)]`.

    Arguments:
        likelihood: With bounds for ψ: the best fit is inside of them, which is the ordering of
            Feldman and Cousins.
        interest: The names of ψ.
        at_nuisances: Whether critical values depend on ν too, and are read at its conditional best
            fit; otherwise they depend on ψ alone.
    """

    likelihood: Likelihood
    interest: tuple[str, ...]
    at_nuisances: bool = False

    @property
    def parameters(self) -> ParameterSet:
        """Those of the likelihood."""
        return self.likelihood.parameters

    @property
    def conditions(self) -> tuple[str, ...]:
        """ψ, and ν where it is asked for."""
        others = tuple(n for n in self.parameters.free_names if n not in self.interest)
        return self.interest + (others if self.at_nuisances else ())

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        """See :class:`Statistic`."""
        values = dict(zip(self.interest, psi.unbind(-1), strict=True))
        found = profile(self.likelihood, sets, values)
        columns = [index(self.parameters, name) for name in self.conditions]
        return Measured(found.statistic, found.conditional.theta[..., columns], found.unknown)


Moments = Callable[[Any], tuple[Tensor, Tensor]]
"""Mean, shape ``(S, I)``, and covariance, shape ``(S, I, I)``, of ψ given each data set."""


@dataclass(frozen=True)
class Waldo:
    r""":math:`t = (\hat\psi - \psi)^\top V^{-1} (\hat\psi - \psi)` by the moments of a posterior.

    From any estimator of ψ and its covariance, e.g. the draws of an NPE: no likelihood is needed
    (arXiv:2205.15680, equation 4). A prior that pulls the estimate makes sets wider, and does not
    take their coverage.

    Arguments:
        moments: Mean and covariance given each data set.
        parameters: Those of the model.
        interest: The names of ψ.
    """

    moments: Moments
    parameters: ParameterSet
    interest: tuple[str, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """ψ."""
        return self.interest

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        """See :class:`Statistic`."""
        mean, covariance = (m.double() for m in self.moments(sets))
        apart = (mean[:, None] - psi)[..., None]
        solved = torch.linalg.solve(covariance[:, None], apart)
        return Measured((apart * solved).sum((-2, -1)), psi)


@dataclass(frozen=True)
class NegativeLogDensity:
    """t = −log p(ψ | data): sets are those of the highest posterior density, recalibrated.

    Arguments:
        log_density: log p(ψ | data) up to a constant of each data set; ``(S, K, I)`` to ``(S, K)``.
        parameters: Those of the model.
        interest: The names of ψ.
    """

    log_density: Callable[[DataSets, Tensor], Tensor]
    parameters: ParameterSet
    interest: tuple[str, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """ψ."""
        return self.interest

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        """See :class:`Statistic`."""
        return Measured(-self.log_density(sets, psi).double(), psi)


@dataclass(frozen=True)
class Neyman:
    """Confidence sets from a statistic and its critical values.

    Arguments:
        statistic: t(data; ψ).
        critical: c_α at the conditions of the statistic.
        reach: The range of the toys in each condition, shape ``(2, C)``: outside of it nothing
            was learned.
        warnings: Of the toys.
    """

    statistic: Statistic
    critical: CriticalValues
    reach: Tensor
    warnings: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, statistic: Statistic, generate: Generate, theta: Tensor, *, seed: int = 0,
        chunk: int = BLOCK, members: int = 4, over: Map = map,
    ) -> Neyman:  # fmt: skip
        """Learn the critical values from a toy at each θ.

        Arguments:
            statistic: t(data; ψ).
            generate: What the data would be: ``generate`` of a likelihood, or events of the
                simulator itself.
            theta: All free parameters of each toy, shape ``(N, D)``: see :mod:`the module
                <hepgen.inference.statistics.neyman>` for what their distribution means.
            seed: The result is a function of it.
            chunk: Toys at a time.
            members: Networks, see :meth:`CriticalValues.fit`.
            over: Makes the calls, one for each chunk.

        Raises:
            DataError: Too few toys, a statistic that is not finite, or more than a tenth of the
                toys with a fit that did not converge; fewer are left out, with a warning.
        """
        found = statistics_of_toys(statistic, generate, theta, seed=seed, chunk=chunk, over=over)
        conditions = columns(statistic.parameters, statistic.conditions, theta)
        critical = CriticalValues.fit(
            conditions[found.known], found.statistic[found.known], seed=seed, members=members
        )
        reach = torch.stack([conditions.amin(0), conditions.amax(0)])
        return cls(statistic, critical, reach, found.warnings)

    def p_values(self, sets: DataSets, psi: Tensor) -> Tensor:
        """P(T ≥ t | ψ) of S data sets at K values, ``(S, K, I)`` to ``(S, K)``.

        NaN where a fit did not converge.
        """
        found = self.statistic(sets, psi)
        p = self.critical.p_values(found.conditions, found.statistic)
        return torch.where(found.known, p, torch.nan)

    def region(self, sets: DataSets, psi: Tensor, level: float) -> Tensor:
        """Which of K values are in the set of each of S data sets, shape ``(S, K)``.

        A value whose fit did not converge is in it: nothing speaks against it.

        Arguments:
            sets: S data sets.
            psi: Shape ``(K, I)``, e.g. a grid in two parameters.
            level: α.
        """
        found = self.statistic(sets, psi.expand(len(sets), *psi.shape))
        return ~found.known | (found.statistic <= self.critical(found.conditions, level))

    def intervals(
        self, sets: DataSets, values: Tensor, levels: Sequence[float] = (0.6827, 0.9545)
    ) -> list[tuple[Interval, ...]]:
        """The sets of one parameter of interest, for each of S data sets at each level.

        Ends are interpolated between the values, in √t − √c where t is nowhere negative; values
        whose fit did not converge are left out, with a warning.

        Arguments:
            sets: S data sets.
            values: Ascending, shape ``(K,)``, over the whole range and closer than a third of a
                standard error.
            levels: α of each set.

        Raises:
            DataError: No fit to a data set converged.
            ParameterError: More than one parameter of interest, or values beyond the toys.
        """
        if len(self.statistic.interest) != 1:
            raise ParameterError(
                f"intervals of {', '.join(self.statistic.interest)}: expected one parameter of "
                "interest; use region for more"
            )
        self._check_reach(values)
        found = self.statistic(sets, values.double().expand(len(sets), -1)[..., None])
        self._check_known(found)
        best = values[found.statistic.masked_fill(~found.known, torch.inf).argmin(1)]
        words = [self._words(int((~row).sum()), len(values)) for row in found.known]
        ends = [self._ends(found, level, values.double().numpy()) for level in levels]
        return [
            tuple(
                self._interval(level, pieces[s], values, best[s].item(), words[s])
                for level, pieces in zip(levels, ends, strict=True)
            )
            for s in range(len(sets))
        ]

    def _ends(
        self, found: Measured, level: float, values: NDArray[np.float64]
    ) -> list[tuple[tuple[float, float], ...]]:
        critical = self.critical(found.conditions, level)
        if self.critical.root:
            inside = critical.clamp(min=0).sqrt() - found.statistic.clamp(min=0).sqrt()
        else:
            inside = critical - found.statistic
        rows = zip(inside.numpy(), found.known.numpy(), strict=True)
        return [pieces(values[known], row[known]) for row, known in rows]

    def _words(self, failed: int, values: int) -> list[str]:
        """The warnings of the toys, and of the fits to one data set."""
        if not failed:
            return list(self.warnings)
        (name,) = self.statistic.interest
        return [
            *self.warnings,
            f"{failed} of {values} fits to the data with {name} held did not converge, and are "
            "left out: ends near them are uncertain",
        ]

    def _check_known(self, found: Measured) -> None:
        lost = int((~found.known.any(1)).sum())
        if lost:
            raise DataError(
                f"no fit to {lost} of {len(found.known)} data sets converged: look at the best fit "
                "(Fit.warnings), and try other starts or narrower priors"
            )

    def _interval(
        self, level: float, found: tuple[tuple[float, float], ...], values: Tensor, best: float,
        words: Sequence[str],
    ) -> Interval:  # fmt: skip
        (name,) = self.statistic.interest
        words = list(words)
        if not found:
            words.append(
                f"the {level:.3g} set of {name} is empty: the data go badly with every value; look "
                "at the goodness of the fit"
            )
        if len(found) > 1:
            words.append(f"the {level:.3g} set of {name} is in {len(found)} pieces")
        parameter = self.statistic.parameters[name]
        low, high = values[0].item(), values[-1].item()
        # At the end of its physical range a parameter ends, and the set with it.
        open_low = bool(found) and found[0][0] <= low and not at_end(low, parameter.low)
        open_high = bool(found) and found[-1][1] >= high and not at_end(high, parameter.high)
        words += [
            f"the {level:.3g} set of {name} goes on beyond {end:.6g}, where nothing was simulated"
            for end, is_open in ((low, open_low), (high, open_high))
            if is_open
        ]
        return Interval(
            name, level, best, found, "neyman", open_low=open_low, open_high=open_high,
            unit=parameter.unit, warnings=tuple(words),
        )  # fmt: skip

    def _check_reach(self, values: Tensor) -> None:
        low, high = self.reach[:, 0].tolist()
        slack = 0.01 * (high - low)
        if values.min() < low - slack or values.max() > high + slack:
            raise ParameterError(
                f"{self.statistic.interest[0]} from {values.min():g} to {values.max():g}; the "
                f"toys reach from {low:g} to {high:g}: draw toys over a wider range"
            )


def statistics_of_toys(
    statistic: Statistic, generate: Generate, theta: Tensor, *, seed: int = 0, chunk: int = BLOCK,
    over: Map = map,
) -> ToyStatistics:  # fmt: skip
    """t of a toy at each θ of shape ``(N, D)``, at its own ψ; ``over`` makes a call each chunk.

    Raises:
        DataError: The likelihood of a toy is zero at its own θ, or more than a tenth of the toys
            have a fit that did not converge.
    """
    parts = over(_ToyChunk(statistic, generate, seed), list(enumerate(torch.split(theta, chunk))))
    values, known = (torch.cat(rows) for rows in zip(*parts, strict=True))
    lost = (known & (values >= IMPOSSIBLE)).nonzero()[:, 0]
    if len(lost):
        raise DataError(
            f"the likelihood of {len(lost)} of {len(values)} toys is zero at their own θ, e.g. "
            f"{theta[lost[0]].tolist()}: draw θ from the range in which the likelihood is defined"
        )
    return ToyStatistics(values, known, left_out(int((~known).sum()), len(values)))


@dataclass(frozen=True)
class _ToyChunk:
    """The call for a chunk of toys: its number and their θ to t, and whether that is known."""

    statistic: Statistic
    generate: Generate
    seed: int

    def __call__(self, chunk: tuple[int, Tensor]) -> tuple[Tensor, Tensor]:
        number, theta = chunk
        psi = columns(self.statistic.parameters, self.statistic.interest, theta)
        sets = self.generate(theta, self.seed * 1_000_003 + number)
        found = self.statistic(sets, psi[:, None])
        return found.statistic[:, 0], found.known[:, 0]


def columns(parameters: ParameterSet, names: Sequence[str], theta: Tensor) -> Tensor:
    """Some columns of θ."""
    return theta.double()[..., [index(parameters, name) for name in names]]


def pieces(
    values: NDArray[np.float64], inside: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Where a function is not negative, with linear interpolation of its roots.

    >>> pieces(np.arange(5.0), np.array([-1.0, 1.0, -1.0, 1.0, 1.0]))
    ((0.5, 1.5), (2.5, 4.0))
    """
    if values.ndim != 1 or values.shape != inside.shape or not (np.diff(values) > 0).all():
        raise DataError(
            f"values of shape {values.shape} for a function of shape {inside.shape}; expected "
            "ascending values, as many"
        )
    good = inside >= 0
    edges = np.flatnonzero(good[1:] != good[:-1])
    a, b = inside[edges], inside[edges + 1]
    roots = values[edges] + (values[edges + 1] - values[edges]) * a / (a - b)
    ends = [*([values[0]] if good[0] else []), *roots, *([values[-1]] if good[-1] else [])]
    return tuple(zip(map(float, ends[::2]), map(float, ends[1::2]), strict=True))
