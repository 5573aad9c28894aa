r"""Does anything fix a direction of the parameters: the data, or a constraint?

With the parameters in units of the standard deviations of their priors, the eigenvectors of
−∂² log L at θ are the directions, and their eigenvalues say how much is known of each: 1 where the
data say as much as a prior of that width, and one more where there is a constraint. Below 0.1 a
direction is flat.

A learned likelihood is never flat. Where the truth does not depend on θ at all, log q(x|θ) has the
noise of its training, and N events have N times its curvature. But data have no such noise: with
θ₋ and θ₊ at a distance of ℓ along a direction v, and S pseudo-data sets from the simulator at each,

.. math:: \Delta = \log L(\theta_+) - \log L(\theta_-), \qquad
          \hat c = \frac{\bar\Delta_+ - \bar\Delta_-}{\ell^2}, \qquad
          \hat\sigma^2 = \frac{s_+^2 + s_-^2}{S\,\ell^4},

has the expectation 0 where the data do not depend on the direction, whatever L is. For the true L
it is the Jeffreys divergence of the two hypotheses over ℓ², which is the curvature where that is
constant. A direction whose learned curvature is c is flat, too, where what the data know of it is
significantly less than the larger of 0.1 and c/4, that is, where

.. math:: \hat c + t_{0.995;\,S-1}\,\hat\sigma < T = \max(0.1,\; c/4),

the quantile being Student's. Of directions with ĉ ≥ T on average, at most 1/200 are called flat,
whatever the noise. One of which the data know nothing is missed in about 1/100 of cases, if S makes
σ̂ as small as T/(2t). The variance of Δ is about cℓ², so that this takes S = 8 t²c/(ℓT)²
(:func:`sets_needed`). More than 10⁵ events at either end are not made where
eight sets have fewer; then more are missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.laplace import derivatives
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import box
from hepgen.parameters import Normal, Prior

THRESHOLD = 0.1
LEVEL = 0.005
_SHARE = 0.25
_FEWEST = 8
_MOST_EVENTS = 100_000


@dataclass(frozen=True)
class FlatDirection:
    """A combination of parameters that neither the data nor a constraint fixes.

    Arguments:
        components: Of the unit vector, in units of the widths of the priors, by name.
        curvature: −∂² log L along it, in the same units: 1 where the data say as much as a prior
            of that width.
        simulated: ĉ of pseudo-data, where the curvature of a learned likelihood was not believed.
        error: σ̂ of that.
    """

    components: dict[str, float]
    curvature: float
    simulated: float | None = None
    error: float = 0.0

    @property
    def misled(self) -> bool:
        """Whether pseudo-data contradict the likelihood, which noise does in 1 of 100 at most."""
        return self.simulated is not None and self.simulated < -3 * self.error

    def __str__(self) -> str:
        large = {n: c for n, c in self.components.items() if abs(c) > 0.1}
        terms = " ".join(f"{c:+.2f}·{n}" for n, c in large.items())
        alone = len(large) == 1
        what = f"{next(iter(large))!r}" if alone else f"the combination {terms}"
        number = f"curvature {self.curvature:.2g} in units of the prior's width"
        if self.simulated is not None:
            number += f", of which pseudo-data confirm {self.simulated:.2g} ± {self.error:.2g}"
        if self.misled:
            return (
                f"the learned likelihood is wrong along {what} ({number}): it prefers the end that "
                "pseudo-data are not from; train it on more events, or for longer"
            )
        return (
            f"nothing fixes {what} ({number}): "
            f"give {'it' if alone else 'one of its parameters'} a constraint, data that depend on "
            "it, or fix it"
        )


def flat_directions(
    likelihood: Likelihood,
    data: DataSets,
    theta: Tensor,
    threshold: float = THRESHOLD,
    *,
    seed: int | None = None,
    events: int = 1,
) -> list[FlatDirection]:
    """The directions that nothing fixes, from the flattest; see the module.

    Where log L rises along one by 1 or more over a width, its maximum is elsewhere, and it is no
    flat direction.

    Arguments:
        likelihood: Of the data; for a ``seed`` one that can generate them.
        data: One data set.
        theta: The best fit, or a point inside of the bounds where that is at one, shape ``(D,)``.
        threshold: On the curvature.
        seed: Of pseudo-data, for a likelihood that was learned. Without one it is believed.
        events: Of a data set, about: how many pseudo-data sets can be afforded.
    """
    width = torch.tensor([_width(p) for p in likelihood.parameters.priors], dtype=torch.float64)
    theta = theta.double()

    def height(t: Tensor) -> Tensor:
        return likelihood.log_likelihoods(data, t * width)

    score, hessian = derivatives(height, (theta / width)[None])
    if not bool(torch.isfinite(hessian).all()):
        raise DataError(
            f"log L has no second derivative at {theta.tolist()}; is it −∞ there? See "
            "hepgen.inference.validity.check_positive"
        )
    values, vectors = torch.linalg.eigh(-hessian[0])
    constrained = torch.tensor([isinstance(p, Normal) for p in likelihood.parameters.priors])
    found = []
    for value, vector in zip(values.tolist(), vectors.mT, strict=True):
        components = dict(zip(likelihood.parameters.free_names, _signed(vector), strict=True))
        if value < threshold and abs(float(score[0] @ vector)) < 1:
            found.append(FlatDirection(components, value))
        elif seed is not None and float(vector[constrained].square().sum()) < threshold:
            confirmed, error, sets = simulated_curvature(
                likelihood, theta, vector * width, value, seed=seed, events=events
            )
            most = confirmed + float(stats.t.isf(LEVEL, sets - 1)) * error
            if most < max(threshold, _SHARE * value):
                found.append(FlatDirection(components, value, confirmed, error))
    return found


def check_identified(
    likelihood: Likelihood,
    data: DataSets,
    theta: Tensor,
    *,
    seed: int | None = None,
    events: int = 1,
) -> None:
    """Refuse a fit with a flat direction, and name it; arguments of :func:`flat_directions`.

    Raises:
        ParameterError: There is one.
    """
    found = flat_directions(likelihood, data, theta, seed=seed, events=events)
    if found:
        raise ParameterError("; ".join(map(str, found)))


@torch.no_grad()
def simulated_curvature(
    likelihood: Likelihood,
    theta: Tensor,
    step: Tensor,
    curvature: float,
    *,
    seed: int,
    events: int = 1,
) -> tuple[float, float, int]:
    """ĉ, σ̂ and S along a direction, by pseudo-data at its ends; see the module.

    Arguments:
        likelihood: That can generate data.
        theta: Where, shape ``(D,)``.
        step: The direction, with the length of a unit, shape ``(D,)``: the ends are within one of
            these on either side, and inside of the bounds.
        curvature: That is claimed, in these units.
        seed: Of the pseudo-data.
        events: Of a data set, about.
    """
    low, high = box(likelihood.parameters)
    back, ahead = _reach(theta, -step, low, high), _reach(theta, step, low, high)
    length = back + ahead
    sets = sets_needed(curvature, length, events)
    ends = torch.stack([theta - back * step, theta + ahead * step])
    data = likelihood.generate(ends.repeat_interleave(sets, 0), seed)
    height = likelihood.log_likelihoods(data, ends.expand(2 * sets, -1, -1))
    # Where an event is impossible at one end, that settles it: a large number does.
    rise = (height[:, 1] - height[:, 0]).nan_to_num(nan=0.0, posinf=1e6, neginf=-1e6)
    at_low, at_high = rise.reshape(2, sets)
    found = float(at_high.mean() - at_low.mean()) / length**2
    variance = float(at_high.var() + at_low.var()) / sets
    return found, math.sqrt(variance) / length**2, sets


def sets_needed(curvature: float, length: float, events: int = 1) -> int:
    """S with which a flat direction of a learned curvature is found, and eight at least.

    >>> sets_needed(1.0, 2.0), sets_needed(100.0, 2.0), sets_needed(1.0, 2.0, events=1000)
    (213, 8, 100)
    """
    limit, quantile = max(THRESHOLD, _SHARE * curvature), float(stats.norm.isf(LEVEL))
    needed = math.ceil(8 * quantile**2 * max(curvature, THRESHOLD) / (length * limit) ** 2)
    return max(_FEWEST, min(needed, _MOST_EVENTS // max(events, 1)))


def _reach(theta: Tensor, step: Tensor, low: Tensor, high: Tensor) -> float:
    """How many steps, one at most, are inside of the bounds."""
    room = torch.where(step > 0, high - theta, theta - low)
    moves = step != 0
    return float((room[moves] / step[moves].abs()).clamp(0, 1).min())


def _width(prior: Prior) -> float:
    low, high = prior.reach
    deviation = getattr(prior, "std", None)
    return float(deviation) if deviation is not None else (high - low) / 12**0.5


def _signed(vector: Tensor) -> list[float]:
    """With its largest component positive."""
    largest = vector[vector.abs().argmax()]
    signed: list[float] = (vector * torch.sign(largest)).tolist()
    return signed
