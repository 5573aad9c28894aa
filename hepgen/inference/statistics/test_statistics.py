r"""Test statistics of one parameter μ, and what they say of it (Cowan et al., arXiv:1007.1727).

With :math:`t_\mu = -2\ln\lambda(\mu)` of :mod:`hepgen.inference.statistics.profile`:

- ``t``: :math:`t_\mu`, for an interval;
- ``t_tilde``: :math:`t_\mu`, the best fit kept at μ̂ ≥ 0, for an interval at a bound;
- ``q``: :math:`t_\mu` where μ̂ ≤ μ, else 0, for an upper limit;
- ``q_tilde``: the same, the best fit kept at μ̂ ≥ 0, for an upper limit at a bound;
- ``q0``: :math:`t_0` where μ̂ ≥ 0, else 0, for a discovery.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.asymptotics import p_value
from hepgen.inference.statistics.fit import Fit, box, defaults, fit, index
from hepgen.inference.statistics.profile import Profile, profile
from hepgen.statements import Statistic, TestStatistic

Method = Literal["asymptotics", "toys"]


def evaluate(
    statistic: Statistic,
    likelihood: Likelihood,
    sets: DataSets,
    parameter: str,
    values: Tensor,
    best: Fit | None = None,
    start: Tensor | None = None,
) -> Profile:
    """A test statistic of S data sets at K values of the parameter, with the fits behind it.

    Arguments:
        statistic: Which one; see the module.
        likelihood: With the parameters.
        sets: S data sets.
        parameter: μ.
        values: Those tested, shape ``(K,)`` or ``(S, K)``; for ``q0`` they are 0.
        best: The best fits, if they are known (for a statistic with a tilde: with μ̂ ≥ 0).
        start: Where the search for them begins; see :func:`hepgen.inference.statistics.fit.fit`.

    >>> from hepgen.inference.binned import uncorrelated_background
    >>> model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=-5.0)
    >>> data, one = model.observed([51, 48]), torch.ones(1)
    >>> round(evaluate("q", model, data, "mu", one).statistic.item(), 4)
    3.955
    >>> round(evaluate("q_tilde", model, data, "mu", one).statistic.item(), 4)
    3.9382
    """
    bounds = {parameter: (0.0, math.inf)} if statistic.endswith("tilde") else {}
    best = best or fit(likelihood, sets, start=start, bounds=bounds)
    found = profile(likelihood, sets, {parameter: values}, best=best, bounds=bounds)
    best_value, tested = found.best.column(parameter)[:, None], values.double()
    if statistic in ("q", "q_tilde"):
        zero = best_value > tested
    elif statistic == "q0":
        zero = best_value < tested
    else:
        return found
    return replace(found, statistic=found.statistic.masked_fill(zero, 0.0))


def conditional_point(
    likelihood: Likelihood,
    data: DataSets,
    parameter: str,
    value: float,
    start: Tensor | None = None,
) -> Tensor:
    """θ with the parameter at a value and the others at their best fit to the data, ``(D,)``.

    Where a hypothesis has no more to say, its toys and Asimov data come from here.
    """
    return fit(likelihood, data, fixed={parameter: value}, start=start).theta[0]


def asimov_data(
    likelihood: Likelihood,
    parameter: str,
    value: float,
    data: DataSets | None = None,
    start: Tensor | None = None,
) -> DataSets:
    """The Asimov data set at a value of the parameter.

    The nuisance parameters stand at their conditional best fit to the data, whose search begins
    at ``start``, or at their defaults where there are no data.
    """
    if data is None:
        theta = defaults(likelihood.parameters)
        theta[index(likelihood.parameters, parameter)] = value
    else:
        theta = conditional_point(likelihood, data, parameter, value, start)
    return likelihood.asimov(theta)


def expected_significance(
    likelihood: Likelihood, parameter: str, value: float, data: DataSets | None = None
) -> float:
    """The median discovery significance Z = √q₀ of a signal, by its Asimov data set.

    Arguments:
        likelihood: With the parameters; 0 of the parameter means that there is no signal.
        parameter: μ.
        value: Of the signal that is hoped for.
        data: To which the nuisance parameters are fitted first; at their defaults without.

    For s on a known b it is √(2((s + b) ln(1 + s/b) − s)):

    >>> from hepgen.inference.statistics.counting import OnOff
    >>> round(expected_significance(OnOff(10.0, 100.0, tau=1e6).likelihood(), "s", 10.0), 3)
    0.984
    """
    asimov = asimov_data(likelihood, parameter, value, data)
    zero = torch.zeros(1, dtype=torch.float64)
    return math.sqrt(evaluate("q0", likelihood, asimov, parameter, zero).statistic.item())


def hypothesis_test(
    likelihood: Likelihood,
    data: DataSets,
    parameter: str,
    value: float = 0.0,
    *,
    statistic: Statistic = "q0",
    alternative: float | None = None,
    method: Method = "asymptotics",
    toys: int = 1000,
    seed: int = 0,
    start: Tensor | None = None,
) -> TestStatistic:
    """The p-value of one value of a parameter, and what is expected if another one is true.

    Arguments:
        likelihood: With the parameters.
        data: One data set.
        parameter: μ.
        value: The hypothesis.
        statistic: See the module; ``q0`` tests μ = 0.
        alternative: μ of the Asimov data for the expected statistic.
        method: Asymptotic formulae, or toys at the conditional best fit.
        toys: How many.
        seed: Of the toys.
        start: Where the search for the best fit begins, shape ``(D,)``.

    Raises:
        ParameterError: ``q0`` of another value than 0.
    """
    if statistic == "q0" and value != 0.0:
        raise ParameterError(f"q0 at {parameter} = {value:g}; expected 0, or another statistic")
    tested = torch.tensor([value], dtype=torch.float64)
    found = evaluate(statistic, likelihood, data, parameter, tested, start=start)
    observed = found.statistic[0, 0].item()
    result = TestStatistic(
        statistic, parameter, value, observed, found.best.column(parameter)[0].item(), math.nan,
        method=method, warnings=_warnings(likelihood, found, statistic, parameter),
    )  # fmt: skip
    if alternative is not None:
        asimov = asimov_data(likelihood, parameter, alternative, data, start)
        expected = evaluate(statistic, likelihood, asimov, parameter, tested, start=start)
        result = replace(result, expected=expected.statistic[0, 0].item(), alternative=alternative)
    if method == "toys":
        from hepgen.inference.statistics.toys import toy_test

        return toy_test(likelihood, data, result, toys=toys, seed=seed, start=start)
    reach = _reach(likelihood, data, parameter, value) if statistic.endswith("tilde") else math.inf
    return replace(result, p_value=float(p_value(statistic, observed, reach=reach)))


def _reach(likelihood: Likelihood, data: DataSets, parameter: str, value: float) -> float:
    """μ/σ by the Asimov data set without a signal."""
    asimov = asimov_data(likelihood, parameter, 0.0, data)
    tested = torch.tensor([value], dtype=torch.float64)
    return math.sqrt(evaluate("t", likelihood, asimov, parameter, tested).statistic[0, 0].item())


def _warnings(
    likelihood: Likelihood, found: Profile, statistic: Statistic, parameter: str
) -> tuple[str, ...]:
    words = [f"best fit: {w}" for w in found.best.warnings(0)]
    if not bool(found.conditional.converged[0, 0]):
        words += [f"conditional fit: {w}" for w in found.conditional.warnings(0, 0)]
    low = box(likelihood.parameters)[0][index(likelihood.parameters, parameter)].item()
    if low >= 0 and statistic in ("t", "q"):
        words.append(
            f"the range of {parameter} begins at {low:g}, so {statistic} is {statistic}_tilde, and "
            f"asymptotic formulae for {statistic} do not hold; widen the range to negative values"
        )
    return tuple(words)
