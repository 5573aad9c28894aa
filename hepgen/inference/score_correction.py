r"""A learned likelihood of large event sets, corrected by what its score is on average.

The score of the true density has the mean zero at the true parameters. That of a learned q has

.. math:: b(\theta) = E_{x \sim p(x|\theta)}[\nabla_\theta \log q(x|\theta)],

and N events pull the estimate off by the same amount, however many they are, while the error falls
as 1/√N. So b is measured at the best fit θ₀ of q with M fresh events, and taken off, which is one
step of indirect inference (Gouriéroux, Monfort and Renault, J. Appl. Econometrics 8 (1993) S85).
With the variance B of the learned score and its curvature A = −E[∇∇ log q], b changes with θ by
E[s_q s_p] − A, where s_p is the true score, and B stands for E[s_q s_p], which it is for a true q.
With d = θ − θ₀ and the corrected estimate θ̃ = θ₀ − B⁻¹b,

.. math:: \log L(\theta) = \sum_i w_i \log q(x_i|\theta) - N\,b \cdot d
          - \tfrac12 N\,d^T (B - A)\,d
          + \tfrac12 (\theta - \tilde\theta)^T Q\,(\theta - \tilde\theta),

.. math:: NB - Q = V^{-1}, \qquad V = \frac{B^{-1}}{N} + B^{-1} \Sigma_b B^{-1},

so that a small error of q that oscillates with θ, and has a large curvature, does not make the
posterior too narrow, and Σ_b, the covariance of b, adds to that of the estimate. Where the chain
knows the joint score t(x, z|θ), its mean is exactly zero over the events that are generated,
selected or not: as a control variate it takes off Σ_b what the two have in common.

The correction of the score is linear in θ: for posteriors that are narrow beside the range over
which b changes. Beyond thirty widths it grows no further.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.events import SCORE
from hepgen.inference.event_sets import EventSets, SetLikelihood
from hepgen.inference.laplace import derivatives
from hepgen.simulators.augment import no_score
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain

_LEAST = 20
_CURVED = 40
_REACH = 30.0
_EVENTS = 10_000
"""How many events the variance of the score is taken from, at most."""


@dataclass(frozen=True)
class MeanScore:
    """What the score of a learned density is on average, over events simulated at one θ.

    Arguments:
        theta: Where, shape ``(D,)``.
        mean: b, per event, shape ``(D,)``.
        covariance: Σ_b, shape ``(D, D)``.
        information: B, per event, shape ``(D, D)``.
        curvature: A, per event, shape ``(D, D)``.
        events: M.
    """

    theta: Tensor
    mean: Tensor
    covariance: Tensor
    information: Tensor
    curvature: Tensor
    events: int

    @classmethod
    def measure(
        cls,
        likelihood: SetLikelihood,
        theta: Tensor,
        sets: Sequence[Tensor],
        control: Tensor | None = None,
    ) -> MeanScore:
        """Measure it with independent sets of events, whose scatter is the error.

        Arguments:
            likelihood: That is learned.
            theta: Where the events were simulated, shape ``(D,)``.
            sets: Each of shape ``(n, d)``, in physical variables.
            control: A statistic of each set, of known mean zero, shape ``(S, C)``: the sum of
                the joint score over all events that were generated for the set.

        Raises:
            DataError: Fewer sets than an error can be taken from.
        """
        columns = 0 if control is None else control.shape[1]
        if len(sets) < _LEAST + 5 * columns:
            raise DataError(
                f"{len(sets)} sets of simulated events; expected at least {_LEAST + 5 * columns}, "
                "from the scatter of which the error is taken"
            )
        theta = theta.double().detach()
        size = torch.tensor([float(len(one)) for one in sets], dtype=torch.float64)
        total = torch.cat(
            [_scores(likelihood, likelihood.encode([one], [None]), theta) for one in sets]
        )
        if control is not None:
            slope = torch.linalg.lstsq(torch.cat([control, size[:, None]], 1), total).solution
            total = total - control @ slope[:-1]
        mean = total.sum(0) / size.sum()
        residual = total - mean * size[:, None]
        freedom = len(sets) - 1 - columns
        covariance = residual.mT @ residual * len(sets) / freedom / size.sum() ** 2
        return cls(
            theta, mean, covariance, _variance(likelihood, sets, theta),
            _curvature(likelihood, sets[:_CURVED], theta), int(size.sum()),
        )  # fmt: skip

    @classmethod
    def simulate(
        cls,
        likelihood: SetLikelihood,
        chain: Chain,
        columns: Sequence[str],
        theta: Tensor,
        events: int,
        *,
        sets: int = 200,
        seed: int = 0,
    ) -> MeanScore:
        """Measure it with ``events`` generated events, and the joint score where there is one.

        Arguments:
            likelihood: That is learned.
            chain: The simulator that it was learned from.
            columns: What its events hold.
            theta: Where, shape ``(D,)``: the best fit.
            events: To generate.
            sets: Among which they are divided.
            seed: Of the events; not that of those that were learned from.
        """
        parameters = likelihood.parameters
        values = parameters.values(theta.double())
        scores = [n for n in parameters.free_names if not no_score(chain, n, values[n])]
        campaign = Campaign(
            chain, parameters, events, seed, theta=theta.double().numpy()[None],
            points=-(-events // sets), block_size=-(-events // sets), columns=tuple(columns),
            keep_all=bool(scores), scores=scores,
        )  # fmt: skip
        found = list(_simulated(campaign, columns, scores))
        control = torch.stack([one for _, one in found]) if scores else None
        return cls.measure(likelihood, theta, [x for x, _ in found], control)

    @property
    def shift(self) -> Tensor:
        """B⁻¹b, by which the estimate of q is off, shape ``(D,)``."""
        shift: Tensor = torch.linalg.solve(self.information, self.mean)
        return shift

    @property
    def shift_error(self) -> Tensor:
        """The standard error of each component of the shift, shape ``(D,)``."""
        inverse = torch.linalg.inv(self.information)
        error: Tensor = (inverse @ self.covariance @ inverse.mT).diagonal().sqrt()
        return error


class ScoreCorrected:
    """A likelihood of event sets, corrected; it answers as the one that it corrects.

    Arguments:
        likelihood: That is learned.
        score: Of it, at the best fit.

    Raises:
        ParameterError: The score is of other parameters, or knows nothing of a direction.
    """

    def __init__(self, likelihood: SetLikelihood, score: MeanScore) -> None:
        free = likelihood.parameters.free_names
        if score.theta.shape != (len(free),):
            raise ParameterError(
                f"a score at θ of shape {tuple(score.theta.shape)}; expected a value for each of "
                f"{', '.join(free)}"
            )
        values, vectors = torch.linalg.eigh(score.information)
        if not bool((values > 0).all()):
            flat = free[int(vectors[:, 0].abs().argmax())]
            raise ParameterError(
                f"the score at {score.theta.tolist()} does not vary in a direction near {flat!r}: "
                "no data can fix it; give that parameter a constraint, or hold it"
            )
        self.likelihood, self.score, self.parameters = likelihood, score, likelihood.parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """As that of the likelihood."""
        sets: EventSets = self.likelihood.encode(x, weight)
        return sets

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """log L of S data sets at K points each, shape ``(S, K)``, for θ ``(S, K, D)``."""
        score, n = self.score, sets.weight.sum(-1)[:, None, None]
        inverse = torch.linalg.inv(score.information)
        precision = torch.linalg.inv(inverse / n + inverse @ score.covariance @ inverse.mT)
        away = theta.double() - score.theta
        widths = _quadratic(away, precision)
        away = away / (1 + widths / _REACH**2).sqrt()[..., None]
        correction = -n[..., 0] * (away @ score.mean)
        correction = correction + 0.5 * _quadratic(away, n * (score.curvature - score.information))
        softening = n * score.information - precision
        correction = correction + 0.5 * _quadratic(away + score.shift, softening)
        return self.likelihood.log_likelihoods(sets, theta) + correction


def _quadratic(v: Tensor, matrix: Tensor) -> Tensor:
    """vᵀMv, shape ``(S, K)``, for v ``(S, K, D)`` and M ``(S, D, D)``."""
    return torch.einsum("ski,sij,skj->sk", v, matrix, v)


def _scores(likelihood: SetLikelihood, sets: EventSets, theta: Tensor) -> Tensor:
    """Σ w ∇ log q over the events of each set, shape ``(S, D)``."""
    at = theta.expand(len(sets), 1, -1).clone().requires_grad_(True)
    with torch.enable_grad():
        total = likelihood.log_likelihoods(sets, at).sum()
    (gradient,) = torch.autograd.grad(total, at)
    return gradient[:, 0].double()


def _variance(likelihood: SetLikelihood, sets: Sequence[Tensor], theta: Tensor) -> Tensor:
    """The covariance of the scores of single events, shape ``(D, D)``."""
    each = -(-_EVENTS // len(sets))
    # Each event is a set of its own.
    events = torch.split(torch.cat([one[:each] for one in sets]), 1)
    scores = _scores(likelihood, likelihood.encode(events, [None] * len(events)), theta)
    # cov of one row is a number, and not a matrix of one.
    return torch.cov(scores.mT).reshape(len(theta), len(theta))


def _curvature(likelihood: SetLikelihood, sets: Sequence[Tensor], theta: Tensor) -> Tensor:
    """−E[∇∇ log q] per event, shape ``(D, D)``."""
    total = torch.zeros(len(theta), len(theta), dtype=torch.float64)
    for one in sets:
        encoded = likelihood.encode([one], [None])
        _, hessian = derivatives(partial(likelihood.log_likelihoods, encoded), theta[None])
        total = total - hessian[0]
    return total / sum(map(len, sets))


def _simulated(
    campaign: Campaign, columns: Sequence[str], scores: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The selected events of each block, and the sum of the joint score over all of them."""
    for number in range(campaign.blocks):
        events = campaign.simulate(number).events
        total = torch.from_numpy(events.flat([SCORE + n for n in scores]).sum(axis=0))
        x = torch.from_numpy(events.flat(list(columns)))
        if scores:
            x = x[torch.from_numpy(events.flat(["selected"])[:, 0] > 0)]
        yield x, total
